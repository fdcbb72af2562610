//! How a job ends other than by its answer.

use linnet_proto::Segment;

use super::*;
use crate::job::Part;

#[test]
fn a_deadline_that_passes_in_the_queue_is_answered_without_a_run() {
    let bench = Bench::new(settings(1, 4));
    let held = bench.running("held");
    let late = bench.ask_as("late", Priority::Normal, Duration::from_millis(20)).expect("there is a place");
    // The worker is still held: only the supervisor can have answered.
    assert_eq!(code_of(late), Some(ErrorCode::DeadlineExceeded));
    assert_eq!(bench.scheduler.load().waiting, 0, "its place is free");
    bench.gate.open();
    assert!(end_of(held).is_ok());
    assert_eq!(end_of(bench.must("next")), Ok("next".into()));
    assert_eq!(list(&bench.ran), ["held", "next"]);
    assert_eq!(list(&bench.marked), ["held", "next"], "a job that ends in the queue is never marked");
}

#[test]
fn a_deadline_that_passes_while_running_is_answered_even_between_checkpoints() {
    let bench = Bench::new(settings(1, 4));
    let hung = bench.ask_as("hung", Priority::Normal, Duration::from_millis(20)).expect("there is a place");
    assert_eq!(code_of(hung), Some(ErrorCode::DeadlineExceeded));
    assert_eq!(bench.scheduler.load().running, 1, "the worker has not noticed yet");
    bench.gate.open();
    assert_eq!(end_of(bench.must("next")), Ok("next".into()));
    assert_eq!(bench.counted_in_all(), 2, "the result that came too late is dropped");
}

#[test]
fn a_caller_who_leaves_the_queue_frees_the_place_at_once() {
    let bench = Bench::new(settings(1, 1));
    let held = bench.running("held");
    let waiting = bench.must("gone");
    assert!(bench.ask("refused").is_err());
    drop(waiting);
    let second = bench.must("second");
    bench.gate.open();
    assert!(end_of(held).is_ok());
    assert!(end_of(second).is_ok());
    assert_eq!(list(&bench.ran), ["held", "second"]);
    assert_eq!(list(&bench.marked), ["held", "second"]);
    assert_eq!(bench.counted(Err(ErrorCode::Cancelled)), 1);
}

#[test]
fn a_caller_who_leaves_stops_the_running_job_at_its_next_checkpoint() {
    let bench = Bench::new(settings(1, 1));
    drop(bench.running("held"));
    // The gate stays closed: the worker is free because the job was cancelled.
    assert_eq!(end_of(bench.must("next")), Ok("next".into()));
    assert_eq!(bench.counted(Err(ErrorCode::Cancelled)), 1);
}

#[test]
fn a_failure_is_answered_with_its_own_code() {
    let bench = Bench::new(settings(1, 1));
    assert_eq!(code_of(bench.must("fail")), Some(ErrorCode::InvalidAudio));
    assert_eq!(bench.pipeline.made(), 1);
    assert_eq!(end_of(bench.must("next")), Ok("next".into()));
    assert_eq!(bench.pipeline.made(), 1, "a failure is no panic: the executor is kept");
}

/// A segment of a fake transcription.
fn segment(id: u32) -> Segment {
    Segment { id, end: 1.0, ..Segment::default() }
}

/// A request whose segments are wanted as they come.
fn streamed(id: &str) -> Request {
    let mut request = request(id, Priority::Normal, PATIENCE);
    let TaskRequest::Transcribe(of_speech) = &mut request.task else { unreachable!("the tests ask for speech") };
    of_speech.options.stream = true;
    request
}

