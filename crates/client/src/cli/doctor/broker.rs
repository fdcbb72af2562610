//! The MQTT link: what the daemon says of it, and, while it is down, how far this program gets by itself.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use linnet_proto::status::Status;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection};

use super::finding::{Finding, Trouble};
use super::settings::Settings;
use crate::mqtt;

const CHECK: &str = "broker";
/// How long one address may take to take the connection, and each read of the TLS handshake.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long all of it may take: looking up the name, a few addresses, the handshake.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 3;
const SCHEMES: [(&str, u16, bool); 4] =
    [("mqtt", 1883, false), ("mqtts", 8883, true), ("ws", 80, false), ("wss", 443, true)];

/// Where the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
}

impl Address {
    /// Of `mqtt.url`, which holds neither user nor password; one that does is read all the same, and neither is kept.
    fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (_, port, tls) = *SCHEMES.iter().find(|(name, ..)| *name == scheme)?;
        let authority = rest.split('/').next()?;
        let authority = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, own)) if !own.ends_with(']') => (host, own.parse().ok()?),
            _ => (authority, port),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        (!host.is_empty()).then_some(Self { host, port, tls })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// How far a connection came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nothing was tried.
    NotTried,
    Unresolved(String),
    Refused,
    TimedOut,
    Failed(String),
    /// A file of TLS cannot be read or used.
    Files(String),
    Tls(TlsFault),
    /// TCP, and TLS where it is configured.
    Reached(IpAddr),
}

/// Why TLS came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TlsFault {
    Expired,
    NotYetValid,
    UnknownAuthority,
    OtherName,
    /// What answers does not speak TLS.
    NotTls,
    Other(String),
}

/// What was seen.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// `off`, `connecting`, `up`, `down`; `None` without a daemon.
    pub(super) state: Option<String>,
    pub(super) reason: Option<String>,
    /// That another client uses this device's client id.
    pub(super) contested: Option<String>,
    pub(super) url: Option<String>,
    pub(super) reach: Reach,
}

pub(super) async fn look(status: Option<&Status>, settings: &Settings) -> Seen {
    let url = settings.text("mqtt.url").map(ToOwned::to_owned);
    let state = status.map(|status| status.mqtt.clone());
    let reason = status.and_then(|status| status.mqtt_reason.clone());
    let address = url.as_deref().and_then(Address::parse);
    let reach = match (state.as_deref(), address) {
        (Some("up" | "off"), _) | (_, None) => Reach::NotTried,
        (_, Some(address)) => {
            let files = Files::of(settings);
            let tried = tokio::task::spawn_blocking(move || reach(&address, &files));
            // A name that is looked up cannot be interrupted; its thread is left behind.
            match tokio::time::timeout(WHOLE_TIMEOUT, tried).await {
                Ok(Ok(reach)) => reach,
                Ok(Err(e)) => Reach::Failed(e.to_string()),
                Err(_) => Reach::TimedOut,
            }
        }
    };
    let contested = status.and_then(|status| status.mqtt_contested.clone());
    Seen { state, reason, contested, url, reach }
}

