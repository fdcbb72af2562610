//! The table, every state with every outcome, every start.

use std::collections::BTreeSet;
use std::time::Duration;

use linnet_proto::fleet::PushState;
use linnet_proto::fleet::PushState::{Activated, Confirmed, Probed, Received, Rejected, RolledBack, Staged, Verified};
use proptest::prelude::*;

use crate::push::bounds::{MAX_CODE_BYTES, MAX_OPENINGS, MAX_REASON_BYTES};
use crate::push::machine::{Decision, Now, Plan, Serve, decide, start};
use crate::push::report::{ReportFacts, report};
use crate::push::table::{Action, Limit, Row, TABLE, Then};
use crate::push::{Fault, Outcome, Persisted, Wanted};

const NOW: Now = Now { since_epoch_secs: 1000, in_state_secs: 7 };

fn wanted(generation: u64, attempt: u32) -> Wanted {
    Wanted { generation, attempt, sha256: format!("{generation:064x}") }
}

/// An update to generation 2 in this state.
fn at(state: PushState, boots: u32) -> Persisted {
    let mut update = Persisted::begin(&wanted(2, 1), 5);
    update.state = state;
    update.boots = boots;
    if state.is_failure() {
        (update.code, update.reason) = (Some("canary".into()), Some("the canary of `a` failed".into()));
    }
    update
}

fn outcomes() -> [Outcome; 4] {
    [Outcome::Done, Outcome::ByRestart, Outcome::Failed(Fault::new("canary", "it failed")), Outcome::TimedOut]
}

#[test]
fn every_state_has_its_row_and_every_action_its_state() {
    for (row, state) in TABLE.iter().zip(PushState::ALL) {
        assert_eq!(row.state, state);
        assert_eq!(Row::of(state), row);
        assert_eq!(at(state, 0).next(), row.action);
    }
    let actions: BTreeSet<Action> = TABLE.iter().map(|row| row.action).collect();
    assert_eq!(actions.len(), TABLE.len());
}

#[test]
fn what_may_hang_has_a_limit_and_an_end_is_never_left() {
    for row in TABLE {
        let limit = row.limit.duration(Duration::from_secs(600));
        let is_watched = matches!(row.action, Action::Watch | Action::Confirm | Action::Discard);
        assert_eq!(limit.is_none(), is_watched, "{:?}", row.action);
        for then in [row.on_success, row.on_failure, row.on_timeout] {
            assert_eq!(matches!(then, Then::To(_)), !row.state.is_end(), "{row:?}");
        }
    }
    assert_eq!(Limit::Probe.duration(Duration::from_secs(600)), Some(Duration::from_secs(660)));
}

/// Every state with every outcome, written out: what the table means, and not how it is computed.
#[test]
fn each_state_goes_where_it_must_after_each_outcome() {
    let expected = [
        // done, by a restart, failed, timed out
        (Received, [Verified, Verified, Rejected, Rejected]),
        (Verified, [Staged, Staged, Rejected, Rejected]),
        (Staged, [Probed, Probed, Rejected, Rejected]),
        (Probed, [Activated, Activated, RolledBack, RolledBack]),
        (Activated, [Confirmed, Confirmed, RolledBack, RolledBack]),
        (Confirmed, [Confirmed; 4]),
        (Rejected, [Rejected; 4]),
        (RolledBack, [RolledBack; 4]),
    ];
    assert_eq!(expected.map(|row| row.0), PushState::ALL);
    for (state, ends) in expected {
        for (outcome, end) in outcomes().into_iter().zip(ends) {
            let before = at(state, 2);
            let after = before.on(&outcome, NOW);
            assert_eq!(after.state, end, "{state:?} after {outcome:?}");
            assert_eq!((after.generation, after.attempt, &after.sha256), (2, 1, &before.sha256));
            if state.is_end() {
                assert_eq!(after, before, "an end stays what it is");
                continue;
            }
            assert_eq!((after.since_secs, after.took.last()), (1000, Some(&(state, 7))));
            let code = after.code.as_deref();
            match outcome {
                Outcome::Done | Outcome::ByRestart => assert_eq!((code, &after.reason), (None, &None)),
                Outcome::Failed(_) => assert_eq!(code, Some("canary")),
                Outcome::TimedOut => {
                    assert_eq!(code, Some(&*format!("{}_timeout", before.next().as_str())));
                    assert!(after.reason.expect("a reason").contains("7 seconds"));
                }
            }
        }
    }
}

