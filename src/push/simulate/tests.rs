//! What must hold of every simulation.

use std::collections::BTreeSet;

use clap::Parser;
use linnet_fleet::waves::Share;

use super::{Break, Plan, SimulateArgs, Summary, simulate_on};

#[derive(Debug, Parser)]
struct Words {
    #[command(flatten)]
    args: SimulateArgs,
}

/// What the words of a command line come to; a fault is the whole message.
fn plan(words: &str) -> Result<Plan, String> {
    let words = std::iter::once("simulate").chain(words.split_whitespace());
    Words::try_parse_from(words).map_err(|e| e.to_string())?.args.plan()
}

fn run(words: &str) -> Summary {
    simulate_on(2, &plan(words).expect(words), &mut |_| {}).expect(words)
}

const USUAL: &str = "--devices 300 --bad 5% --offline 20%";

fn usual(more: &str) -> Summary {
    run(&format!("{USUAL} {more}"))
}

#[test]
fn the_same_seed_gives_the_same_result_on_any_number_of_threads() {
    let plan = plan(&format!("{USUAL} --seed 3 --no-halt")).expect("arguments");
    let on = |threads| simulate_on(threads, &plan, &mut |_| {}).expect("runs");
    let one = on(1);
    assert_eq!(one, on(1));
    assert_eq!(one, on(3));
    assert_eq!(one.json(), on(2).json());
    let other = super::Plan { seed: 4, ..plan };
    assert_ne!(one.messages_per_device, simulate_on(1, &other, &mut |_| {}).expect("runs").messages_per_device);
}

#[test]
fn without_the_halt_rule_sound_devices_end_on_the_new_generation_and_bad_ones_on_the_old() {
    for seed in 1..4 {
        let summary = usual(&format!("--no-halt --seed {seed}"));
        assert!(summary.converged && !summary.halted && summary.stopped.is_none(), "{summary:?}");
        assert_eq!((summary.wrong_generation, summary.on_new, summary.on_old), (0, 285, 15), "seed {seed}");
        assert_eq!(
            (summary.states["confirmed"], summary.states["rejected"], summary.states["rolled_back"]),
            (285, 8, 7)
        );
    }
}

#[test]
fn with_the_halt_rule_no_device_outside_of_the_opened_waves_has_the_new_generation() {
    let mut halted = 0;
    for seed in 1..6 {
        let summary = usual(&format!("--seed {seed}"));
        assert!(summary.converged, "seed {seed}: {summary:?}");
        assert_eq!(summary.on_new + summary.on_old, 300);
        if summary.halted {
            halted += 1;
            let opened: usize = summary.waves.iter().map(|wave| wave.devices).sum();
            assert!(summary.on_new <= opened as u64, "seed {seed}: {summary:?}");
            assert!(summary.stopped.is_some() && summary.waves.iter().any(|wave| wave.failed > 0));
            assert!(summary.states["not_begun"] > 0, "seed {seed}: {summary:?}");
        }
    }
    assert_eq!(halted, 5, "5 % of failures are more than 2 %");
}

#[test]
fn each_fault_of_the_devices_is_seen_in_where_they_are() {
    for (fault, named) in [("halt", Break::Halt), ("rollback", Break::Rollback), ("verify", Break::Verify)] {
        assert_eq!(plan(&format!("--bad 5% --break {fault}")).expect("arguments").fault, Some(named));
        for seed in 1..4 {
            let summary = usual(&format!("--seed {seed} --break {fault}"));
            assert!(summary.wrong_generation > 0 && !summary.converged, "--break {fault} --seed {seed}: {summary:?}");
        }
    }
}

#[test]
fn each_fault_is_seen_without_the_halt_rule_too() {
    for (fault, least) in [("halt", 100), ("rollback", 15), ("verify", 100)] {
        let summary = usual(&format!("--no-halt --break {fault}"));
        assert!(summary.wrong_generation >= least && !summary.converged, "--break {fault}: {summary:?}");
    }
}

#[test]
fn devices_that_were_away_end_where_the_others_do() {
    let summary = run("--devices 100 --offline 100%");
    assert!(summary.converged && !summary.halted && summary.resumed > 0, "{summary:?}");
    assert_eq!((summary.on_new, summary.on_old), (100, 0));
    let summary = run("--devices 100 --offline 100% --bad 10% --no-halt");
    assert_eq!((summary.converged, summary.on_new, summary.on_old), (true, 90, 10));
}

#[test]
fn a_link_that_loses_much_delays_and_does_no_more() {
    let (bad, good) = (run("--devices 50 --loss 30%"), run("--devices 50 --loss 0%"));
    assert!(bad.converged && bad.on_new == 50, "{bad:?}");
    assert!(bad.messages_per_device > 1.3 * good.messages_per_device, "repeats count: {bad:?}");
}

#[test]
fn the_mirror_s_lies_are_refused_each_for_what_it_is() {
    let summary = run("--devices 50");
    let codes: BTreeSet<&str> = summary.refusals.keys().copied().collect();
    for code in ["wrong_keys", "rollback", "wrong_digest"] {
        assert!(codes.contains(code), "{code} is missing in {codes:?}");
    }
    assert!(summary.converged && summary.on_new == 50);
}

