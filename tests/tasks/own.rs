use serde_json::json;

use super::bench::Bench;

#[test]
fn every_task_of_linnets_own_answers_in_its_documented_shape() {
    let bench = Bench::start();
    let body = bench.ask("/v1/fill-mask", &json!({"model": "every", "input": "the [MASK] sleeps"}));
    let first = json!({"token_str": "cat", "token": 3, "score": 0.75, "sequence": "the cat sleeps"});
    assert_eq!((&body["results"][0], &body["model"]), (&first, &json!("every")));
    let body = bench.ask("/v1/fill-mask", &json!({"input": ["a [MASK]", "b [MASK]"]}));
    assert_eq!(body["results"][1][0]["sequence"], "b cat");

    let body = bench.ask("/v1/classify", &json!({"model": "every", "input": "fine"}));
    assert_eq!(body["results"], json!([{"label": "good", "score": 0.75}, {"label": "bad", "score": 0.25}]));

    let body = bench.ask("/v1/tag", &json!({"input": "Zoë"}));
    let tagged = json!([{"label": "PER", "score": 0.5, "word": "Zoë", "start": 0, "end": 3}]);
    assert_eq!(body["results"], tagged);

    let body = bench.ask("/v1/answer", &json!({"question": "who", "context": "Zoë"}));
    assert_eq!(body["results"], json!([{"answer": "Zoë", "score": 0.5, "start": 0, "end": 3}]));

    let body = bench.ask("/v1/intent", &json!({"input": "light on"}));
    let intent = json!({"intent": "light", "score": 0.5, "slots": [], "out_of_scope": false, "model": "every"});
    assert_eq!(body, intent);

    let body = bench.ask("/v1/words", &json!({"positive": ["king"], "negative": ["man"]}));
    assert_eq!(body["results"], json!([{"label": "king", "score": 0.5}]));

    let body = bench.ask("/v1/summarize", &json!({"input": "long text"}));
    assert_eq!(body, json!({"summary": "long", "sections": 1, "model": "every"}));

    let tensor = json!({"shape": [2], "dtype": "float32", "data": [1.0, 2.5]});
    let body = bench.ask("/v1/raw", &json!({"inputs": {"x": tensor}}));
    assert_eq!(body["outputs"], json!({"x": tensor}));
}

#[test]
fn a_request_says_who_goes_first_and_how_long_it_waits() {
    let bench = Bench::start();
    let body = json!({"input": "x", "priority": "high", "timeout_ms": 60_000});
    assert_eq!(bench.post("/v1/classify", &body).status, 200);
    let body = json!({"input": "x"}).to_string();
    let asked = |priority| bench.send("/v1/classify", &[("linnet-priority", priority)], body.as_bytes());
    assert_eq!(asked("low").status, 200);
    let refused = asked("urgent");
    assert_eq!((refused.status, refused.error_code().as_str()), (422, "invalid_option"), "{}", refused.text());
    assert_eq!(refused.json()["error"]["param"], "Linnet-Priority");
}

#[test]
fn a_model_of_another_task_and_an_unknown_one_are_told() {
    let bench = Bench::with(&[("speaks", &["transcribe"], &["en"])], Default::default(), super::bench::play);
    let answer = bench.post("/v1/classify", &json!({"model": "speaks", "input": "x"}));
    assert_eq!((answer.status, answer.error_code().as_str()), (422, "unsupported_task"));
    let answer = bench.post("/v1/classify", &json!({"model": "speks", "input": "x"}));
    assert_eq!((answer.status, answer.error_code().as_str()), (404, "unknown_model"));
    assert!(answer.text().contains("did you mean speaks?"), "{}", answer.text());
}
