//! Requests that break the protocol, the limits, or the patience: one clear refusal, and the next request is answered.

mod harness;

use std::io::{Read, Write};
use std::time::Duration;

use harness::{Daemon, eventually, http, noise, sample};

const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";
const FORM: &str = "multipart/form-data; boundary=XX";

fn assert_serves(daemon: &Daemon) {
    let answer = daemon.post(TRANSCRIPTIONS, "audio/wav", &sample());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// A form with the bundled recording and `fields`.
fn form(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").into_bytes());
    }
    body.extend(b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n");
    body.extend(sample());
    body.extend(b"\r\n--XX--\r\n");
    body
}

/// Peak memory of the daemon's process, MiB.
fn peak_mib(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("a running process");
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).expect("its peak");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") / 1024
}

#[test]
fn an_option_that_is_not_known_or_out_of_its_rule_is_named() {
    let daemon = Daemon::start();
    for (field, value, status, code) in [
        ("model", "no-such-model", 404, "unknown_model"),
        ("language", "tlh", 422, "unsupported_task"),
        ("response_format", "docx", 422, "invalid_option"),
        ("temperature", "7", 422, "invalid_option"),
        ("beam_width", "0", 422, "invalid_option"),
        ("no_such_field", "1", 422, "invalid_option"),
    ] {
        let answer = daemon.post(TRANSCRIPTIONS, FORM, &form(&[(field, value)]));
        assert_eq!((answer.status, answer.error_code().as_str()), (status, code), "{field}: {}", answer.text());
        assert_eq!(answer.json()["error"]["param"], field, "{}", answer.text());
    }
    assert_serves(&daemon);
}

#[test]
fn a_broken_form_is_refused_and_the_connection_still_answers() {
    let daemon = Daemon::start();
    let whole = form(&[]);
    for (what, content_type, body) in [
        ("no boundary", "multipart/form-data", whole.as_slice()),
        ("another boundary", "multipart/form-data; boundary=YY", &whole),
        ("cut in the file", FORM, &whole[..whole.len() / 2]),
        ("cut before the last dash", FORM, &whole[..whole.len() - 4]),
        ("no file", FORM, b"--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--XX--\r\n"),
        ("empty", FORM, b""),
    ] {
        let answer = daemon.post(TRANSCRIPTIONS, content_type, body);
        assert_eq!(
            (answer.status, answer.error_code().as_str()),
            (400, "invalid_request"),
            "{what}: {}",
            answer.text()
        );
    }
    assert_serves(&daemon);
}

