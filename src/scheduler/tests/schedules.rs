//! Random schedules: whatever happens, each request ends once.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Ask {
        kind: usize,
        priority: usize,
        timeout_ms: u64,
    },
    /// The caller of one of the open requests leaves.
    Leave(usize),
    Pause,
    Reload,
}

const KINDS: [&str; 5] = ["quick", "held", "panic", "fail", "hung"];
const PRIORITIES: [Priority; 3] = [Priority::Low, Priority::Normal, Priority::High];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (prop::sample::select(vec![0_usize, 0, 0, 0, 1, 1, 2, 3, 4]), 0..3_usize, prop::sample::select(vec![0_u64, 1, 3, 5000]))
            .prop_map(|(kind, priority, timeout_ms)| Step::Ask { kind, priority, timeout_ms }),
        2 => (0..30_usize).prop_map(Step::Leave),
        2 => Just(Step::Pause),
        1 => Just(Step::Reload),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_request_is_lost_or_ends_twice(
        steps in prop::collection::vec(step(), 1..60),
        workers in 1..4_usize,
        queue_length in 0..6_usize,
        open_early in any::<bool>(),
    ) {
        let stuck_after = Duration::from_millis(15);
        let bench = Bench::new(SchedulerSettings { stuck_after, ..settings(workers, queue_length) });
        let mut asked = 0;
        let mut open = Vec::new();
        for (i, step) in steps.into_iter().enumerate() {
            match step {
                Step::Ask { kind, priority, timeout_ms } => {
                    asked += 1;
                    let id = format!("{}-{i}", KINDS[kind]);
                    match bench.ask_as(&id, PRIORITIES[priority], Duration::from_millis(timeout_ms)) {
                        Ok(reply) => open.push((id, reply)),
                        Err(e) => prop_assert!(
                            matches!(e.code, ErrorCode::Overloaded | ErrorCode::DeadlineExceeded | ErrorCode::Unavailable),
                            "{:?}", e
                        ),
                    }
                }
                Step::Leave(n) if !open.is_empty() => drop(open.swap_remove(n % open.len())),
                Step::Leave(_) => {}
                Step::Pause => thread::sleep(Duration::from_millis(2)),
                Step::Reload => {
                    let entry = Entry::Ready(bench.pipeline.served("fake"));
                    bench.scheduler.swap_catalog(Arc::new(Catalog::new(vec![entry], None)));
                }
            }
        }
        if open_early {
            bench.gate.open();
        }
        let drained = bench.scheduler.shared.end(Duration::from_millis(if open_early { 2000 } else { 5 }), Duration::ZERO);
        bench.gate.open();
        eventually("every abandoned thread ends", || {
            let load = bench.scheduler.load();
            load.abandoned + load.running + load.waiting + load.workers == 0
        });
        for (id, reply) in open {
            match end_of(reply) {
                Ok(text) => prop_assert_eq!(text, id),
                Err(e) => prop_assert!(!e.message.contains("without an answer"), "{}: {}", id, e),
            }
        }
        prop_assert_eq!(bench.counted_in_all(), asked, "each request is counted once; {:?}", drained);
        let sorted = |mut ids: Vec<String>| {
            ids.sort();
            ids
        };
        let (marked, ran) = (sorted(list(&bench.marked)), sorted(list(&bench.ran)));
        prop_assert_eq!(marked, ran, "what runs is marked, and nothing else");
        prop_assert_eq!(bench.pipeline.alive(), 0);
    }
}
