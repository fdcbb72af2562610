//! HTTP over TCP: TLS, its certificates, and what is refused where there is none.

mod harness;

use std::io::{self, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use harness::{Answer, Daemon, PATIENCE, authority, http, mosquitto, sample};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";
const RIGHT: (&str, &str) = ("authorization", "Bearer right");

/// A directory with a token, and with the tree's own certificate for `localhost` and its key.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().expect("a directory"));
        std::fs::write(site.0.path().join("token"), "right\n").expect("the token");
        for name in ["server.pem", "server.key"] {
            std::fs::copy(authority().with_file_name(name), site.0.path().join(name)).expect("copies");
        }
        site
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// `[http]` on any port of `ip`, with the token and, by name, a certificate and its key.
    fn http(&self, ip: &str, cert: Option<&str>, key: Option<&str>) -> String {
        let file = |name: &str| self.path().join(name).display().to_string();
        let mut config = format!("[http]\ntcp = \"{ip}:0\"\ntoken_file = \"{}\"\n", file("token"));
        for (setting, name) in [("tls_cert", cert), ("tls_key", key)] {
            config.extend(name.map(|name| format!("{setting} = \"{}\"\n", file(name))));
        }
        config
    }

    /// The same on loopback, with both.
    fn https(&self, cert: &str, key: &str) -> String {
        self.http("127.0.0.1", Some(cert), Some(key))
    }

    /// Starts one that is expected to serve; its port is the other value.
    fn start(&self, config: &str) -> (Daemon, u16) {
        let daemon = Daemon::builder().in_home(self.path()).config(config).start();
        let told = "http.tcp listens on ";
        let log = harness::eventually("the port is told", || Some(daemon.log()).filter(|log| log.contains(told)));
        let port = log.lines().find_map(|line| line.split_once(told)?.1.rsplit(':').next()?.trim().parse().ok());
        (daemon, port.unwrap_or_else(|| panic!("no port: {log}")))
    }

    /// Starts one that is expected to end by itself; its code and its log.
    fn refuses(&self, config: &str) -> (Option<i32>, String) {
        let home = tempfile::tempdir_in(self.path()).expect("a directory");
        let ended = Daemon::builder().in_home(home.path()).config(config).spawn().wait();
        (ended.status.code(), ended.log)
    }
}

