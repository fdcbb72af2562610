use serde_json::{Value, json};

use super::bench::Bench;
use super::harness::Answer;

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    answer.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_chat_comes_line_by_line_unless_it_is_wanted_whole() {
    let bench = Bench::start();
    let body = json!({"model": "every:latest", "messages": [{"role": "user", "content": "hello"}]});
    let lines = lines(&bench.post("/api/chat", &body));
    let text: String = lines.iter().filter_map(|l| l["message"]["content"].as_str()).collect();
    assert_eq!(text, "answer to 1 messages");
    assert!(lines.iter().all(|l| l["model"] == "every" && l["created_at"].as_str().expect("a time").ends_with('Z')));
    let last = lines.last().expect("lines");
    assert_eq!((&last["done"], &last["done_reason"], &last["eval_count"]), (&json!(true), &json!("stop"), &json!(4)));
    let mut whole = body;
    whole["stream"] = json!(false);
    let body = bench.ask("/api/chat", &whole);
    assert_eq!((&body["message"]["content"], &body["done"]), (&json!("answer to 1 messages"), &json!(true)));
}

#[test]
fn a_prompt_is_a_message_where_the_model_chats_and_a_beginning_where_it_does_not() {
    let bench = Bench::start();
    let body = json!({"model": "every", "prompt": "once", "system": "Be brief.", "stream": false});
    assert_eq!(bench.ask("/api/generate", &body)["response"], "answer to 2 messages");
    let body = json!({"model": "every", "prompt": "once", "raw": true, "stream": false});
    assert_eq!(bench.ask("/api/generate", &body)["response"], "after once");
    let teller = Bench::with(&[("stories", &["generate"], &["en"])], Default::default(), super::bench::play);
    let body = json!({"model": "stories", "prompt": "once", "stream": false});
    assert_eq!(teller.ask("/api/generate", &body)["response"], "after once");
}

#[test]
fn vectors_models_and_errors_have_ollamas_shape() {
    let bench = Bench::start();
    let body = bench.ask("/api/embed", &json!({"model": "every", "input": ["a", "b"]}));
    assert_eq!(body["embeddings"], json!([[1.0, -2.0], [1.0, -2.0]]));
    let body = bench.ask("/api/embeddings", &json!({"model": "every", "prompt": "a"}));
    assert_eq!(body, json!({"embedding": [1.0, -2.0]}));
    let get = |path| super::harness::request(&bench.socket(), "GET", path, &[], b"").expect("an answer").json();
    assert_eq!(get("/api/tags")["models"][0]["name"], "every:latest");
    assert!(get("/api/version")["version"].is_string());
    let body = bench.ask("/api/show", &json!({"model": "every:latest"}));
    assert_eq!(body["capabilities"], json!(["completion", "tools", "embedding"]));
    let answer = bench.post("/api/chat", &json!({"model": "none", "messages": [{"role": "user", "content": "x"}]}));
    assert_eq!(answer.status, 404);
    assert!(answer.json()["error"].as_str().expect("a text").contains("there is no model"), "{}", answer.text());
    let answer = bench.post("/api/show", &json!({"model": "none"}));
    assert_eq!(answer.status, 404);
}