#[test]
fn an_opening_is_counted_before_it_happens() {
    let probed = at(Staged, 0).on(&Outcome::Done, NOW);
    assert_eq!((probed.state, probed.boots), (Probed, 1), "within the process the activation is the first opening");
    assert_eq!(probed.on(&Outcome::Done, NOW).boots, 1);
    let restarting = probed.on(&Outcome::ByRestart, NOW);
    assert_eq!((restarting.state, restarting.boots), (Activated, 0), "the start that opens it counts itself");
    let Plan { serve, update } = start(Some(&restarting), 2, 1, 0);
    assert_eq!((serve, update.expect("the update").boots), (Serve::Live, 1));
}

#[test]
fn a_generation_that_takes_the_daemon_down_is_opened_three_times_and_no_more() {
    for first in [at(Staged, 0).on(&Outcome::Done, NOW), at(Probed, 1).on(&Outcome::ByRestart, NOW)] {
        let mut update = first;
        let mut openings = update.boots;
        loop {
            let Plan { serve, update: next } = start(Some(&update), 2, 1, 50);
            update = next.expect("the update");
            if serve == Serve::Good {
                break;
            }
            openings += 1;
            assert_eq!(update.boots, openings);
        }
        assert_eq!((openings, update.state, update.code.as_deref()), (MAX_OPENINGS, RolledBack, Some("starts")));
        assert!(update.reason.expect("a reason").contains("3 times"));
    }
}

#[test]
fn a_start_opens_what_state_and_pointers_say_together() {
    use Serve::{Good, Live};
    // State and boots; live and good; what serves; the state then.
    let cases = [
        (Received, 0, (1, 1), Live, Received),
        (Verified, 0, (1, 1), Live, Verified),
        (Staged, 0, (1, 1), Live, Staged),
        (Probed, 1, (1, 1), Live, Probed),
        (Probed, 1, (2, 1), Live, Probed),
        (Probed, 3, (2, 1), Good, RolledBack),
        (Activated, 1, (2, 1), Live, Activated),
        (Activated, 3, (2, 1), Good, RolledBack),
        (Confirmed, 1, (2, 1), Live, Confirmed),
        (Confirmed, 1, (2, 2), Live, Confirmed),
        (Rejected, 0, (1, 1), Good, Rejected),
        (RolledBack, 1, (2, 1), Good, RolledBack),
        (RolledBack, 1, (1, 1), Good, RolledBack),
        // What only damage brings about.
        (Received, 0, (2, 1), Good, RolledBack),
        (Staged, 0, (2, 1), Good, RolledBack),
        (Activated, 1, (1, 1), Good, RolledBack),
        (Activated, 1, (2, 2), Live, Confirmed),
        (Activated, 1, (3, 1), Good, RolledBack),
        (Confirmed, 1, (3, 1), Good, Confirmed),
    ];
    for (state, boots, (live, good), serve, then) in cases {
        let plan = start(Some(&at(state, boots)), live, good, 50);
        let update = plan.update.expect("the update");
        assert_eq!((plan.serve, update.state), (serve, then), "{state:?} with {live} live and {good} good");
    }
    assert_eq!(start(None, 1, 1, 0), Plan { serve: Live, update: None });
    assert_eq!(start(None, 2, 1, 0), Plan { serve: Good, update: None }, "a trial that nobody knows of");
}

