//! No word of what anybody says, or favours as a hot word, is logged at info level: neither of a request that is answered
//! nor of one that is refused, whatever the environment asks of other programs' logs. (Over MQTT: `tests/mqtt/privacy.rs`.)

mod harness;

use harness::privacy::{SECRETS, assert_none_logged, secret};
use harness::{Daemon, sample};

const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";

/// A daemon at its default level, in an environment that asks for everything.
fn daemon() -> Daemon {
    let loud = [("RUST_LOG", "trace"), ("RUST_LOG_STYLE", "always"), ("RUST_BACKTRACE", "full"), ("DEBUG", "*")];
    loud.into_iter().fold(Daemon::builder(), |builder, (name, value)| builder.variable(name, value)).start()
}

/// The prompt as it stands in a query.
fn prompt() -> String {
    format!("prompt={}", SECRETS.join("%2C"))
}

#[test]
fn no_word_of_an_answered_request_is_logged() {
    let daemon = daemon();
    let mut heard = Vec::new();
    for options in ["response_format=text", "response_format=text&stream=true", "response_format=verbose_json"] {
        let path = format!("{TRANSCRIPTIONS}?{options}&beam_width=8&{}", prompt());
        let answer = daemon.post(&path, "audio/wav", &sample());
        assert_eq!(answer.status, 200, "{}", answer.text());
        heard.push(answer.text());
    }
    let spoken = std::fs::read_to_string(harness::audio("sample.txt")).expect("what was spoken");
    let log = daemon.stop().log;
    assert_eq!(log.matches("s of audio in").count(), 3, "each request is told:\n{log}");
    assert_none_logged(&log, heard.iter().map(String::as_str).chain([spoken.as_str()]));
}

#[test]
fn no_word_of_a_refused_request_is_logged() {
    let daemon = daemon();
    let (secret, prompt) = (secret(), prompt());
    let form = format!(
        "--XX\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n{secret}\r\n\
         --XX\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n{secret}\r\n\
         --XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{secret}.wav\"\r\n\r\n{secret}",
        SECRETS[0]
    );
    let long = format!("--XX\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n{}", secret.repeat(4000));
    let multipart = "multipart/form-data; boundary=XX";
    let queries = [
        (format!("beam_width=0&{prompt}"), 422),
        (format!("language={}&{prompt}", SECRETS[0]), 422),
        (format!("model={}&{prompt}", SECRETS[0]), 404),
        (format!("priority={}&{prompt}", SECRETS[0]), 422),
        (format!("{}=1&{prompt}", SECRETS[0]), 422),
        (format!("{prompt}&{prompt}"), 400),
    ];
    let mut refused = 0;
    for (query, status) in queries {
        let answer = daemon.post(&format!("{TRANSCRIPTIONS}?{query}"), "audio/wav", &sample());
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
        refused += 1;
    }
    for (what, content_type, body, status) in [
        ("text as audio", "application/octet-stream", secret.as_bytes(), 415),
        ("raw samples that are words", "audio/flac", secret.as_bytes(), 415),
        ("a form with an unknown field", multipart, form.as_bytes(), 422),
        ("a field that is too long", multipart, long.as_bytes(), 413),
    ] {
        let answer = daemon.post(&format!("{TRANSCRIPTIONS}?response_format=json"), content_type, body);
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        refused += 1;
    }
    let head = [("content-type", "audio/wav"), ("linnet-priority", SECRETS[1])];
    assert_eq!(daemon.send("POST", TRANSCRIPTIONS, &head, &sample()).status, 422);
    assert_eq!(daemon.get(&format!("/v1/{}", SECRETS[0])).status, 404);
    let log = daemon.stop().log;
    let told = log.matches(" refused: ").count() + log.matches(" ended with ").count();
    assert_eq!(told, refused + 1, "each is told by its code:\n{log}");
    assert_none_logged(&log, []);
}
