use serde_json::{Value, json};

use super::bench::Bench;
use super::harness::Answer;

const JSON_PATHS: [&str; 17] = [
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/fill-mask",
    "/v1/classify",
    "/v1/tag",
    "/v1/answer",
    "/v1/intent",
    "/v1/words",
    "/v1/summarize",
    "/v1/raw",
    "/translate",
    "/detect",
    "/api/generate",
    "/api/chat",
    "/api/embed",
    "/api/embeddings",
];

/// The code of a refusal, in OpenAI's shape or in LibreTranslate's and Ollama's.
fn code(answer: &Answer) -> String {
    let body = answer.json();
    let code = if body["error"].is_string() { &body["code"] } else { &body["error"]["code"] };
    code.as_str().unwrap_or_default().to_owned()
}

/// Its sentence.
fn message(answer: &Answer) -> String {
    if answer.status == 200 {
        return String::new();
    }
    let body = answer.json();
    let message = body["error"].as_str().or_else(|| body["error"]["message"].as_str());
    message.expect("a message").to_owned()
}

#[test]
fn what_is_no_json_object_is_refused_everywhere() {
    let bench = Bench::start();
    let deep = format!("{{\"model\":{}", "[".repeat(10_000));
    for path in JSON_PATHS {
        for body in ["", "{", "[]", "null", "\u{0}", "{\"input\": \"\\ud800\"}", deep.as_str()] {
            let answer = bench.send(path, &[], body.as_bytes());
            assert_eq!((answer.status, code(&answer).as_str()), (400, "invalid_request"), "{path} {body:.20?}");
        }
        let answer = bench.send(path, &[], b"{\"input\": \"\xff\xfe\"}");
        assert_eq!(answer.status, 400, "{path}");
        let answer = bench.send(path, &[("content-type", "multipart/form-data; boundary=x")], b"--x--");
        assert_eq!(answer.status, 415, "{path}");
    }
    // It serves on.
    assert_eq!(bench.post("/v1/classify", &json!({"input": "x"})).status, 200);
}

#[test]
fn an_unknown_argument_is_unrecognized_as_openai_says_it() {
    let bench = Bench::start();
    for path in JSON_PATHS {
        let body = json!({
            "prompt": "x", "input": "x", "messages": [{"role": "user", "content": "x"}], "q": "x", "target": "de",
            "frobnicate": 1
        });
        let answer = bench.post(path, &body);
        assert_eq!((answer.status, code(&answer).as_str()), (400, "invalid_request"), "{path}");
        let message = message(&answer);
        assert!(message.starts_with("unrecognized request argument supplied: "), "{path}: {message}");
    }
}

#[test]
fn numbers_outside_their_rule_are_refused_by_name() {
    let bench = Bench::start();
    for (name, value) in [
        ("temperature", "NaN"),
        ("temperature", "-1"),
        ("temperature", "1e400"),
        ("max_tokens", "1e12"),
        ("max_tokens", "-1"),
        ("n", "1000"),
        ("top_p", "1.5"),
        ("logprobs", "-3"),
        ("timeout_ms", "0"),
        ("timeout_ms", "1e12"),
    ] {
        let body = format!("{{\"prompt\": \"x\", \"{name}\": {value}}}");
        let answer = bench.send("/v1/completions", &[], body.as_bytes());
        assert!(matches!(answer.status, 400 | 422), "{body}: {}", answer.text());
        if value != "1e400" {
            assert_eq!(answer.json()["error"]["param"], name, "{body}: {}", answer.text());
        }
    }
}

#[test]
fn what_is_too_large_is_refused_before_it_is_built() {
    let bench = Bench::start();
    let long = "x".repeat(5 << 20);
    let answer = bench.post("/v1/completions", &json!({"prompt": long}));
    assert_eq!((answer.status, answer.error_code().as_str()), (413, "too_large"));
    let many = format!("{{\"prompt\": [{}1]}}", "1,".repeat(2 << 20));
    let answer = bench.send("/v1/completions", &[], many.as_bytes());
    assert_eq!((answer.status, answer.error_code().as_str()), (413, "too_large"));
    let huge = vec![b' '; 33 << 20];
    let answer = bench.send("/v1/completions", &[], &huge);
    assert_eq!((answer.status, answer.error_code().as_str()), (413, "too_large"));
    let one_character = "a".repeat(1 << 20);
    let body: Value = bench.ask("/v1/summarize", &json!({"input": one_character}));
    assert_eq!(body["summary"].as_str().expect("a text").len(), 1 << 20);
}

#[test]
fn nobodys_text_stands_in_a_refusal() {
    let bench = Bench::start();
    for body in [
        json!({"input": {"secret": "secret"}}),
        json!({"input": "secret", "top_k": "secret"}),
        json!({"input": ["secret", 7]}),
        json!({"prompt": {"a": "secret"}, "messages": "secret", "q": {"a": "secret"}}),
    ] {
        for path in JSON_PATHS {
            let answer = bench.post(path, &body);
            let message = message(&answer);
            assert!(answer.status == 200 || !message.contains("secret"), "{path}: {message}");
        }
    }
}