/// A certificate for `localhost` that vouches for itself, and its key, in `dir`.
fn another_certificate(openssl: &Path, dir: &Path) {
    let arguments = "req -x509 -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext \
                     basicConstraints=critical,CA:FALSE -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout other.key \
                     -out other.pem";
    let output = Command::new(openssl).current_dir(dir).args(arguments.split_whitespace()).output();
    let output = output.expect("openssl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Asks over TLS, by a client that trusts `authority` alone.
fn ask(
    port: u16,
    authority: &Path,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let mut roots = RootCertStore::empty();
    let trusted = CertificateDer::from_pem_file(authority).expect("a certificate");
    roots.add(trusted).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(session, connect(port));
    stream.write_all(&http::head(method, path, headers, body.len()))?;
    stream.write_all(body)?;
    stream.flush()?;
    http::read_answer(&mut stream)
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// The status of `/v1/models` for whoever knows the token and trusts `authority`.
fn models(port: u16, authority: &Path) -> io::Result<u16> {
    ask(port, authority, ("GET", "/v1/models"), &[RIGHT], b"").map(|answer| answer.status)
}

#[test]
fn speech_is_heard_over_tls_by_whoever_knows_the_authority_and_the_token() {
    let site = Site::new();
    let (daemon, port) = site.start(&site.https("server.pem", "server.key"));
    let audio = ("content-type", "audio/wav");
    let speech = ("POST", TRANSCRIPTIONS);
    let heard = ask(port, &authority(), speech, &[RIGHT, audio], &sample()).expect("an answer");
    assert_eq!(heard.status, 200, "{}", heard.text());
    assert_eq!(heard.json()["text"], daemon.transcribe(&sample())["text"], "as over the socket");

    for wrong in [&[audio][..], &[("authorization", "Bearer wrong"), audio]] {
        let refused = ask(port, &authority(), speech, wrong, &sample()).expect("an answer");
        assert_eq!((refused.status, refused.error_code().as_str()), (401, "unauthorized"), "{}", refused.text());
        assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"linnet\""));
    }
    // The server's own certificate is no authority, and nothing is said to who trusts no other.
    let stranger = models(port, &authority().with_file_name("server.pem")).expect_err("an unknown authority");
    assert!(stranger.to_string().contains("certificate"), "{stranger}");
    // Nor is anything said in plain text.
    let mut plain = connect(port);
    plain.write_all(&http::head("GET", "/v1/models", &[RIGHT], 0)).expect("sent");
    assert!(http::read_answer(&mut plain).is_err(), "an answer in plain text");
    assert_eq!(models(port, &authority()).expect("an answer"), 200, "those who were turned away hurt nobody");
}

#[test]
fn a_renewed_certificate_serves_after_sighup_and_a_broken_one_leaves_the_old() {
    let test = "a_renewed_certificate_serves_after_sighup_and_a_broken_one_leaves_the_old";
    let Some(openssl) = mosquitto::find("openssl") else {
        return harness::skip(test, "the program `openssl` (Debian: apt-get install openssl)");
    };
    let site = Site::new();
    another_certificate(&openssl, site.path());
    let (daemon, port) = site.start(&site.https("server.pem", "server.key"));
    let other = site.path().join("other.pem");
    assert_eq!(models(port, &authority()).expect("the first one serves"), 200);
    assert!(models(port, &other).is_err(), "not yet");

    for (from, to) in [("other.pem", "server.pem"), ("other.key", "server.key")] {
        std::fs::copy(site.path().join(from), site.path().join(to)).expect("copies");
    }
    daemon.signal("HUP");
    daemon.wait_for_log("the configuration was read again");
    assert_eq!(models(port, &other).expect("the renewed one serves"), 200);
    assert!(models(port, &authority()).is_err(), "no longer");

    std::fs::write(site.path().join("server.pem"), "half a certifica").expect("writes");
    daemon.signal("HUP");
    daemon.wait_for_log("server.pem: the file holds no PEM certificate");
    assert_eq!(models(port, &other).expect("what served goes on"), 200);
}

#[test]
fn a_certificate_or_a_key_that_cannot_serve_is_refused_at_the_start_by_its_file() {
    let test = "a_certificate_or_a_key_that_cannot_serve_is_refused_at_the_start_by_its_file";
    let Some(openssl) = mosquitto::find("openssl") else {
        return harness::skip(test, "the program `openssl` (Debian: apt-get install openssl)");
    };
    let site = Site::new();
    another_certificate(&openssl, site.path());
    let pem = |kind: &str, inside: &str| format!("-----BEGIN {kind}-----\n{inside}\n-----END {kind}-----\n");
    for (name, text) in [
        ("text.pem", "no PEM at all\n".to_owned()),
        ("broken.pem", pem("CERTIFICATE", "this is not base64!")),
        ("hollow.pem", pem("CERTIFICATE", "aGVsbG8=")),
        ("hollow.key", pem("PRIVATE KEY", "aGVsbG8=")),
    ] {
        std::fs::write(site.path().join(name), text).expect("writes");
    }
    for (cert, key, says) in [
        ("nowhere.pem", "server.key", "nowhere.pem: the certificate chain cannot be read: "),
        ("text.pem", "server.key", "text.pem: the file holds no PEM certificate"),
        ("broken.pem", "server.key", "broken.pem: the certificate chain cannot be read: "),
        ("hollow.pem", "server.key", "hollow.pem: "),
        ("server.pem", "nowhere.key", "nowhere.key: the private key cannot be read: "),
        ("server.pem", "server.pem", "server.pem: the private key cannot be read: "),
        ("server.pem", "hollow.key", "hollow.key: "),
        ("server.pem", "other.key", "other.key: certificate and key do not serve together: "),
    ] {
        let (code, log) = site.refuses(&site.https(cert, key));
        assert_eq!(code, Some(78), "{cert}, {key}: {log}");
        let told: Vec<_> = log.lines().filter(|line| line.contains(says)).collect();
        assert_eq!(told.len(), 1, "{cert}, {key}: {log}");
        assert!(!log.contains("ready: "), "{cert}, {key}: {log}");
    }
    for (cert, key) in [(Some("server.pem"), None), (None, Some("server.key"))] {
        let (code, log) = site.refuses(&site.http("127.0.0.1", cert, key));
        assert_eq!(code, Some(78), "{log}");
        assert!(log.contains("http.tls_cert") && log.contains("http.tls_key"), "{log}");
    }
}

#[test]
fn beyond_loopback_without_tls_nothing_starts_but_on_the_operators_word_which_is_told() {
    let site = Site::new();
    for ip in ["0.0.0.0", "[::]"] {
        let (code, log) = site.refuses(&site.http(ip, None, None));
        assert_eq!(code, Some(78), "{ip}: {log}");
        let says = format!(
            "http.tcp: {ip}:0 is reachable from other machines: set tls_cert and tls_key, or insecure_plaintext"
        );
        assert!(log.contains(&says), "{ip}: {log}");
    }
    let warning =
        "without TLS, as insecure_plaintext = true says: the bearer token and all speech travel in plain text";
    let get = |port: u16, headers: &[(&str, &str)]| {
        let mut stream = connect(port);
        stream.write_all(&http::head("GET", "/v1/models", headers, 0)).expect("sent");
        http::read_answer(&mut stream).expect("an answer").status
    };
    let on_his_word = |ip: &str| site.http(ip, None, None) + "insecure_plaintext = true\n";
    let (daemon, port) = site.start(&on_his_word("0.0.0.0"));
    assert_eq!((get(port, &[RIGHT]), get(port, &[])), (200, 401));
    let log = daemon.stop().log;
    let told: Vec<_> = log.lines().filter(|line| line.contains(warning)).collect();
    assert!(told.len() == 1 && told[0].contains("WARN") && told[0].contains("0.0.0.0"), "{log}");

    // Where there is nothing to warn of, nothing is said.
    std::fs::remove_file(site.path().join("linnetd.log")).expect("the log of before");
    let (daemon, port) = site.start(&on_his_word("127.0.0.1"));
    assert_eq!(get(port, &[RIGHT]), 200);
    let log = daemon.stop().log;
    assert!(!log.contains(warning), "{log}");
    std::fs::remove_file(site.path().join("linnetd.log")).expect("the log of before");
    let (daemon, port) = site.start(&site.http("0.0.0.0", Some("server.pem"), Some("server.key")));
    assert_eq!(models(port, &authority()).expect("an answer"), 200);
    let log = daemon.stop().log;
    assert!(!log.contains(warning), "{log}");
}