/// The files of TLS.
struct Files {
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Files {
    fn of(settings: &Settings) -> Self {
        let path = |key| settings.path(key);
        Self { ca: path("mqtt.ca_file"), certificate: path("mqtt.client_cert"), key: path("mqtt.client_key") }
    }
}

fn reach(address: &Address, files: &Files) -> Reach {
    let found = match (address.host.as_str(), address.port).to_socket_addrs() {
        Ok(found) => found.take(MAX_ADDRESSES).collect::<Vec<_>>(),
        Err(e) => return Reach::Unresolved(e.to_string()),
    };
    let mut failed = Reach::Unresolved("it has no address".into());
    for to in found {
        match TcpStream::connect_timeout(&to, STEP_TIMEOUT) {
            Ok(stream) if address.tls => return shake_hands(stream, address, files, to.ip()),
            Ok(_) => return Reach::Reached(to.ip()),
            Err(e) => failed = of_io(&e),
        }
    }
    failed
}

fn of_io(e: &io::Error) -> Reach {
    match e.kind() {
        ErrorKind::ConnectionRefused => Reach::Refused,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Reach::TimedOut,
        _ => Reach::Failed(e.to_string()),
    }
}

fn shake_hands(mut stream: TcpStream, address: &Address, files: &Files, ip: IpAddr) -> Reach {
    let Some(ca) = &files.ca else {
        return Reach::Files("mqtt.ca_file is not set, and mqtts and wss need it".into());
    };
    let config = match config(ca, files) {
        Ok(config) => config,
        Err(why) => return Reach::Files(why),
    };
    let limited = stream.set_read_timeout(Some(STEP_TIMEOUT)).and(stream.set_write_timeout(Some(STEP_TIMEOUT)));
    if let Err(e) = limited {
        return Reach::Failed(e.to_string());
    }
    let name = match ServerName::try_from(address.host.clone()) {
        Ok(name) => name,
        Err(e) => return Reach::Failed(e.to_string()),
    };
    let mut connection = match ClientConnection::new(Arc::new(config), name) {
        Ok(connection) => connection,
        Err(e) => return Reach::Failed(e.to_string()),
    };
    while connection.is_handshaking() {
        if let Err(e) = connection.complete_io(&mut stream) {
            return match e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(fault) => Reach::Tls(of_tls(fault)),
                None if e.kind() == ErrorKind::UnexpectedEof || e.kind() == ErrorKind::ConnectionReset => {
                    Reach::Tls(TlsFault::NotTls)
                }
                None => of_io(&e),
            };
        }
    }
    Reach::Reached(ip)
}

fn config(ca: &Path, files: &Files) -> Result<ClientConfig, String> {
    let roots = mqtt::authorities(ca).map_err(|e| e.to_string())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots);
    let (Some(certificate), Some(key)) = (&files.certificate, &files.key) else {
        return Ok(builder.with_no_client_auth());
    };
    let named = |path: &Path, e: String| format!("{}: {e}", path.display());
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| named(certificate, e.to_string()))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| named(key, e.to_string()))?;
    builder.with_client_auth_cert(chain, secret).map_err(|e| named(key, e.to_string()))
}

fn of_tls(fault: &rustls::Error) -> TlsFault {
    use CertificateError as E;
    match fault {
        rustls::Error::InvalidCertificate(E::Expired | E::ExpiredContext { .. }) => TlsFault::Expired,
        rustls::Error::InvalidCertificate(E::NotValidYet | E::NotValidYetContext { .. }) => TlsFault::NotYetValid,
        rustls::Error::InvalidCertificate(E::UnknownIssuer | E::BadSignature) => TlsFault::UnknownAuthority,
        rustls::Error::InvalidCertificate(E::NotValidForName | E::NotValidForNameContext { .. }) => TlsFault::OtherName,
        rustls::Error::InvalidMessage(_) => TlsFault::NotTls,
        other => TlsFault::Other(other.to_string()),
    }
}