#[test]
fn segments_go_to_nobody_who_waits_for_the_whole_answer() {
    let pipeline = FakePipeline::new(|job, ctx| {
        ctx.emit(Part::Segment(segment(0)))?;
        Ok(transcript(&job.request.id))
    });
    let catalog = Catalog::new(vec![Entry::Ready(pipeline.served("fake"))], None);
    let handle = CatalogHandle::new(Arc::new(catalog));
    let scheduler = Scheduler::start(settings(1, 1), handle, Events::default()).expect("threads start");
    scheduler.open();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for (request, are_wanted) in [(request("whole", Priority::Normal, PATIENCE), false), (streamed("pieces"), true)] {
        let mut reply = scheduler.admit(request).expect("there is a place");
        let first = runtime.block_on(reply.next());
        assert_eq!(matches!(first, Some(Ok(Part::Segment(_)))), are_wanted, "{first:?}");
    }
}

#[test]
fn a_slow_reader_gets_every_part_and_the_answer_last() {
    let pipeline = FakePipeline::new(|job, ctx| {
        for id in 0..10 {
            ctx.emit(Part::Segment(segment(id)))?;
        }
        Ok(transcript(&job.request.id))
    });
    let catalog = Catalog::new(vec![Entry::Ready(pipeline.served("fake"))], None);
    let one_part = SchedulerSettings { parts_per_reply: 1, ..settings(1, 1) };
    let handle = CatalogHandle::new(Arc::new(catalog));
    let scheduler = Scheduler::start(one_part, handle, Events::default()).expect("threads start");
    scheduler.open();
    let mut reply = scheduler.admit(streamed("slow")).expect("there is a place");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        for wanted in 0..10 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            match reply.next().await {
                Some(Ok(Part::Segment(segment))) => assert_eq!(segment.id, wanted),
                other => panic!("{other:?} came in place of segment {wanted}"),
            }
        }
        assert!(matches!(reply.next().await, Some(Ok(Part::Done(_)))));
        assert!(reply.next().await.is_none());
    });
}

#[test]
fn a_drain_works_off_what_is_there_and_refuses_what_comes() {
    let bench = Bench::new(settings(1, 4));
    let held = bench.running("held");
    let waiting = bench.must("waiting");
    thread::scope(|scope| {
        let drained = scope.spawn(|| bench.scheduler.drain(PATIENCE));
        eventually("it drains", || bench.scheduler.load().phase == crate::scheduler::Phase::Draining);
        assert_eq!(bench.ask("refused").expect_err("it drains").code, ErrorCode::Unavailable);
        bench.gate.open();
        let drained = drained.join().expect("a drain does not panic");
        assert_eq!((drained.ended, drained.refused, drained.interrupted, drained.left_behind), (2, 0, 0, 0));
    });
    assert_eq!(end_of(held), Ok("held".into()));
    assert_eq!(end_of(waiting), Ok("waiting".into()));
    assert_eq!(bench.ask("later").expect_err("it has ended").code, ErrorCode::Unavailable);
}

#[test]
fn a_drain_answers_what_is_left_when_its_grace_is_over() {
    let bench = Bench::new(settings(1, 4));
    let held = bench.running("held");
    let waiting = [bench.must("waiting-a"), bench.must("waiting-b")];
    let drained = bench.scheduler.drain(Duration::from_millis(20));
    assert_eq!((drained.ended, drained.refused, drained.interrupted), (0, 2, 1));
    assert_eq!(drained.left_behind, 0, "a job with checkpoints stops when it is told to");
    for reply in waiting.into_iter().chain([held]) {
        assert_eq!(code_of(reply), Some(ErrorCode::Unavailable));
    }
    assert_eq!(list(&bench.marked), ["held"]);
    assert_eq!(bench.scheduler.drain(PATIENCE), Default::default(), "a second drain finds nothing");
}

#[test]
fn dropping_the_scheduler_answers_everybody() {
    let bench = Bench::new(settings(1, 4));
    let held = bench.running("held");
    let waiting = bench.must("waiting");
    drop(bench);
    assert!(matches!(code_of(held), Some(ErrorCode::Unavailable)));
    assert!(matches!(code_of(waiting), Some(ErrorCode::Unavailable)));
}