#[test]
fn an_offer_begins_waits_or_is_known_by_where_the_last_update_stands() {
    use Decision::{Begin, Known, Later, NotNewer, Refused};
    for (state, live, is_settled, offered, expected) in [
        // The same again.
        (Received, 1, false, wanted(2, 1), Known),
        (Staged, 1, false, wanted(2, 1), Known),
        (Activated, 2, false, wanted(2, 1), Known),
        (Confirmed, 2, true, wanted(2, 1), Known),
        (Rejected, 1, true, wanted(2, 1), Refused),
        (RolledBack, 1, true, wanted(2, 1), Refused),
        // The same, which damage has taken since.
        (Confirmed, 0, true, wanted(2, 1), Begin),
        (Confirmed, 3, true, wanted(2, 1), Known),
        // Another attempt at it.
        (Staged, 1, false, wanted(2, 2), Begin),
        (Activated, 2, false, wanted(2, 2), Known),
        (Confirmed, 2, true, wanted(2, 2), Known),
        (Confirmed, 0, true, wanted(2, 2), Begin),
        (Rejected, 1, true, wanted(2, 2), Begin),
        (RolledBack, 1, true, wanted(2, 2), Begin),
        (RolledBack, 1, false, wanted(2, 2), Later),
        // A newer one.
        (Received, 1, false, wanted(3, 1), Begin),
        (Verified, 1, false, wanted(3, 1), Begin),
        (Staged, 1, false, wanted(3, 1), Begin),
        (Probed, 1, false, wanted(3, 1), Later),
        (Activated, 2, false, wanted(3, 1), Later),
        (Confirmed, 2, false, wanted(3, 1), Later),
        (Confirmed, 2, true, wanted(3, 1), Begin),
        (RolledBack, 2, false, wanted(3, 1), Later),
        (RolledBack, 1, true, wanted(3, 1), Begin),
        // An older one.
        (Staged, 0, false, wanted(1, 1), NotNewer),
        (Confirmed, 2, true, wanted(1, 1), NotNewer),
    ] {
        let decision = decide(Some(&at(state, 1)), &offered, live, false, is_settled);
        assert_eq!(decision, expected, "{offered:?} at {state:?} with {live} live");
        assert_eq!(decide(Some(&at(state, 1)), &offered, live, true, is_settled), Refused);
    }
    assert_eq!(decide(None, &wanted(1, 1), 0, false, false), Begin);
    assert_eq!(decide(None, &wanted(1, 1), 1, false, false), NotNewer);
}

#[test]
fn a_report_says_what_is_persisted_and_what_is_waited_for() {
    use linnet_proto::fleet::Running;
    let facts = ReportFacts {
        device: "kitchen".into(),
        fleet: "home".into(),
        running: Running { generation: 1, confirmed: true },
        clock_trusted: true,
        linnetd: "0.1.0".into(),
        groups: ["beta".to_owned()].into(),
        labels: std::collections::BTreeMap::new(),
        free_mib: 7,
        local_packages: vec!["own".into()],
        metadata: [1, 2, 3],
        instance: "i".into(),
    };
    let idle = report(None, None, &facts);
    assert_eq!((idle.generation, idle.state, idle.code), (1, Confirmed, None));
    let fetching = at(Received, 0).on(&Outcome::Done, NOW);
    let waiting = Fault::new("link", "the broker is away");
    let waits = report(Some(&fetching), Some(&waiting), &facts);
    assert_eq!((waits.generation, waits.state, waits.running.generation), (2, Verified, 1));
    assert_eq!((waits.code.as_deref(), waits.reason.as_deref()), (Some("link"), Some("the broker is away")));
    assert_eq!((waits.since_secs, waits.took), (1000, vec![(Received, 7)]));
    let rejected = report(Some(&at(Rejected, 0)), Some(&waiting), &facts);
    assert_eq!(rejected.code.as_deref(), Some("canary"), "why it failed is said before what is waited for");
    assert_eq!((rejected.device, rejected.local_packages), ("kitchen".into(), vec!["own".to_owned()]));
}

