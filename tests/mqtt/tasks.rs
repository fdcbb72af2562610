//! Every task over MQTT: the body that HTTP takes, the body that it answers with, pieces of it where they were asked for.

use linnet::job::{Answer, Part, TaskRequest};
use linnet_proto::Segment;
use linnet_proto::generate::{Choice, Delta, Generated};
use linnet_proto::text::{Label, Nested, Results};
use linnet_proto::translate::{Translated, Translation};
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use serde_json::{Value, json};

use crate::bench::HeldJob;
use crate::fixture::{Fixture, correlation, refusal, reply_to};
use crate::harness::eventually;
use crate::scripted_broker::{Peer, ScriptedBroker};

fn ask(peer: &mut Peer, packet_id: u16, task: &str, body: &Value) {
    let topic = format!("linnet/k/request/{task}");
    peer.deliver(packet_id, &topic, body.to_string().as_bytes(), reply_to("site/a", "c"));
}

fn json_of(answer: &Publish) -> Value {
    serde_json::from_slice(&answer.payload).unwrap_or_else(|e| panic!("{:?}: {e}", answer.payload))
}

fn written(text: &str) -> Answer {
    let choices = vec![Choice { text: text.to_owned(), ..Choice::default() }];
    Answer::Generated(Generated { choices, model: "m".into(), ..Generated::default() })
}

fn write(job: &HeldJob, text: &str) {
    job.emit(Part::Delta(Delta { text: text.to_owned(), ..Delta::default() }));
}

/// The text of a piece of a chat.
fn delta(piece: &Value) -> &str {
    piece["choices"][0]["delta"]["content"].as_str().unwrap_or_default()
}

fn chat(stream: bool) -> Value {
    json!({"messages": [{"role": "user", "content": "hello"}], "stream": stream})
}

#[test]
fn a_task_takes_and_gives_what_http_does() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);

    ask(&mut peer, 1, "classify", &json!({"input": "fine", "top_k": 1, "priority": "high", "timeout_ms": 5000}));
    let job = fixture.bench.take();
    assert_eq!(job.request.priority, linnet::job::Priority::High);
    assert_eq!(job.request.timeout.as_millis(), 5000);
    assert!(matches!(&job.request.task, TaskRequest::Classify(asked) if asked.top_k == Some(1)));
    let results = Nested::One(vec![Label { label: "good".into(), score: 0.5 }]);
    job.finish(Answer::Classified(Results { results, model: "m".into(), explanation: None }));
    let answer = peer.answer_taken();
    assert_eq!(json_of(&answer), json!({"results": [{"label": "good", "score": 0.5}], "model": "m"}));
    assert_eq!(answer.properties.expect("properties").content_type.as_deref(), Some("application/json"));
    assert_eq!(peer.ack(), 1);

    ask(&mut peer, 2, "translate", &json!({"q": ["a"], "source": "en", "target": "de"}));
    let translations = vec![Translation { text: "b".into(), ..Translation::default() }];
    let translated = Translated { translations, models: vec!["m".into()], ..Translated::default() };
    fixture.bench.take().finish(Answer::Translated(translated));
    assert_eq!(json_of(&peer.answer_taken())["translatedText"], json!(["b"]));

    ask(&mut peer, 3, "generate", &json!({"prompt": "once"}));
    fixture.bench.take().finish(written("upon"));
    let body = json_of(&peer.answer_taken());
    assert_eq!((&body["object"], &body["choices"][0]["text"]), (&json!("text_completion"), &json!("upon")));
    assert!(body.get("seq").is_none(), "nothing was streamed: {body}");

    let topic = "linnet/k/request/translate-speech/9";
    peer.deliver(4, topic, b"audio", PublishProperties::default());
    let job = fixture.bench.take();
    assert!(matches!(&job.request.task, TaskRequest::Transcribe(asked) if asked.translate));
    job.answer("words");
    assert_eq!(json_of(&peer.answer_taken())["text"], "words");
}

#[test]
fn a_streamed_answer_is_a_sequence_whose_last_message_holds_all() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    ask(&mut peer, 7, "chat", &chat(true));
    let job = fixture.bench.take();
    let (mut text, mut next) = (String::new(), 0);
    for word in ["one ", "two ", "three"] {
        write(&job, word);
        while !text.ends_with(word) {
            let answer = peer.answer_before_any_ack();
            peer.acknowledge(answer.pkid);
            let piece = json_of(&answer);
            assert_eq!((&piece["seq"], &piece["final"]), (&json!(next), &json!(false)), "{piece}");
            assert_eq!((piece["object"].as_str(), correlation(&answer).as_str()), (Some("chat.completion.chunk"), "c"));
            text.push_str(delta(&piece));
            next += 1;
        }
    }
    job.finish(written("one two three"));
    let last = peer.answer_before_any_ack();
    let body = json_of(&last);
    assert_eq!((&body["seq"], &body["final"]), (&json!(next), &json!(true)));
    assert_eq!(body["choices"][0]["message"]["content"], "one two three");
    peer.acknowledge(last.pkid);
    assert_eq!(peer.ack(), 7, "the request is acknowledged with its last message");

    // A repeat gets what is kept: the last message, as it was.
    ask(&mut peer, 8, "chat", &chat(true));
    assert_eq!(peer.answer_taken().payload, last.payload);
    assert_eq!(peer.ack(), 8);
    assert_eq!(fixture.bench.admitted(), 1);
}

