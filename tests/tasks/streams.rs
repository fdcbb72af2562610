use std::io::{Read, Write};
use std::time::{Duration, Instant};

use linnet::job::{Answer, Part};
use linnet::scheduler::SchedulerSettings;
use linnet_proto::generate::{Choice, Delta, Generated};
use linnet_proto::{ErrorCode, WireError};
use serde_json::{Value, json};

use super::bench::Bench;
use super::harness::{eventually, http};

/// The data of every event.
fn events(answer: &http::Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    answer.text().lines().filter_map(|line| line.strip_prefix("data: ").map(str::to_owned)).collect()
}

fn values(events: &[String]) -> Vec<Value> {
    events.iter().filter(|e| *e != "[DONE]").map(|e| serde_json::from_str(e).expect("JSON")).collect()
}

#[test]
fn a_streamed_chat_is_openais_chunks_with_usage_at_the_end() {
    let bench = Bench::start();
    let body = json!({
        "model": "every", "messages": [{"role": "user", "content": "hello"}], "stream": true, "n": 2,
        "stream_options": {"include_usage": true}
    });
    let events = events(&bench.post("/v1/chat/completions", &body));
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    let chunks = values(&events);
    assert!(chunks.iter().all(|c| c["object"] == "chat.completion.chunk" && c["id"] == chunks[0]["id"]));
    assert!(chunks.iter().all(|c| c["model"] == "every"), "{chunks:?}");
    for index in 0..2 {
        let of = |c: &&Value| c["choices"][0]["index"] == index;
        let text: String =
            chunks.iter().filter(of).filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, "answer to 1 messages");
        let reasons: Vec<_> =
            chunks.iter().filter(of).filter_map(|c| c["choices"][0]["finish_reason"].as_str()).collect();
        assert_eq!(reasons, ["stop"]);
    }
    let last = chunks.last().expect("chunks");
    assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(8)));
}

#[test]
fn a_streamed_completion_carries_ids_and_logprobs_of_every_token() {
    let bench = Bench::start();
    let body = json!({"prompt": ["a b", "c"], "stream": true, "return_token_ids": true, "logprobs": 0});
    let chunks = values(&events(&bench.post("/v1/completions", &body)));
    let of = |index: u64| chunks.iter().filter(move |c| c["choices"][0]["index"] == index);
    let text = |index| of(index).filter_map(|c| c["choices"][0]["text"].as_str()).collect::<String>();
    assert_eq!((text(0), text(1)), ("after a b".to_owned(), "after c".to_owned()));
    let ids: Vec<_> =
        of(0).filter_map(|c| c["choices"][0]["token_ids"].as_array()).flatten().filter_map(Value::as_u64).collect();
    assert_eq!(ids, [6, 2, 1]);
    let offsets: Vec<_> = of(0)
        .filter_map(|c| c["choices"][0]["logprobs"]["text_offset"].as_array())
        .flatten()
        .filter_map(Value::as_u64)
        .collect();
    assert_eq!(offsets, [0, 6, 8]);
    assert_eq!(of(0).next_back().expect("an end")["choices"][0]["prompt_token_ids"], json!([1, 2, 3]));
}

#[test]
fn what_fails_before_the_first_word_has_its_status_and_what_fails_later_is_an_event() {
    let bench = Bench::with(&[("m", &["generate"], &["en"])], SchedulerSettings::default(), |job, ctx| {
        let linnet::job::TaskRequest::Generate(asked) = &job.request.task else { panic!("a generation") };
        if asked.options.seed == Some(1) {
            ctx.emit(Part::Delta(Delta { text: "well".into(), ..Delta::default() }))?;
        }
        Err(WireError::new(ErrorCode::InvalidRequest, "it is too long"))
    });
    let answer = bench.post("/v1/completions", &json!({"prompt": "x", "stream": true}));
    assert_eq!((answer.status, answer.error_code().as_str()), (400, "invalid_request"));
    let answer = bench.post("/v1/completions", &json!({"prompt": "x", "stream": true, "seed": 1}));
    let text = answer.text();
    assert_eq!(answer.status, 200);
    assert!(text.contains("event: error\ndata: {\"error\""), "{text}");
    assert!(!text.contains("[DONE]"), "{text}");
}

#[test]
fn a_client_that_stops_reading_a_stream_holds_no_worker() {
    let settings = SchedulerSettings { workers: 1, ..SchedulerSettings::default() };
    let bench = Bench::with(&[("m", &["generate"], &["en"])], settings, |_, ctx| {
        let word = "word ".repeat(200);
        let mut text = String::new();
        for _ in 0..10_000 {
            text.push_str(&word);
            ctx.emit(Part::Delta(Delta { text: word.clone(), ..Delta::default() }))?;
        }
        let choices = vec![Choice { text, ..Choice::default() }];
        Ok(Answer::Generated(Generated { choices, model: "m".into(), ..Generated::default() }))
    });
    let body = json!({"prompt": "x", "stream": true}).to_string();
    let mut deaf = bench.connect();
    deaf.write_all(&http::head("POST", "/v1/completions", &[], body.len())).expect("a head");
    deaf.write_all(body.as_bytes()).expect("a body");
    let began = Instant::now();
    // The only worker is free long before the deadline of 60 s and the patience with deaf clients of 20 s.
    let answer = bench.post("/v1/completions", &json!({"prompt": "x"}));
    assert_eq!(answer.status, 200);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    // Who reads at last gets all of it.
    let all = http::read_answer(&mut deaf).expect("an answer");
    let text: String =
        values(&events(&all)).iter().filter_map(|c| c["choices"][0]["text"].as_str().map(str::to_owned)).collect();
    assert_eq!(text.len(), 10_000 * 1000);
}

#[test]
fn a_client_that_goes_away_cancels_its_generation() {
    let settings = SchedulerSettings { workers: 1, ..SchedulerSettings::default() };
    let bench = Bench::with(&[("m", &["generate"], &["en"])], settings, |_, ctx| {
        loop {
            ctx.emit(Part::Delta(Delta { text: "on ".into(), ..Delta::default() }))?;
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let body = json!({"prompt": "x", "stream": true}).to_string();
    let mut stream = bench.connect();
    stream.write_all(&http::head("POST", "/v1/completions", &[], body.len())).expect("a head");
    stream.write_all(body.as_bytes()).expect("a body");
    let mut some = [0; 200];
    stream.read_exact(&mut some).expect("the beginning");
    assert_eq!(bench.running(), 1);
    drop(stream);
    eventually("the worker is free", || (bench.running() == 0).then_some(()));
}
