//! A pause for an update: what runs ends, what comes waits, nothing is lost.

use super::*;

#[test]
fn what_comes_during_a_hold_waits_and_runs_afterwards() {
    let bench = Bench::new(settings(2, 8));
    let hold = bench.scheduler.hold(PATIENCE).expect("nothing runs");
    let waiting: Vec<_> = (0..4).map(|n| bench.must(&format!("waits {n}"))).collect();
    assert_eq!((bench.scheduler.load().waiting, bench.scheduler.load().running), (4, 0));
    assert!(list(&bench.ran).is_empty());
    drop(hold);
    for (n, reply) in waiting.into_iter().enumerate() {
        assert_eq!(end_of(reply), Ok(format!("waits {n}")));
    }
}

#[test]
fn a_hold_waits_for_what_runs_and_is_given_up_when_that_takes_too_long() {
    let bench = Bench::new(settings(1, 8));
    let held = bench.running("held");
    assert_eq!(bench.scheduler.hold(Duration::from_millis(20)).expect_err("it runs still"), 1);
    let behind = bench.must("behind");
    bench.gate.open();
    assert_eq!(end_of(held), Ok("held".into()));
    assert_eq!(end_of(behind), Ok("behind".into()), "nothing is held after that");
}

#[test]
fn whoever_has_no_more_time_is_told_of_the_update_and_when_to_come_again() {
    let bench = Bench::new(settings(1, 1));
    let _hold = bench.scheduler.hold(PATIENCE).expect("nothing runs");
    let late = bench.ask_as("late", Priority::Normal, Duration::from_millis(5)).expect("there is a place");
    let error = end_of(late).expect_err("its time is over");
    assert_eq!((error.code, error.retry_after_ms.is_some()), (ErrorCode::Updating, true));
    let _waiting = bench.must("waiting");
    assert_eq!(bench.ask("one more").expect_err("the queue is full").code, ErrorCode::Updating);
}

#[test]
fn what_waited_runs_on_the_new_model_of_the_same_name() {
    let bench = Bench::new(settings(1, 8));
    let hold = bench.scheduler.hold(PATIENCE).expect("nothing runs");
    let waiting = bench.must("waiting");
    let newer = FakePipeline::new(|_, _| Ok(transcript("the newer")));
    let catalog = Arc::new(Catalog::new(vec![Entry::Ready(newer.served("fake"))], None));
    hold.move_waiting_to(&catalog);
    bench.scheduler.swap_catalog(catalog);
    drop(hold);
    assert_eq!(end_of(waiting), Ok("the newer".into()));
}

#[test]
fn a_drain_works_off_what_a_hold_keeps_back() {
    let bench = Bench::new(settings(1, 8));
    let hold = bench.scheduler.hold(PATIENCE).expect("nothing runs");
    let waiting = bench.must("waiting");
    let drained = bench.scheduler.drain(PATIENCE);
    assert_eq!((drained.ended, drained.refused), (1, 0));
    assert_eq!(end_of(waiting), Ok("waiting".into()));
    drop(hold);
}