#[test]
fn segments_of_speech_come_as_they_are_ready() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    let mut properties = reply_to("site/a", "c");
    properties.user_properties.push(("stream".into(), "true".into()));
    peer.deliver(1, "linnet/k/request/transcribe", b"audio", properties);
    let job = fixture.bench.take();
    let segment = Segment {
        id: 0,
        start: 0.0,
        end: 1.0,
        text: "hello".into(),
        avg_logprob: -0.5,
        words: Vec::new(),
        unspaced: false,
        written: None,
    };
    job.emit(Part::Segment(segment));
    let piece = json_of(&peer.answer_taken());
    assert_eq!((&piece["seq"], &piece["segment"]["text"]), (&json!(0), &json!("hello")));
    job.answer("hello");
    let last = json_of(&peer.answer_taken());
    assert_eq!((&last["seq"], &last["final"], &last["text"]), (&json!(1), &json!(true), &json!("hello")));
}

#[test]
fn a_link_that_is_slower_than_the_model_gets_larger_pieces_and_the_same_text() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    ask(&mut peer, 1, "chat", &chat(true));
    let job = fixture.bench.take();
    let mut whole = String::new();
    // Nothing is acknowledged meanwhile.
    for number in 0..500 {
        let word = format!("{number} ");
        whole.push_str(&word);
        write(&job, &word);
    }
    let mut held = Vec::new();
    while let Some(seen) = peer.next_within(std::time::Duration::from_millis(300)) {
        if let crate::scripted_broker::Seen::Answer(piece) = seen {
            held.push(piece);
        }
    }
    assert!(held.len() <= 4, "{} pieces lie at the broker", held.len());
    let mut text: String = held.iter().map(|piece| delta(&json_of(piece)).to_owned()).collect();
    held.iter().for_each(|piece| peer.acknowledge(piece.pkid));
    let mut pieces = held.len();
    while text.len() < whole.len() {
        // Another part lets what was joined go out; it is joined, too, where the acknowledgement is still on its way.
        write(&job, "x");
        whole.push('x');
        while let Some(seen) = peer.next_within(std::time::Duration::from_millis(300)) {
            let crate::scripted_broker::Seen::Answer(piece) = seen else { continue };
            text.push_str(delta(&json_of(&piece)));
            peer.acknowledge(piece.pkid);
            pieces += 1;
        }
    }
    assert!(pieces < 100, "{pieces}");
    assert!(whole.starts_with(&text) || text == whole, "nothing is lost or doubled");
    job.finish(written(&whole));
    loop {
        let body = json_of(&peer.answer_taken());
        if body["final"] == true {
            assert_eq!(body["choices"][0]["message"]["content"], whole.as_str());
            break;
        }
    }
}

#[test]
fn a_lost_link_costs_pieces_and_never_the_answer() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    ask(&mut peer, 1, "chat", &chat(true));
    let job = fixture.bench.take();
    write(&job, "one ");
    peer.answer();
    drop(peer);
    let mut peer = broker.accept_up(true);
    let body = chat(true).to_string();
    peer.deliver_again(1, "linnet/k/request/chat", body.as_bytes(), reply_to("site/a", "c"));
    eventually("the repeat joins", || (fixture.link.counted(linnet::status::LinkCount::Repeated) == 1).then_some(()));
    write(&job, "two");
    job.finish(written("one two"));
    loop {
        let answer = peer.answer_before_any_ack();
        peer.acknowledge(answer.pkid);
        let body = json_of(&answer);
        if body["final"] == true {
            assert_eq!(body["choices"][0]["message"]["content"], "one two");
            break;
        }
    }
    assert_eq!(peer.ack(), 1);
    assert_eq!(fixture.bench.admitted(), 1);
}

#[test]
fn a_bad_body_of_any_task_is_one_error_and_an_unknown_task_names_the_known_ones() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept_up(false);
    let deep = format!("{{\"input\":{}", "[".repeat(10_000));
    for (task, payload) in [
        ("classify", "not JSON"),
        ("fill", "{\"input\": 7}"),
        ("chat", "{\"messages\": []}"),
        ("embed", "{\"input\": \"x\", \"frobnicate\": 1}"),
        ("translate", "{\"q\": \"x\"}"),
        ("tag", deep.as_str()),
    ] {
        peer.deliver(1, &format!("linnet/k/request/{task}"), payload.as_bytes(), reply_to("site/a", task));
        let answer = peer.answer_taken();
        assert_eq!(refusal(&answer).as_str(), "invalid_request", "{task}");
        assert_eq!(correlation(&answer), task);
    }
    peer.deliver(1, "linnet/k/request/dance", b"{}", reply_to("site/a", "c"));
    let message = json_of(&peer.answer_taken())["error"]["message"].as_str().expect("a sentence").to_owned();
    assert!(message.contains("transcribe") && message.contains("chat") && message.contains("translate"), "{message}");
    assert_eq!(fixture.bench.admitted(), 0);
}
