//! Executors and the swap of the catalog.

use super::super::bounds::MAX_EXECUTORS;
use super::*;

fn asking_for(model: &str) -> Request {
    let mut request = request(model, Priority::Normal, PATIENCE);
    let TaskRequest::Transcribe(task) = &mut request.task else { unreachable!("the tests ask for speech") };
    task.options.model = Some(model.to_owned());
    request
}

#[test]
fn idle_workers_let_go_of_models_that_a_reload_took_away() {
    let bench = Bench::new(settings(2, 8));
    assert!(end_of(bench.must("first")).is_ok());
    assert_eq!(bench.pipeline.alive(), 1);
    let other = FakePipeline::new(|_, _| Ok(transcript("the other")));
    let before = bench.scheduler.swap_catalog(Arc::new(Catalog::new(vec![Entry::Ready(other.served("other"))], None)));
    eventually("no executor of the old model is left", || bench.pipeline.alive() == 0);
    assert_eq!(end_of(bench.must("second")), Ok("the other".into()));
    bench.scheduler.swap_catalog(before);
    assert_eq!(end_of(bench.must("third")), Ok("third".into()), "a reload can be reversed");
}

#[test]
fn a_job_runs_on_the_model_that_it_was_admitted_for() {
    let bench = Bench::new(settings(1, 8));
    let held = bench.running("held");
    let waiting = bench.must("waiting");
    bench.scheduler.swap_catalog(Arc::default());
    assert_eq!(bench.ask("later").expect_err("no model is left").code, ErrorCode::UnsupportedTask);
    bench.gate.open();
    assert_eq!(end_of(held), Ok("held".into()));
    assert_eq!(end_of(waiting), Ok("waiting".into()));
}

#[test]
fn a_worker_keeps_a_bounded_number_of_executors() {
    let pipeline = FakePipeline::new(|job, _| Ok(transcript(&job.request.id)));
    let models = MAX_EXECUTORS + 3;
    let entries = (0..models).map(|i| Entry::Ready(pipeline.served(&format!("model-{i}")))).collect();
    let handle = CatalogHandle::new(Arc::new(Catalog::new(entries, None)));
    let scheduler = Scheduler::start(settings(1, 1), handle, Events::default()).expect("threads start");
    scheduler.open();
    for i in (0..models).chain([0, models - 1]) {
        let name = format!("model-{i}");
        assert_eq!(end_of(scheduler.admit(asking_for(&name)).expect("there is a place")), Ok(name));
        assert!(pipeline.alive() <= MAX_EXECUTORS, "{} executors", pipeline.alive());
    }
    assert_eq!(pipeline.made(), models + 1, "the last one was still there, the first had to be made again");
}