#[test]
fn an_upload_of_two_gigabytes_is_refused_before_it_fills_memory_or_disk() {
    let daemon = Daemon::start();
    let two_gigabytes: u64 = 2 << 30;
    // Declared: refused by the head alone.
    let mut stream = http::connect(&daemon.socket()).expect("connects");
    let head = http::head("POST", TRANSCRIPTIONS, &[("content-type", "audio/wav")], two_gigabytes as usize);
    stream.write_all(&head).expect("the head is sent");
    let answer = http::read_answer(&mut stream).expect("an answer");
    assert_eq!((answer.status, answer.error_code().as_str()), (413, "too_large"), "{}", answer.text());

    // Undeclared: refused where the limit is passed.
    let mut stream = http::connect(&daemon.socket()).expect("connects");
    let head = format!(
        "POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: audio/wav\r\ntransfer-encoding: chunked\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("the head is sent");
    let piece = vec![0; 1 << 20];
    let mut sent = 0;
    while sent < two_gigabytes {
        let wrote = stream
            .write_all(format!("{:x}\r\n", piece.len()).as_bytes())
            .and_then(|()| stream.write_all(&piece))
            .and_then(|()| stream.write_all(b"\r\n"));
        if wrote.is_err() {
            break;
        }
        sent += piece.len() as u64;
    }
    assert!(sent < two_gigabytes, "all of it was taken");
    let answer = http::read_answer(&mut stream).expect("an answer");
    assert_eq!((answer.status, answer.error_code().as_str()), (413, "too_large"), "{}", answer.text());
    assert!(peak_mib(&daemon) < 600, "peak memory is {} MiB", peak_mib(&daemon));
    assert_serves(&daemon);
}

#[test]
fn uploads_that_fill_their_memory_are_told_as_such_in_answer_and_log() {
    let daemon = Daemon::builder().config("[limits]\nmax_upload_mib = 1\nmax_upload_total_mib = 1\n").start();
    let holder = eventually("the memory is held", || {
        // What has come holds its memory, unless the request behind it was faster.
        let mut holder = http::connect(&daemon.socket()).expect("connects");
        holder
            .write_all(&http::head("POST", TRANSCRIPTIONS, &[("content-type", "audio/wav")], 1 << 20))
            .expect("a head");
        holder.write_all(&vec![0; (1 << 20) - 1]).expect("all but a byte");
        std::thread::sleep(Duration::from_millis(50));
        let answer = daemon.post(TRANSCRIPTIONS, "audio/wav", &sample());
        (answer.status == 429 && answer.text().contains("limits.max_upload_total_mib")).then_some(holder)
    });
    drop(holder);
    eventually("the memory is free", || {
        (daemon.post(TRANSCRIPTIONS, "audio/wav", &sample()).status == 200).then_some(())
    });
    let log = daemon.stop().log;
    let told = log.lines().find(|l| l.contains("requests refused since")).expect("a line about overload");
    assert!(told.contains("limits.max_upload_total_mib") && !told.contains("queue"), "{told}");
}

#[test]
fn a_length_that_is_only_announced_takes_nobody_elses_memory() {
    let daemon = Daemon::builder().config("[limits]\nmax_upload_mib = 1\nmax_upload_total_mib = 1\n").start();
    let announced: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = http::connect(&daemon.socket()).expect("connects");
            stream
                .write_all(&http::head("POST", TRANSCRIPTIONS, &[("content-type", "audio/wav")], 1 << 20))
                .expect("a head");
            stream.write_all(b"RIFF").expect("a beginning");
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_millis(50));
    assert_serves(&daemon);
    drop(announced);
}

#[test]
fn uploads_for_which_the_machine_has_no_memory_are_refused_and_the_daemon_lives() {
    let daemon = Daemon::start();
    daemon.limit_memory(200);
    let upload = vec![0; 60 << 20];
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let send = || {
            let answer = daemon.post(TRANSCRIPTIONS, "audio/wav", &upload);
            if answer.status == 429 {
                assert!(answer.text().contains("no memory left"), "{}", answer.text());
            }
            answer.status
        };
        let clients: Vec<_> = (0..6).map(|_| scope.spawn(send)).collect();
        clients.into_iter().map(|client| client.join().expect("an answer")).collect()
    });
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(statuses.iter().all(|status| [415, 429].contains(status)), "{statuses:?}");
    assert_serves(&daemon);
}

#[test]
fn a_client_that_drips_its_request_is_given_up() {
    let daemon = Daemon::builder().config("[http]\nheader_timeout_secs = 1\nidle_timeout_secs = 1\n").start();
    // The head never ends.
    let mut slow = http::connect(&daemon.socket()).expect("connects");
    slow.write_all(b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x").expect("a part of the head");
    // The body never comes.
    let mut silent = http::connect(&daemon.socket()).expect("connects");
    let head = http::head("POST", TRANSCRIPTIONS, &[("content-type", "audio/wav")], 1000);
    silent.write_all(&head).expect("the head");
    let answer = http::read_answer(&mut silent).expect("an answer");
    assert_eq!((answer.status, answer.error_code().as_str()), (408, "request_timeout"), "{}", answer.text());
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).expect("the connection is closed");
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
    assert_serves(&daemon);
}

