//! Updates over TLS from a server whose certificate the site's own authority has signed: `fleet.ca_file`.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::client::linnet;
use crate::harness::daemon::linnetd;
use crate::harness::{Daemon, DaemonBuilder, Web, authority};
use crate::operator::{Operator, look_twice, served_version, status, wait_for, wait_for_log};

/// A device that takes generations from `web`, with `lines` more in its `[fleet]`.
fn device(operator: &Operator, web: &Web, home: &Path, lines: &str) -> DaemonBuilder {
    let config = operator.device_config(&web.url()) + lines;
    Daemon::builder().models_of_the_configuration().config(config).in_home(home)
}

fn ca_file(path: &Path) -> String {
    format!("ca_file = {path:?}\n")
}

#[test]
fn a_server_of_the_sites_own_authority_is_followed_and_without_the_key_it_is_refused_by_its_name() {
    let operator = Operator::new();
    let web = Web::start_tls(&operator.repository());
    let one = operator.push("", &[operator.package("pushed", "1.0.0")]);
    let home = tempfile::tempdir().expect("a directory");

    let daemon = device(&operator, &web, home.path(), "").start();
    wait_for_log(&daemon, "name a file with the certificate of that authority (PEM) as fleet.ca_file");
    assert_eq!(status(&daemon)["generation"]["generation"], 0);
    assert_eq!(web.asked(), [], "nothing is asked of a server that nobody vouches for");
    assert!(daemon.stop().status.success());

    // The server's own certificate is no authority, and where a file is named the system's count no more.
    let other = authority().with_file_name("server.pem");
    let daemon = device(&operator, &web, home.path(), &ca_file(&other)).start();
    wait_for_log(&daemon, &format!("comes from no authority in {} (fleet.ca_file)", other.display()));
    assert_eq!(web.asked(), []);
    assert!(daemon.stop().status.success());

    let daemon = device(&operator, &web, home.path(), &ca_file(&authority())).start();
    wait_for(&daemon, one);
    assert_eq!(served_version(&daemon, "pushed").as_deref(), Some("1.0.0"));
    assert!(web.asked().iter().any(|asked| asked.path.starts_with("files/")));
}

#[test]
fn a_file_of_authorities_that_is_mended_counts_without_a_restart() {
    let operator = Operator::new();
    let web = Web::start_tls(&operator.repository());
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("ca.pem");
    let daemon = device(&operator, &web, home.path(), &ca_file(&file)).start();
    wait_for_log(&daemon, &format!("fleet.ca_file = {}: there is no such file", file.display()));
    std::fs::write(&file, "").expect("written");
    wait_for_log(&daemon, &format!("fleet.ca_file = {}: the file is empty", file.display()));
    std::fs::copy(authority(), &file).expect("copied");
    wait_for(&daemon, one);
    // A pipe that nobody writes to holds nothing up, and what follows it counts.
    std::fs::remove_file(&file).expect("ours");
    let pipe = rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, 0o600.into(), 0);
    pipe.expect("a pipe");
    wait_for_log(&daemon, &format!("fleet.ca_file = {}: this is no regular file", file.display()));
    std::fs::remove_file(&file).expect("ours");
    std::fs::copy(authority(), &file).expect("copied");
    let two = operator.push("[limits]\nmax_upload_mib = 9\n", &[]);
    wait_for(&daemon, two);
    // And one that counts no more: what serves goes on, and nothing else is taken.
    std::fs::copy(authority().with_file_name("server.pem"), &file).expect("copied");
    wait_for_log(&daemon, "comes from no authority in");
    operator.push("[limits]\nmax_upload_mib = 8\n", &[]);
    look_twice(&daemon);
    assert_eq!(status(&daemon)["limits"]["max_upload_bytes"], 9 << 20);
}

#[test]
fn a_file_of_authorities_that_is_none_is_refused_by_the_check_with_its_line_and_the_way_out() {
    let operator = Operator::new();
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, content: &[u8]| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    };
    let check = |ca: &Path| {
        let text = operator.device_config("https://updates.example/home") + &ca_file(ca);
        let line = text.lines().count();
        let config = file("linnet.toml", text.as_bytes());
        let output = linnetd().arg("--check").arg(&config).output().expect("linnetd starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), line)
    };
    for (ca, says) in [
        (dir.path().join("none.pem"), "there is no such file; put the certificate"),
        (file("empty.pem", b""), "the file is empty; put the certificate"),
        (file("garbage.pem", b"\0\xff what is this?"), "it must be PEM"),
        (dir.path().to_owned(), "no regular file; name a file of certificates"),
    ] {
        let (code, why, line) = check(&ca);
        assert_eq!(code, Some(78), "{why}");
        let place = format!("linnet.toml:{line}: fleet.ca_file: {}: ", ca.display());
        assert!(why.contains(&place) && why.contains(says) && why.trim_end().lines().count() == 1, "{why}");
    }
    let (code, why, _) = check(&authority());
    assert_eq!(code, Some(0), "{why}");
}

#[test]
fn an_authority_that_has_expired_goes_on_counting_and_the_doctor_says_that_it_does() {
    let operator = Operator::new();
    let web = Web::start_tls(&operator.repository());
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("ca.pem");
    // Its own signature is not looked at: the file is what makes it an authority.
    let pem = std::fs::read_to_string(authority()).expect("readable");
    let lines: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let mut der = STANDARD.decode(lines).expect("Base64");
    let (end, past) = (b"21000101000000Z", b"20210101000000Z");
    let at = der.windows(end.len()).position(|bytes| bytes == end).expect("it ends in 2100");
    der[at..at + end.len()].copy_from_slice(past);
    let expired = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der));
    std::fs::write(&file, expired).expect("written");

    let daemon = device(&operator, &web, home.path(), &ca_file(&file)).start();
    wait_for(&daemon, one);
    let checked = linnetd().arg("--check").arg(home.path().join("linnet.toml")).output().expect("linnetd starts");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let mut doctor = linnet();
    doctor.arg("--socket").arg(daemon.socket()).arg("doctor").arg("--config").arg(home.path().join("linnet.toml"));
    let said = String::from_utf8_lossy(&doctor.output().expect("linnet runs").stdout).into_owned();
    let at = format!("{} (fleet.ca_file) expired on 2021-01-01; linnetd goes on with it", file.display());
    assert!(said.contains(&at) && said.contains("new certificate"), "{said}");
}
