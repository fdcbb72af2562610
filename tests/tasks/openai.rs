use serde_json::{Value, json};

use super::bench::Bench;

const COMPLETIONS: &str = "/v1/completions";

#[test]
fn a_completion_has_openais_shape() {
    let bench = Bench::start();
    let answer = bench.post(COMPLETIONS, &json!({"model": "every", "prompt": "once", "user": "me", "store": false}));
    assert_eq!(answer.header("linnet-without-effect"), Some("user, store"));
    let body = answer.json();
    assert_eq!(body["object"], "text_completion");
    assert!(body["id"].as_str().expect("an id").starts_with("cmpl-"));
    assert!(body["created"].as_u64().expect("a time") > 1_700_000_000);
    let choice = json!({"index": 0, "text": "after once", "logprobs": null, "finish_reason": "stop"});
    assert_eq!(body["choices"], json!([choice]));
    assert_eq!(body["usage"]["total_tokens"], 5);
}

#[test]
fn prompts_of_ids_come_back_as_they_were_with_the_ids_of_the_answer_in_each_choice() {
    let bench = Bench::start();
    let body = bench.ask(COMPLETIONS, &json!({"prompt": [7, 8], "return_token_ids": true, "n": 2}));
    for index in 0..2 {
        let choice = &body["choices"][index];
        assert_eq!(choice["prompt_token_ids"], json!([7, 8]));
        assert_eq!(choice["token_ids"], json!([6, 2, 3]));
    }
    let body = bench.ask(COMPLETIONS, &json!({"prompt": ["a", "b", "c"], "n": 2}));
    let texts = |body: &Value| {
        let choices = body["choices"].as_array().expect("choices").clone();
        choices.iter().map(|c| (c["index"].as_u64().expect("a number"), c["text"].clone())).collect::<Vec<_>>()
    };
    let wanted = ["a", "a", "b", "b", "c", "c"].iter().zip(0..).map(|(p, i)| (i, json!(format!("after {p}"))));
    assert_eq!(texts(&body), wanted.collect::<Vec<_>>());
}

#[test]
fn logprobs_have_the_shape_of_completions_and_of_chats() {
    let bench = Bench::start();
    let body = bench.ask(COMPLETIONS, &json!({"prompt": "x", "logprobs": 0}));
    let logprobs = &body["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["after ", "x"]));
    assert_eq!(logprobs["text_offset"], json!([0, 6]));
    assert_eq!(logprobs["token_logprobs"], json!([-0.25, -0.25]));
    let hello = json!([{"role": "user", "content": "hello"}]);
    let body = bench.ask("/v1/chat/completions", &json!({"messages": hello, "logprobs": true}));
    let first = &body["choices"][0]["logprobs"]["content"][0];
    assert_eq!((&first["token"], &first["logprob"]), (&json!("answer "), &json!(-0.25)));
}

#[test]
fn a_chat_and_an_infilling_reach_the_model_as_such() {
    let bench = Bench::start();
    let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]);
    let body = bench.ask("/v1/chat/completions", &json!({"model": "every", "messages": messages}));
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["choices"][0]["message"]["content"], "answer to 2 messages");
    let body = bench.ask(COMPLETIONS, &json!({"prompt": "a", "suffix": "b"}));
    assert_eq!(body["choices"][0]["text"], "between a and b");
}

#[test]
fn embeddings_come_as_numbers_or_base64() {
    let bench = Bench::start();
    let body = bench.ask("/v1/embeddings", &json!({"model": "every", "input": ["a", "b"]}));
    assert_eq!(body["data"][1], json!({"object": "embedding", "index": 1, "embedding": [1.0, -2.0]}));
    assert_eq!(body["usage"], json!({"prompt_tokens": 4, "total_tokens": 4}));
    let body = bench.ask("/v1/embeddings", &json!({"input": [1, 2], "encoding_format": "base64"}));
    assert_eq!(body["data"][0]["embedding"], "AACAPwAAAMA=");
}