#[test]
fn a_client_that_reads_nothing_holds_nobody_up_and_is_given_up() {
    const ASKED: usize = 1000;
    let daemon = Daemon::builder().config("[http]\nidle_timeout_secs = 3\n").start();
    let one = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut deaf: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = http::connect(&daemon.socket()).expect("connects");
            // One behind the other on one connection: the requests are few bytes, the answers fill every buffer on their way.
            stream.write_all(&one.repeat(ASKED)).expect("requests");
            stream.set_nonblocking(true).expect("a socket");
            stream
        })
        .collect();
    for _ in 0..3 {
        assert_serves(&daemon);
    }
    for stream in &mut deaf {
        eventually("who reads nothing is hung up on", || {
            let closed = |e: std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
            std::thread::sleep(Duration::from_millis(50));
            stream.write(one).is_err_and(closed).then_some(())
        });
        stream.set_nonblocking(false).expect("a socket");
        let mut got = Vec::new();
        // It was cut off in the middle: how the kernel tells that is its own affair.
        let _ = stream.read_to_end(&mut got);
        let answers = got.windows(12).filter(|at| at == b"HTTP/1.1 200").count();
        assert!((1..ASKED).contains(&answers), "{answers} answers: the buffers hold them all");
    }
    assert_serves(&daemon);
}

#[test]
fn a_dropped_connection_cancels_its_job() {
    let daemon = Daemon::builder().config("[scheduler]\nworkers = 1\n").start();
    // Ten minutes of noise would keep the only worker for long.
    let recording = noise(600);
    let mut stream = http::connect(&daemon.socket()).expect("connects");
    let path = format!("{TRANSCRIPTIONS}?timeout_ms=600000");
    stream.write_all(&http::head("POST", &path, &[("content-type", "audio/wav")], recording.len())).expect("a head");
    stream.write_all(&recording).expect("a body");
    let metrics = || daemon.get("/metrics").text();
    harness::eventually("the job runs", || metrics().contains("linnet_jobs_running 1").then_some(()));
    drop(stream);
    // With one worker this is answered only when the job of before has ended.
    assert_serves(&daemon);
    harness::eventually("the job is counted as cancelled", || {
        metrics().contains("outcome=\"cancelled\"").then_some(())
    });
}

#[test]
fn over_tcp_a_wrong_or_missing_token_is_refused_and_models_are_not_changed() {
    let port = harness::free_port();
    let home = tempfile::tempdir().expect("a directory");
    let token = home.path().join("token");
    std::fs::write(&token, "right\n").expect("the token");
    let config = format!("[http]\ntcp = \"127.0.0.1:{port}\"\ntoken_file = \"{}\"\n", token.display());
    let daemon = Daemon::builder().config(config).start();
    let ask = |method: &str, path: &str, authorization: Option<&str>| {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let headers: Vec<_> = authorization.map(|a| ("authorization", a)).into_iter().collect();
        stream.write_all(&http::head(method, path, &headers, 0)).expect("sent");
        http::read_answer(&mut stream).expect("an answer")
    };
    let right = Some("Bearer right");
    assert_eq!(ask("GET", "/v1/models", right).status, 200);
    for wrong in [None, Some("Bearer wrong"), Some("Bearer "), Some("Basic right"), Some("right")] {
        assert_eq!(ask("GET", "/v1/models", wrong).status, 401, "{wrong:?}");
    }
    // Models are changed by who is on this machine, whatever token somebody else has.
    for (method, path) in [("POST", "/v1/models"), ("DELETE", "/v1/models/stt-en-small")] {
        let refused = ask(method, path, right);
        assert_eq!(refused.status, 403, "{method}: {}", refused.text());
        assert!(refused.text().contains("over the Unix socket only"), "{method}: {}", refused.text());
    }
    assert_serves(&daemon);
}

#[test]
fn what_is_no_endpoint_and_no_http_is_answered_as_such() {
    let daemon = Daemon::start();
    assert_eq!(daemon.get("/v1/no-such-thing").status, 404);
    assert_eq!(daemon.get(TRANSCRIPTIONS).status, 405);
    let mut stream = http::connect(&daemon.socket()).expect("connects");
    stream.write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n").expect("sent");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("closed");
    assert!(rest.starts_with(b"HTTP/1.1 400") || rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    let long = "x".repeat(15 * 1024);
    let answer = http::request(&daemon.socket(), "GET", "/healthz", &[("x-long", &long)], b"").expect("an answer");
    assert_eq!(answer.status, 200, "the documented 16 KiB of a head");
    let huge = "x".repeat(200_000);
    let answer = http::request(&daemon.socket(), "GET", "/healthz", &[("x-huge", &huge)], b"");
    assert!(answer.is_err() || answer.is_ok_and(|a| a.status == 431), "a head of 200 kB");
    assert_serves(&daemon);
}