#[test]
fn a_device_of_a_large_fleet_sends_and_receives_what_one_of_a_small_fleet_does() {
    // Bad devices halt a push where the luck of the first waves wants it: only without the rule do fleets of two sizes go the same way.
    for words in ["", "--offline 20% --min-reported 0%", "--no-halt --bad 5% --offline 20%"] {
        let (small, large) = (run(&format!("--devices 100 {words}")), run(&format!("--devices 5000 {words}")));
        for (what, of) in COSTS {
            let (small, large) = (of(&small), of(&large));
            assert!(small > 0.0 && (small / large - 1.0).abs() < 0.05, "{words}: {what}: {small} and {large}");
        }
        // What depends on when waves open depends on how many signatures there are, and on nothing else.
        for summary in [small, large] {
            let most = 4.0 * summary.signatures as f64 * 1.1;
            assert!(summary.wave_messages_per_device <= most, "{words}: {summary:?}");
        }
    }
}

/// A figure of a summary, by its name.
type Cost = (&'static str, fn(&Summary) -> f64);

/// What a device costs.
const COSTS: [Cost; 6] = [
    ("messages_per_device", |summary| summary.messages_per_device),
    ("bytes_per_device", |summary| summary.bytes_per_device),
    ("messages_per_update", |summary| summary.messages_per_update),
    ("bytes_per_update", |summary| summary.bytes_per_update),
    ("idle_messages_per_day", |summary| summary.idle_messages_per_day),
    ("idle_bytes_per_day", |summary| summary.idle_bytes_per_day),
];

#[test]
fn waves_that_mean_others_cost_a_device_nothing_but_their_signature_at_its_next_look() {
    let few = run("--devices 400 --waves 100%");
    let many = run("--devices 400 --waves 1%,2%,5%,10%,20%,30%,40%,50%,75%,100%");
    assert_eq!((many.converged, many.signatures, few.signatures), (true, 10, 1));
    assert!((many.messages_per_update / few.messages_per_update - 1.0).abs() < 0.05, "{many:?}");
    // A look by the interval fetches the newest signature, however many there were since the last one.
    let looks = many.virtual_secs as f64 / 3600.0 + 1.0;
    let more = many.wave_messages_per_device - few.wave_messages_per_device;
    assert!((0.0..4.0 * looks * 1.1).contains(&more), "{more} messages more in {looks} looks");
}

#[test]
fn a_push_of_one_device_ends_as_every_other() {
    for (more, new) in [("", 1), ("--bad 100%", 0), ("--bad 100% --no-halt", 0), ("--offline 100%", 1)] {
        let summary = run(&format!("--devices 1 {more}"));
        assert_eq!((summary.converged, summary.on_new), (true, new), "{more}: {summary:?}");
    }
}

#[test]
fn waves_go_as_they_were_asked_for() {
    let summary = run("--devices 200 --waves 5%,50%,100% --wait 40m");
    let devices: Vec<usize> = summary.waves.iter().map(|wave| wave.devices).collect();
    assert_eq!((devices.len(), devices.iter().sum::<usize>()), (3, 200));
    assert!(devices[0] >= 10 && devices[0] <= 12, "{devices:?}");
    let rising = summary.waves.windows(2).all(|two| two[0].decided_secs == Some(two[1].opened_secs));
    assert!(rising, "a wave opens when the one before is decided: {summary:?}");
    assert!(run("--devices 200 --waves 100%").waves.len() == 1);
}

#[test]
fn the_result_reads_as_a_table_and_as_one_line_of_json() {
    let summary = usual("");
    let read: serde_json::Value = serde_json::from_str(&summary.json()).expect("JSON");
    assert!(!summary.json().contains('\n'));
    for key in [
        "converged",
        "halted",
        "wrong_generation",
        "devices",
        "on_new",
        "on_old",
        "waves",
        "virtual_secs",
        "messages_per_device",
        "bytes_per_device",
        "messages_per_update",
        "bytes_per_update",
        "wave_messages_per_device",
        "signatures",
        "idle_messages_per_day",
        "idle_bytes_per_day",
        "seed",
    ] {
        assert!(!read[key].is_null(), "{key}");
    }
    let text = summary.lines();
    for said in
        ["wave ", "1% ", "halted: ", "states: ", "messages (most", "an update: ", "virtual time: ", "converged: "]
    {
        assert!(text.contains(said), "`{said}` is missing in\n{text}");
    }
}

#[test]
fn arguments_that_make_no_sense_are_named() {
    let defaults = plan("").expect("none is needed");
    assert_eq!((defaults.rules.max_failed, defaults.rules.min_reported), (Share::percent(2), Share::percent(70)));
    assert_eq!(plan("--no-halt").expect("arguments").rules.max_failed, Share::ALL);
    assert_eq!(plan("--wait 90s").expect("arguments").rules.wait_secs, 90);
    for (words, said) in [
        ("--devices 0", "--devices"),
        ("--devices 2000000", "--devices"),
        ("--devices many", "--devices"),
        ("--seed -1", "--seed"),
        ("--bad 5", "--bad"),
        ("--bad 101%", "--bad"),
        ("--offline x%", "--offline"),
        ("--loss 60%", "--loss 60%: at most 50%"),
        ("--waves 10%,1%,100%", "--waves"),
        ("--waves 1%,10%", "the last wave must be 100%"),
        ("--waves 1,2", "--waves"),
        ("--max-failed 2% --no-halt", "--no-halt"),
        ("--min-reported 2% --no-halt", "--no-halt"),
        ("--wait 30", "30m"),
        ("--wait 2d", "--wait"),
        ("--wait 25h", "--wait"),
        ("--wait m", "--wait"),
        ("--wait 99999999999999999999h", "--wait"),
        ("--break all", "halt, rollback, verify"),
        ("--break rollback", "nobody goes back, so that nothing breaks; say --bad 5%"),
    ] {
        let e = plan(words).expect_err(words);
        assert!(e.contains(said), "{words}: {e}");
    }
}
