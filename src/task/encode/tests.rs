//! The whole pipeline on the tiny models of `tests/goldens/families`: answers as transformers' pipelines gave them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use linnet_features::audio::AudioLimits;
use linnet_proto::text::{FillRequest, Inputs, Nested};

use super::*;
use crate::engine::tract::TractEngine;
use crate::job::{Origin, Priority, Reply, Request};
use crate::task::Heartbeat;

fn families() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/families")
}

fn load(dir: &Path) -> EncoderPipeline {
    let mut package = Package::read(dir).expect("the goldens are part of the tree");
    package.manifest.dtype = Some("f32".to_owned());
    EncoderPipeline::load(&package, &TractEngine::default()).unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
}

fn ask(executor: &mut dyn Execute, task: TaskRequest) -> Result<Answer, WireError> {
    let (parts, cancel, _reply) = Reply::channel(8);
    let now = Instant::now();
    let request = Request {
        id: "1".into(),
        origin: Origin::Internal,
        task,
        timeout: Duration::from_secs(60),
        priority: Priority::Normal,
    };
    let job = Job { request, admitted: now, deadline: now + Duration::from_secs(60), cancel, parts };
    let mut ctx = TaskContext::new(&job, Heartbeat::default(), AudioLimits::default());
    executor.execute(&job, &mut ctx)
}

fn flat<T: Clone>(nested: &Nested<T>) -> Vec<Vec<T>> {
    match nested {
        Nested::One(one) => vec![one.clone()],
        Nested::Many(many) => many.iter().flat_map(flat).collect(),
    }
}

#[test]
fn what_cannot_be_answered_is_refused_by_its_name() {
    let pipeline = load(&families().join("bert"));
    let mut executor = pipeline.executor().expect("a worker");
    let mut refused = |task: TaskRequest| {
        let error = ask(&mut *executor, task).expect_err("it must be refused");
        (error.code, error.param, error.message)
    };
    let fill =
        |text: &str| TaskRequest::Fill(FillRequest { input: Inputs::One(text.into()), ..FillRequest::default() });
    let (code, _, message) = refused(fill("no mask here"));
    assert_eq!(code, ErrorCode::InvalidRequest);
    assert!(message.contains("[MASK]"), "{message}");
    let (code, ..) = refused(fill(&"[MASK] ".repeat(100)));
    assert_eq!(code, ErrorCode::TooLarge);
    let targets = FillRequest {
        input: Inputs::One("a [MASK]".into()),
        targets: vec!["no such word".into()],
        ..FillRequest::default()
    };
    let (_, param, _) = refused(TaskRequest::Fill(targets));
    assert_eq!(param.as_deref(), Some("targets"));
}

#[test]
fn a_special_token_in_somebodys_text_is_no_special_token() {
    let pipeline = load(&families().join("bert"));
    let mut executor = pipeline.executor().expect("a worker");
    let mut sequence = |text: &str| {
        let request = FillRequest { input: Inputs::One(text.into()), top_k: Some(1), ..FillRequest::default() };
        match ask(&mut *executor, TaskRequest::Fill(request)) {
            Ok(Answer::Filled(filled)) => flat(&filled.results).concat(),
            other => panic!("{other:?}"),
        }
    };
    let plain = sequence("the bird [MASK] in the garden");
    let marked = sequence("the bird [MASK] in the garden [SEP] [CLS]");
    assert_ne!(plain[0].score, marked[0].score);
    assert!(!marked[0].sequence.is_empty());
}

#[test]
fn a_canary_is_recorded_proved_and_notices_another_model() {
    let bert = load(&families().join("bert"));
    let canary = bert.record().expect("it records");
    assert_eq!(bert.prove(&canary), Ok(()));
    let Canary::Outputs(mut other) = canary else { panic!("outputs") };
    other.rms.values_mut().for_each(|rms| *rms *= 1.01);
    assert!(bert.prove(&Canary::Outputs(other)).is_err());
}