pub(super) fn judge(seen: &Seen) -> Finding {
    let address = seen.url.as_deref().and_then(Address::parse);
    let at = address.as_ref().map_or_else(|| "the broker".to_owned(), ToString::to_string);
    if let Some(contested) = &seen.contested {
        return Finding::wrong(
            CHECK,
            Trouble::Config,
            contested,
            "name the devices apart (`device`, or a claim for each); `linnet fleet devices` lists names that two bear, the broker's log the addresses",
        );
    }
    match (seen.state.as_deref(), &seen.url) {
        (Some("up"), _) => return Finding::ok(CHECK, format!("linnetd is connected to {at}")),
        (Some("off"), Some(_)) => {
            return Finding::warning(
                CHECK,
                format!("the configuration names {at}, but linnetd runs without MQTT"),
                "reload linnetd (`systemctl reload linnetd`), or name the file that it runs with by --config",
            );
        }
        (Some("off") | None, None) => return Finding::skipped(CHECK, "MQTT is off", ""),
        _ => {}
    }
    let told = match (&seen.state, &seen.reason) {
        (Some(state), Some(reason)) => format!("linnetd's link is {state} ({reason})"),
        (Some(state), None) => format!("linnetd's link is {state}"),
        (None, _) => "no linnetd runs".to_owned(),
    };
    let wrong = |what: &str, way_out: &str| {
        Finding::wrong(CHECK, Trouble::Unavailable, format!("{told}; from here {at} {what}"), way_out)
    };
    match &seen.reach {
        Reach::NotTried => Finding::wrong(
            CHECK,
            Trouble::Unavailable,
            told,
            "name the configuration that linnetd runs with by --config, to have the broker tried from here",
        ),
        Reach::Unresolved(why) => wrong(
            &format!("has no address: {why}"),
            "correct the host in mqtt.url, or the machine's DNS (/etc/resolv.conf)",
        ),
        Reach::Refused => wrong(
            "refuses the connection",
            "start the broker, or correct the port in mqtt.url; does it listen beyond its own machine?",
        ),
        Reach::TimedOut => {
            wrong("does not answer", "look whether the broker's machine is on, and whether a firewall stands between")
        }
        Reach::Failed(why) => {
            wrong(&format!("cannot be reached: {why}"), "look after this machine's network (`ip route`)")
        }
        Reach::Files(why) => Finding::wrong(
            CHECK,
            Trouble::Config,
            format!("{told}; TLS was not tried from here: {why}"),
            "correct the file, or run `sudo linnet doctor` if only its permissions are in the way",
        ),
        Reach::Tls(fault) => {
            let (what, way_out) = match fault {
                TlsFault::Expired => {
                    ("has a certificate that has expired", "renew it on the broker, and look at both clocks")
                }
                TlsFault::NotYetValid => {
                    ("has a certificate that does not count yet", "set this machine's clock, or the broker's")
                }
                TlsFault::UnknownAuthority => (
                    "has a certificate that mqtt.ca_file does not vouch for",
                    "put the authority that signed it into mqtt.ca_file",
                ),
                TlsFault::OtherName => (
                    "has a certificate for another name",
                    "write the name of its certificate into mqtt.url, or give it one for this name",
                ),
                TlsFault::NotTls => (
                    "does not speak TLS on this port",
                    "use the broker's TLS port (often 8883), or mqtt:// without TLS",
                ),
                TlsFault::Other(why) => (why.as_str(), "see the broker's own log"),
            };
            let joined = if matches!(fault, TlsFault::Other(_)) {
                format!("ends the TLS handshake: {what}")
            } else {
                what.into()
            };
            wrong(&joined, way_out)
        }
        Reach::Reached(_) if seen.state.is_none() => {
            Finding::ok(CHECK, format!("{at} takes connections; whether it admits linnetd shows when that runs"))
        }
        Reach::Reached(ip) => {
            let beyond =
                "the unit lets linnetd speak to local networks only: add the address with IPAddressAllow= in a drop-in";
            let login = "look at linnetd's user, password and client_id there, and at the broker's log";
            wrong("takes the connection", if is_local(*ip) { login } else { beyond })
        }
    }
}

