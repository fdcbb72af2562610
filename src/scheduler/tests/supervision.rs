//! Workers that panic and workers that hang.

use super::*;

/// Short enough for a test, long enough for a busy machine.
const STUCK_AFTER: Duration = Duration::from_millis(150);

fn watched(workers: usize) -> Bench {
    Bench::new(SchedulerSettings { stuck_after: STUCK_AFTER, ..settings(workers, 8) })
}

#[test]
fn a_panic_is_answered_and_the_worker_replaced() {
    let bench = Bench::new(settings(1, 4));
    let (panicked, next) = (bench.must("panic"), bench.must("next"));
    let error = end_of(panicked).expect_err("it panicked");
    assert_eq!(error.code, ErrorCode::Internal);
    assert!(!error.message.contains("secret"), "the panic's text may quote the caller: {error}");
    assert_eq!(end_of(next), Ok("next".into()));
    assert_eq!(bench.pipeline.made(), 2, "the executor that panicked is not used again");
    assert_eq!(bench.pipeline.alive(), 1);
    assert_eq!(bench.events.metrics().worker_restarts(), 1);
    assert_eq!(bench.scheduler.load().workers, 1);
    assert!(bench.scheduler.is_live(), "a panic is no hang");
}

#[test]
fn any_number_of_panics_leaves_the_workers_there() {
    let bench = Bench::new(settings(2, 64));
    let replies: Vec<_> = (0..20).map(|i| bench.must(&format!("panic-{i}"))).collect();
    for reply in replies {
        assert_eq!(code_of(reply), Some(ErrorCode::Internal));
    }
    assert_eq!(end_of(bench.must("next")), Ok("next".into()));
    assert_eq!((bench.scheduler.load().workers, bench.events.metrics().worker_restarts()), (2, 20));
}

#[test]
fn the_first_stuck_worker_is_replaced_and_the_second_stops_the_watchdog() {
    let bench = watched(1);
    let error = end_of(bench.must("hung-1")).expect_err("it hung");
    assert_eq!(error.code, ErrorCode::Internal);
    assert!(error.message.contains("no progress"), "{error}");
    assert!(bench.scheduler.is_live());
    assert_eq!(end_of(bench.must("next")), Ok("next".into()), "the replacement serves");
    assert_eq!(bench.scheduler.load().abandoned, 1);

    let (second, behind) = (bench.must("hung-2"), bench.must("behind"));
    assert_eq!(code_of(second), Some(ErrorCode::Internal));
    assert_eq!(code_of(behind), Some(ErrorCode::Unavailable), "nobody is left to run it");
    assert!(!bench.scheduler.is_live());
    let load = bench.scheduler.load();
    assert_eq!((load.workers, load.abandoned), (0, 2), "only one replacement starts");
    assert_eq!(bench.ask("later").expect_err("no worker").code, ErrorCode::Unavailable);
    assert_eq!(bench.events.metrics().workers_stuck(), 2);
}

#[test]
fn a_worker_beside_two_stuck_ones_goes_on() {
    let bench = watched(2);
    for id in ["hung-1", "hung-2"] {
        assert_eq!(code_of(bench.must(id)), Some(ErrorCode::Internal));
    }
    assert!(!bench.scheduler.is_live());
    assert_eq!(bench.scheduler.load().workers, 1);
    assert_eq!(end_of(bench.must("next")), Ok("next".into()));
}

#[test]
fn what_an_abandoned_worker_brings_back_is_dropped() {
    let bench = watched(1);
    assert_eq!(code_of(bench.must("hung")), Some(ErrorCode::Internal));
    bench.gate.open();
    eventually("its thread ends", || bench.scheduler.load().abandoned == 0);
    assert_eq!((bench.counted(Ok(())), bench.counted_in_all()), (0, 1));
    assert_eq!(bench.scheduler.load().workers, 1, "it does not take its seat back");
    assert_eq!(end_of(bench.must("next")), Ok("next".into()));
}

#[test]
fn slow_work_with_checkpoints_is_not_stuck() {
    let bench = watched(1);
    let held = bench.running("held");
    thread::sleep(STUCK_AFTER * 3);
    bench.gate.open();
    assert_eq!(end_of(held), Ok("held".into()));
    assert_eq!(bench.events.metrics().workers_stuck(), 0);
}

#[test]
fn a_worker_that_hangs_beyond_its_deadline_is_still_found() {
    let bench = watched(1);
    let hung = bench.ask_as("hung", Priority::Normal, STUCK_AFTER / 4).expect("there is a place");
    assert_eq!(code_of(hung), Some(ErrorCode::DeadlineExceeded));
    eventually("the worker is abandoned", || bench.scheduler.load().abandoned == 1);
    assert_eq!(end_of(bench.must("next")), Ok("next".into()));
    assert_eq!(bench.counted_in_all(), 2);
}

#[test]
fn the_supervisor_sleeps_without_a_limit_while_nothing_waits_or_runs() {
    let bench = watched(2);
    for i in 0..5 {
        assert!(end_of(bench.must(&format!("job-{i}"))).is_ok());
    }
    eventually("no wake-up is planned", || bench.scheduler.shared.lock().supervisor_wakes.is_none());
}

#[test]
fn a_supervisor_that_does_not_look_when_it_should_is_named() {
    let bench = watched(1);
    assert!(end_of(bench.must("job")).is_ok());
    eventually("it sleeps", || bench.scheduler.shared.lock().supervisor_wakes.is_none());
    assert_eq!(bench.scheduler.ailment(Duration::ZERO), None, "asleep while nothing is due is well");
    // It was called for a time that has passed, and does not come.
    let bound = Duration::from_millis(50);
    bench.scheduler.shared.lock().supervisor_wakes = Some(Instant::now());
    eventually("it is missed", || {
        bench
            .scheduler
            .ailment(bound)
            .is_some_and(|(what, late)| what.contains("supervisor") && late.is_some_and(|late| late >= bound))
    });
    // Once it looks, all is well.
    bench.scheduler.shared.wake_supervisor();
    eventually("it has looked", || bench.scheduler.ailment(bound).is_none());
}

#[test]
fn a_state_that_stays_locked_is_named_and_blocks_nobody_for_ever() {
    let bench = Bench::new(settings(1, 1));
    let locked = bench.scheduler.shared.lock();
    let (ailment, _) = bench.scheduler.ailment(PATIENCE).expect("it is locked");
    assert!(ailment.contains("locked"), "{ailment}");
    drop(locked);
    assert_eq!(bench.scheduler.ailment(PATIENCE), None);
}
