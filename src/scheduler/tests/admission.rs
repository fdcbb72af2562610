//! A permit or an immediate refusal.

use super::*;

#[test]
fn nothing_is_taken_before_the_daemon_is_ready() {
    let handle = CatalogHandle::default();
    let scheduler = Scheduler::start(settings(1, 1), handle, Events::default()).expect("threads start");
    let error = scheduler.admit(request("early", Priority::Normal, PATIENCE)).expect_err("it is not open");
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.retry_after_ms.is_some());
    assert_eq!(scheduler.foresee().expect_err("it is not open").code, ErrorCode::Unavailable);
    scheduler.open();
    assert!(scheduler.foresee().is_ok());
}

#[test]
fn a_full_queue_refuses_at_once_and_says_when_to_come_again() {
    let bench = Bench::new(settings(2, 3));
    let admitted: Vec<_> = (0..5).map(|i| bench.must(&format!("held-{i}"))).collect();
    let error = bench.ask("one-more").expect_err("two run and three wait");
    assert_eq!(error.code, ErrorCode::Overloaded);
    assert!(error.retry_after_ms.is_some_and(|ms| ms > 0));
    assert_eq!(bench.scheduler.foresee().expect_err("nobody would admit it").code, ErrorCode::Overloaded);
    bench.gate.open();
    for (i, reply) in admitted.into_iter().enumerate() {
        assert_eq!(end_of(reply), Ok(format!("held-{i}")));
    }
    assert_eq!((bench.counted(Ok(())), bench.counted(Err(ErrorCode::Overloaded))), (5, 1));
}

#[test]
fn a_place_that_one_upload_counts_on_is_not_promised_to_another() {
    let bench = Bench::new(settings(1, 2));
    let running = bench.running("held-0");
    let one = bench.scheduler.foresee().expect("two places");
    let other = bench.scheduler.foresee().expect("one place");
    let error = bench.scheduler.foresee().expect_err("both are counted on");
    assert_eq!(error.code, ErrorCode::Overloaded);
    assert!(error.retry_after_ms.is_some_and(|ms| ms > 0), "{error}");
    // Who has its request whole waits for nobody who is still sending.
    let whole = bench.must("whole");
    drop(one);
    assert!(bench.scheduler.foresee().is_err(), "one waits, and one is counted on");
    drop(other);
    assert!(bench.scheduler.foresee().is_ok());
    bench.gate.open();
    assert_eq!((end_of(running), end_of(whole)), (Ok("held-0".into()), Ok("whole".into())));
}

#[test]
fn with_no_queue_an_idle_worker_is_still_a_place() {
    let bench = Bench::new(settings(1, 0));
    let first = bench.must("held");
    assert_eq!(bench.ask("second").expect_err("the worker is busy").code, ErrorCode::Overloaded);
    bench.gate.open();
    assert_eq!(end_of(first), Ok("held".into()));
    eventually("the worker is free again", || bench.scheduler.foresee().is_ok());
    assert_eq!(end_of(bench.must("third")), Ok("third".into()));
}

#[test]
fn the_most_urgent_goes_first_then_the_oldest() {
    let bench = Bench::new(settings(1, 8));
    let first = bench.running("held");
    let ask = |id: &str, priority| bench.ask_as(id, priority, PATIENCE).expect("there is a place");
    let replies = [
        ask("low-a", Priority::Low),
        ask("normal-a", Priority::Normal),
        ask("high-a", Priority::High),
        ask("normal-b", Priority::Normal),
        ask("high-b", Priority::High),
    ];
    bench.gate.open();
    assert_eq!(end_of(first), Ok("held".into()));
    for reply in replies {
        assert!(end_of(reply).is_ok());
    }
    assert_eq!(list(&bench.ran), ["held", "high-a", "high-b", "normal-a", "normal-b", "low-a"]);
    assert_eq!(list(&bench.marked), list(&bench.ran), "each is marked right before it runs");
}

#[test]
fn a_request_in_the_past_is_refused() {
    let bench = Bench::new(settings(1, 1));
    let error = bench.ask_as("late", Priority::Normal, Duration::ZERO).expect_err("its time is over");
    assert_eq!(error.code, ErrorCode::DeadlineExceeded);
    assert!(list(&bench.ran).is_empty() && list(&bench.marked).is_empty());
}

#[test]
fn an_endless_timeout_does_not_overflow_the_clock() {
    let bench = Bench::new(settings(1, 1));
    let reply = bench.ask_as("patient", Priority::Normal, Duration::MAX).expect("there is a place");
    assert_eq!(end_of(reply), Ok("patient".into()));
}

#[test]
fn an_unknown_model_is_refused_before_it_takes_a_place() {
    let bench = Bench::new(settings(1, 1));
    let mut request = request("lost", Priority::Normal, PATIENCE);
    let TaskRequest::Transcribe(task) = &mut request.task else { unreachable!("the tests ask for speech") };
    task.options.model = Some("fakee".into());
    let error = bench.scheduler.admit(request).expect_err("there is no such model");
    assert_eq!((error.code, error.param.as_deref()), (ErrorCode::UnknownModel, Some("model")));
    assert!(error.message.contains("did you mean fake?"), "{error}");
    assert_eq!(bench.scheduler.load().waiting, 0);
}
