//! TCP, TLS, WebSocket and both to a real Mosquitto.

use std::path::Path;
use std::process::Command;

use linnet::config::transport::TlsFiles;
use linnet::status::LinkState;

use crate::client::MqttClient;
use crate::fixture::{Fixture, REQUEST, heard, reply_to, settings};
use crate::harness::{Mosquitto, eventually, free_port, mosquitto, root, skip};

/// An authority, a server's and a client's certificate, made with openssl.
fn certificates(openssl: &Path, dir: &Path) {
    let run = |arguments: &[&str]| {
        let output = Command::new(openssl).current_dir(dir).args(arguments).output().expect("openssl runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let authority = ["req", "-x509", "-days", "2", "-subj", "/CN=site", "-keyout", "ca.key", "-out", "ca.crt"];
    run(&[&authority[..], &key[..]].concat());
    std::fs::write(dir.join("ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n")
        .expect("writes");
    for name in ["server", "client"] {
        let (subject, key_file, request) = (format!("/CN={name}"), format!("{name}.key"), format!("{name}.csr"));
        run(&[&["req", "-subj", &subject, "-keyout", &key_file, "-out", &request][..], &key[..]].concat());
        let certificate = format!("{name}.crt");
        run(&[
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            &request,
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            "ext",
            "-out",
            &certificate,
        ]);
    }
}

#[test]
fn every_scheme_carries_requests_and_an_unknown_authority_none() {
    let test = "every_scheme_carries_requests_and_an_unknown_authority_none";
    let Some(openssl) = mosquitto::find("openssl") else {
        return skip(test, "the program `openssl` (Debian: apt-get install openssl)");
    };
    let dir = tempfile::tempdir().expect("a directory");
    certificates(&openssl, dir.path());
    let here = dir.path().display();
    let (tls, ws, wss) = (free_port(), free_port(), free_port());
    let certificates = format!(
        "cafile {here}/ca.crt\ncertfile {here}/server.crt\nkeyfile {here}/server.key\nrequire_certificate true\n"
    );
    let lines = format!(
        "listener {tls} 127.0.0.1\n{certificates}listener {ws} 127.0.0.1\nprotocol websockets\n\
         listener {wss} 127.0.0.1\nprotocol websockets\n{certificates}"
    );
    let Some(broker) = Mosquitto::start_with(test, &lines) else { return };
    let client = MqttClient::connect(broker.port(), "c", "site/#");
    for (number, url) in [
        broker.url(),
        format!("mqtts://127.0.0.1:{tls}"),
        format!("ws://127.0.0.1:{ws}/mqtt"),
        format!("wss://localhost:{wss}/mqtt"),
    ]
    .into_iter()
    .enumerate()
    {
        let state = tempfile::tempdir().expect("a directory");
        let mut with = settings(1, state.path());
        with.url = url.clone();
        with.client_id = format!("linnet-{number}");
        with.alpn = vec!["mqtt".into()];
        with.ca_file = Some(dir.path().join("ca.crt"));
        with.client_cert = Some(TlsFiles { cert: dir.path().join("client.crt"), key: dir.path().join("client.key") });
        let mut fixture = Fixture::with(with, 2);
        fixture.wait_for(LinkState::Up);
        // Longer than one frame and one buffer.
        let name = format!("over {url}");
        client.publish(REQUEST, vec![b'x'; 50_000], reply_to("site/a", &name));
        let job = fixture.bench.take();
        assert_eq!(job.audio().len(), 50_000, "{url}");
        job.answer(&name);
        client.wait_for_answers(std::slice::from_ref(&name));
        assert_eq!(heard(&client.answers()[&name][0]), name);
        let drained = fixture.drain(std::time::Duration::from_secs(5));
        assert_eq!(fixture.runtime.block_on(drained).expect("it drains"), 0, "{url}");
    }
    // Another authority: no connection, no end.
    let strangers = tempfile::tempdir().expect("a directory");
    self::certificates(&openssl, strangers.path());
    let state = tempfile::tempdir().expect("a directory");
    let mut with = settings(1, state.path());
    with.url = format!("mqtts://127.0.0.1:{tls}");
    with.ca_file = Some(strangers.path().join("ca.crt"));
    let fixture = Fixture::with(with, 2);
    fixture.wait_for(LinkState::Down);
    eventually("it goes on trying", || (fixture.link.counted(linnet::status::LinkCount::Lost) >= 2).then_some(()));
    assert_eq!(fixture.link.counted(linnet::status::LinkCount::Connected), 0);
}

#[test]
fn the_configuration_that_we_ship_is_one_that_mosquitto_takes() {
    let test = "the_configuration_that_we_ship_is_one_that_mosquitto_takes";
    let (Some(program), Some(passwd)) = (mosquitto::find("mosquitto"), mosquitto::find("mosquitto_passwd")) else {
        return skip(test, "the program `mosquitto` (Debian: apt-get install mosquitto)");
    };
    let Some(openssl) = mosquitto::find("openssl") else {
        return skip(test, "the program `openssl` (Debian: apt-get install openssl)");
    };
    let dir = tempfile::tempdir().expect("a directory");
    certificates(&openssl, dir.path());
    let here = dir.path().display().to_string();
    let examples = root().join("config/examples/mosquitto");
    let shipped = std::fs::read_to_string(examples.join("mosquitto.conf")).expect("the shipped configuration");
    let (tls, plain) = (free_port(), free_port());
    let mut text = shipped
        .replace("/etc/mosquitto/certs", &here)
        .replace("/etc/mosquitto/linnet.acl", &examples.join("linnet.acl").display().to_string())
        .replace("/etc/mosquitto", &here)
        .replace("/var/lib/mosquitto", &here)
        .replace("listener 8883", &format!("listener {tls} 127.0.0.1"))
        .replace("listener 1883", &format!("listener {plain}"));
    if rustix::process::geteuid().is_root() {
        text.push_str("\nuser root\n");
    }
    std::fs::write(dir.path().join("mosquitto.conf"), text).expect("writes");
    let passwords = dir.path().join("linnet.passwords");
    std::fs::write(&passwords, "").expect("writes");
    let made = Command::new(passwd).arg("-b").arg(&passwords).args(["linnet-kitchen", "secret"]).status();
    assert!(made.expect("it runs").success());
    let mut child = Command::new(program)
        .arg("-c")
        .arg(dir.path().join("mosquitto.conf"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("mosquitto starts");
    let up = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("mosquitto listens on both ports", || {
            assert!(child.try_wait().expect("a child").is_none(), "mosquitto refuses the shipped configuration");
            let listens = |port: u16| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            (listens(tls) && listens(plain)).then_some(())
        });
        let login = Some(("linnet-kitchen", "secret"));
        drop(MqttClient::connect_as(plain, "c", login, "linnet/kitchen/request/#"));
    }));
    // Both fail only when it has ended already.
    let _ = child.kill();
    let _ = child.wait();
    up.expect("mosquitto serves");
}