#[test]
fn a_reason_is_cut_at_its_bound_and_can_be_read_again() {
    let long = Outcome::Failed(Fault::new("ü".repeat(100), "ü".repeat(4000)));
    let update = at(Staged, 0).on(&long, NOW);
    assert!(update.reason.as_ref().expect("a reason").len() <= MAX_REASON_BYTES);
    assert!(update.code.as_ref().expect("a code").len() <= MAX_CODE_BYTES);
    assert_eq!(Persisted::parse(&update.to_bytes()), Ok(update));
}

#[test]
fn what_nobody_wrote_is_refused_in_words() {
    let whole = String::from_utf8(at(Staged, 0).to_bytes()).expect("JSON");
    for (from, to, said) in [
        ("\"form\":1", "\"form\":2", "form 2"),
        ("\"generation\":2", "\"generation\":0", "no generation"),
        ("\"staged\"", "\"sideways\"", "sideways"),
        (&"0".repeat(63), "zz", "no generation"),
        ("{", "[", "cannot be read"),
    ] {
        assert!(whole.contains(from), "{from}");
        let e = Persisted::parse(whole.replacen(from, to, 1).as_bytes()).expect_err(said);
        assert!(e.contains(said), "{e}");
    }
    assert!(Persisted::parse(b"").is_err());
}

fn any_state() -> impl Strategy<Value = PushState> {
    (0..PushState::ALL.len()).prop_map(|n| PushState::ALL[n])
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    (0..4usize).prop_map(|n| outcomes()[n].clone())
}

proptest! {
    #[test]
    fn from_any_persisted_state_any_start_and_any_outcomes_lead_to_an_end(
        state in any_state(), boots in 0..6u32, live in 0..4u64, good in 0..4u64,
        outcomes in prop::collection::vec(any_outcome(), 5),
        starts in prop::collection::vec(any::<bool>(), 5),
    ) {
        let mut update = at(state, boots);
        for (outcome, starts_anew) in outcomes.iter().zip(starts) {
            if starts_anew {
                let plan = start(Some(&update), live, good, 9);
                let next = plan.update.expect("an update is never forgotten");
                prop_assert!(next.state == update.state || next.state.is_end());
                // What is opened is on trial by its own count, or it is good.
                let on_trial = live != good && plan.serve == Serve::Live;
                prop_assert!(!on_trial || next.state == Confirmed || (1..=MAX_OPENINGS).contains(&next.boots));
                update = next;
            }
            let next = update.on(outcome, NOW);
            prop_assert!(next.state == update.state || !update.state.is_end(), "an end is never left");
            prop_assert!(next.state > update.state || update.state.is_end(), "each outcome leads on");
            prop_assert_eq!(Persisted::parse(&next.to_bytes()), Ok(next.clone()));
            update = next;
        }
        prop_assert!(update.state.is_end());
        prop_assert_eq!(update.state.is_failure(), update.code.is_some() && update.reason.is_some());
    }
}

#[test]
fn a_reason_of_several_lines_becomes_one_sentence() {
    let fault = Fault::new("config", "generation 3, line 1: log: wrong\n  generation 3, line 2: http: wrong\n\n");
    assert_eq!(fault.reason, "generation 3, line 1: log: wrong; generation 3, line 2: http: wrong");
    assert_eq!(Fault::new("config", "one").reason, "one");
}

#[test]
fn a_reason_that_quotes_a_mirror_is_cut_and_moves_no_cursor() {
    let quoted = format!("unknown variant `\u{1b}[2J\u{9b}1m\u{202e}timestamp`, expected one{}", "ä".repeat(60_000));
    let fault = Fault::new("metadata", quoted);
    assert!(fault.reason.starts_with("unknown variant `[2J1mtimestamp`, expected oneä"), "{fault:?}");
    assert!(fault.reason.len() <= MAX_REASON_BYTES && fault.reason.ends_with('ä'), "{}", fault.reason.len());
}
