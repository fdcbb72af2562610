use std::sync::{Arc, Mutex};
use std::time::Duration;

use linnet_proto::generate::{Choice, GenerateInput, Generated};
use linnet_proto::openai::Head;
use linnet_proto::text::{FillCandidate, Nested, Results};
use linnet_proto::{ErrorCode, WireError};
use serde_json::{Value, json};

use super::*;
use crate::job::{Admit, Answer, Origin, Part, Priority, Reply, Request};

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

fn read(kind: Kind, body: Value) -> Result<Asked, WireError> {
    Asked::read(kind, map(body), Terms { max_timeout: Duration::from_secs(60), priority: Priority::Normal })
}

/// Answers each prompt by its own text; full as often as `refusals` says.
#[derive(Default)]
struct Echo {
    admitted: Mutex<Vec<String>>,
    refusals: Mutex<usize>,
}

impl Admit for Echo {
    fn admit(&self, request: Request) -> Result<Reply, WireError> {
        let mut admitted = self.admitted.lock().expect("no panic");
        let mut refusals = self.refusals.lock().expect("no panic");
        if !admitted.is_empty() && *refusals > 0 {
            *refusals -= 1;
            return Err(WireError::new(ErrorCode::Overloaded, "full").with_retry_after_ms(1));
        }
        admitted.push(request.id);
        let TaskRequest::Generate(asked) = request.task else { panic!("a generation") };
        let GenerateInput::Text(text) = asked.input else { panic!("a text") };
        let (parts, _, reply) = Reply::channel(2);
        let choice = Choice { text, ..Choice::default() };
        let answer = Generated { choices: vec![choice], model: "echo".into(), ..Generated::default() };
        parts.try_send(Ok(Part::Done(Answer::Generated(answer)))).expect("a place");
        Ok(reply.by("echo"))
    }
}

async fn answers(admit: Arc<Echo>, timeout: Duration) -> Result<Vec<Answer>, WireError> {
    let asked = read(Kind::Completion, json!({"prompt": ["a", "b", "c"]})).expect("a request");
    let mut jobs = asked.jobs.into_iter();
    let first = Request {
        id: "r".into(),
        origin: Origin::Http,
        task: jobs.next().expect("a job"),
        timeout,
        priority: Priority::Normal,
    };
    let mut turns = Turns::begin(admit, first, jobs, Duration::ZERO, None)?;
    let mut answers = Vec::new();
    loop {
        match turns.next().await? {
            Step::Part(_) => {}
            Step::Answer(answer) => answers.push(answer),
            Step::End => return Ok(answers),
        }
    }
}

#[tokio::test]
async fn prompts_are_answered_in_turn_and_wait_for_a_place_once_begun() {
    let admit = Arc::new(Echo { refusals: Mutex::new(3), ..Echo::default() });
    let answers = answers(Arc::clone(&admit), Duration::from_secs(20)).await.expect("answers");
    let shape = read(Kind::Completion, json!({"prompt": "x"})).expect("a request").shape;
    let body: Value = serde_json::from_str(&shape.whole(&Head::default(), answers).expect("JSON")).expect("JSON");
    let texts: Vec<_> = body["choices"].as_array().expect("choices").iter().map(|c| c["text"].clone()).collect();
    assert_eq!(texts, ["a", "b", "c"]);
    assert_eq!(*admit.admitted.lock().expect("no panic"), ["r", "r.1", "r.2"]);
}

#[tokio::test]
async fn a_request_that_gets_no_place_for_its_second_prompt_ends_with_its_deadline() {
    let admit = Arc::new(Echo { refusals: Mutex::new(usize::MAX), ..Echo::default() });
    let error = answers(admit, Duration::from_millis(50)).await.expect_err("late");
    assert_eq!(error.code, ErrorCode::DeadlineExceeded);
}

#[test]
fn deadline_and_priority_stand_beside_every_task() {
    for kind in Kind::ALL {
        let e = read(kind, json!({"timeout_ms": 60_001})).expect_err("too long");
        assert_eq!(e.param.as_deref(), Some("timeout_ms"), "{kind:?}");
        let e = read(kind, json!({"priority": "urgent"})).expect_err("no such priority");
        assert_eq!(e.param.as_deref(), Some("priority"), "{kind:?}");
        let e = read(
            kind,
            json!({"frobnicate": 1, "prompt": "x", "input": "x", "messages": [{"role": "u", "content": "x"}]}),
        );
        assert!(e.is_err(), "{kind:?}");
        assert_eq!(Kind::of_task(kind.task()), Some(kind));
    }
    let body = json!({"input": "a [MASK]", "timeout_ms": 5, "priority": "high"});
    let asked = read(Kind::Fill, body).expect("a request");
    let wanted = TermsTaken { timeout: Some(Duration::from_millis(5)), priority: Priority::High };
    assert_eq!(asked.terms, wanted);
}

#[test]
fn a_filled_mask_is_a_list_and_several_are_a_list_of_lists() {
    let candidate = FillCandidate { token_str: "a".into(), token: 1, score: 0.5, sequence: "a b".into() };
    let body = |results| {
        let answer = Answer::Filled(Results { results, model: "m".into(), explanation: None });
        let body = Shape::Own.whole(&Head::default(), vec![answer]).expect("JSON");
        serde_json::from_str::<Value>(&body).expect("JSON")["results"].clone()
    };
    let one = json!({"token_str": "a", "token": 1, "score": 0.5, "sequence": "a b"});
    assert_eq!(body(Nested::One(vec![candidate.clone()])), json!([one]));
    let each = vec![Nested::One(vec![candidate.clone()]), Nested::One(vec![candidate])];
    assert_eq!(body(Nested::Many(each)), json!([[one], [one]]));
}