/// What `systemd/linnetd.service` lets through.
fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::super::finding::Verdict::{self, Ok as Fine, Skipped, Warning, Wrong};
    use super::*;

    #[test]
    fn addresses_are_read_from_urls_of_every_scheme_without_user_and_password() {
        for (url, shown, tls) in [
            ("mqtt://b", "b:1883", false),
            ("mqtts://b", "b:8883", true),
            ("ws://b:8080/mqtt", "b:8080", false),
            ("wss://b/mqtt", "b:443", true),
            ("mqtt://[::1]", "[::1]:1883", false),
            ("mqtt://[::1]:1884", "[::1]:1884", false),
            ("mqtt://ann:s3cret@b:1", "b:1", false),
        ] {
            let address = Address::parse(url).expect(url);
            assert_eq!((address.to_string().as_str(), address.tls), (shown, tls), "{url}");
        }
        for url in ["", "b", "http://b", "mqtt://", "mqtt://b:port"] {
            assert_eq!(Address::parse(url), None, "{url}");
        }
    }

    #[test]
    fn each_state_of_the_link_has_its_verdict_and_its_way_out() {
        let url = Some("mqtts://broker.lan");
        let home = || Reach::Reached("192.168.1.2".parse().expect("an address"));
        let far = || Reach::Reached("203.0.113.9".parse().expect("an address"));
        type Row = (Option<&'static str>, Option<&'static str>, Reach, Verdict, Option<u8>, &'static str);
        let table: [Row; 18] = [
            (Some("up"), url, Reach::NotTried, Fine, None, "connected to broker.lan:8883"),
            (Some("off"), None, Reach::NotTried, Skipped, None, "off"),
            (None, None, Reach::NotTried, Skipped, None, "off"),
            (Some("off"), url, Reach::NotTried, Warning, None, "reload linnetd"),
            (Some("down"), None, Reach::NotTried, Wrong, Some(69), "--config"),
            (Some("down"), url, Reach::Unresolved("no such host".into()), Wrong, Some(69), "DNS"),
            (Some("down"), url, Reach::Refused, Wrong, Some(69), "start the broker"),
            (Some("connecting"), url, Reach::TimedOut, Wrong, Some(69), "firewall"),
            (Some("down"), url, Reach::Failed("no route".into()), Wrong, Some(69), "ip route"),
            (Some("down"), url, Reach::Files("ca.pem: no".into()), Wrong, Some(78), "ca.pem"),
            (Some("down"), url, Reach::Tls(TlsFault::Expired), Wrong, Some(69), "renew"),
            (Some("down"), url, Reach::Tls(TlsFault::NotYetValid), Wrong, Some(69), "clock"),
            (Some("down"), url, Reach::Tls(TlsFault::UnknownAuthority), Wrong, Some(69), "into mqtt.ca_file"),
            (Some("down"), url, Reach::Tls(TlsFault::OtherName), Wrong, Some(69), "another name"),
            (Some("down"), url, Reach::Tls(TlsFault::NotTls), Wrong, Some(69), "TLS port"),
            (Some("down"), url, home(), Wrong, Some(69), "user, password"),
            (Some("down"), url, far(), Wrong, Some(69), "IPAddressAllow="),
            (None, url, home(), Fine, None, "takes connections"),
        ];
        for (state, url, reach, verdict, code, words) in table {
            let seen = Seen {
                state: state.map(Into::into),
                reason: Some("why".into()),
                contested: None,
                url: url.map(Into::into),
                reach,
            };
            let finding = judge(&seen);
            assert_eq!((finding.verdict, finding.code), (verdict, code), "{seen:?}: {finding:?}");
            let all = format!("{} {}", finding.sentence, finding.way_out.unwrap_or_default());
            assert!(all.contains(words), "{words}: {all}");
        }
    }

    #[test]
    fn a_client_id_that_two_use_is_wrong_also_while_the_link_is_up() {
        let contested = Some("another client uses this device's client id".to_owned());
        let url = Some("mqtt://b".to_owned());
        let seen = Seen { state: Some("up".into()), reason: None, contested, url, reach: Reach::NotTried };
        let finding = judge(&seen);
        assert_eq!((finding.verdict, finding.code), (Wrong, Some(78)), "{finding:?}");
        assert!(finding.sentence.contains("another client"), "{finding:?}");
    }

    fn of(url: String, ca: Option<PathBuf>) -> Reach {
        reach(&Address::parse(&url).expect("an address"), &Files { ca, certificate: None, key: None })
    }

    #[test]
    fn a_port_is_reached_refused_or_speaks_no_tls() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its number").port();
        assert_eq!(
            of(format!("mqtt://127.0.0.1:{port}"), None),
            Reach::Reached("127.0.0.1".parse().expect("an address"))
        );
        let without = of(format!("mqtts://127.0.0.1:{port}"), None);
        assert!(matches!(&without, Reach::Files(why) if why.contains("mqtt.ca_file")), "{without:?}");
        let dir = tempfile::tempdir().expect("a directory");
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, super::super::certificate::tests::UNTIL_2030).expect("written");
        let server = std::thread::spawn(move || {
            // The two connections of before, and the one that is answered.
            for _ in 0..2 {
                drop(listener.accept().expect("a connection"));
            }
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("written");
            // Held until the other side has read it and gone.
            let _ = io::copy(&mut stream, &mut io::sink());
        });
        assert_eq!(of(format!("mqtts://127.0.0.1:{port}"), Some(ca)), Reach::Tls(TlsFault::NotTls));
        server.join().expect("it ends");
        assert_eq!(of(format!("mqtt://127.0.0.1:{port}"), None), Reach::Refused, "it listens no more");
    }
}
