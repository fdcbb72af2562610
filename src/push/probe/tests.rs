//! How a child ends, and what is made of it: real processes, real signals. What `linnetd probe` itself does is in `tests/push_probe.rs`.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::*;

fn probe(way: &str, time: Duration) -> Probe {
    Probe {
        program: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/probe/child"),
        flags: Vec::new(),
        generation: way.into(),
        models: vec!["/packages/a-model".into()],
        limits: ProbeLimits { time, memory_mib: Some(100) },
    }
}

/// Longer than anything takes that ends by itself.
const PATIENCE: Duration = Duration::from_secs(300);

fn run(way: &str, time: Duration) -> Result<Proved, ProbeFault> {
    probe(way, time).run(&AtomicBool::new(false))
}

#[test]
fn a_child_that_proves_all_and_says_so_has_proved_it() {
    for way in ["good", "leaves-somebody-behind"] {
        let proved = run(way, PATIENCE).unwrap_or_else(|fault| panic!("{way}: {fault}"));
        let model = ProvedModel { name: "a-model".into(), version: "1.0.0".into(), ms: 3, peak_mib: 40 };
        assert_eq!(proved.models, [model]);
    }
}

#[test]
fn every_other_end_has_its_code_and_names_the_model() {
    for (way, code, says) in [
        ("killed", Code::Memory, "memory runs out"),
        ("starves", Code::Memory, "100 MiB"),
        ("illegal-instruction", Code::Signal, "SIGILL"),
        ("aborts", Code::Signal, "SIGABRT"),
        ("uses-up-its-time", Code::Timeout, "of processors"),
        ("wrong-answer", Code::Canary, "it says 3, not 4"),
        ("garbage", Code::Output, "line 3"),
        ("stops-half-way", Code::Output, "code 0"),
        ("ends-badly-after-all-is-said", Code::Output, "code 1"),
    ] {
        let fault = run(way, PATIENCE).expect_err(way);
        assert_eq!((fault.code, fault.model.as_deref()), (code, Some("a-model")), "{way}: {fault}");
        assert!(fault.reason.contains(says), "{way}: {fault}");
    }
    for (way, says) in [
        ("says-nothing", "did not say how"),
        ("claims-more-than-it-did", "did not say how"),
        ("floods", "bytes and was ended"),
        ("floods-stderr", "bytes and was ended"),
    ] {
        let fault = run(way, PATIENCE).expect_err(way);
        assert_eq!(fault.code, Code::Output, "{way}: {fault}");
        assert!(fault.reason.contains(says), "{way}: {fault}");
    }
}

#[test]
fn a_child_that_hangs_is_ended_with_all_that_it_started() {
    // That it returns is the proof: a process that held a pipe open would be waited for.
    let fault = run("hangs", Duration::from_millis(300)).expect_err("it hangs");
    assert_eq!((fault.code, fault.model.as_deref()), (Code::Timeout, Some("a-model")), "{fault}");
}

#[test]
fn a_daemon_that_ends_ends_its_child_and_judges_nothing() {
    let fault = probe("hangs", PATIENCE).run(&AtomicBool::new(true)).expect_err("it is stopped");
    assert_eq!(fault.code, Code::Interrupted);
}

#[test]
fn a_program_that_cannot_be_started_is_named() {
    let probe = Probe { program: "/nowhere/linnetd".into(), ..probe("good", PATIENCE) };
    let fault = probe.run(&AtomicBool::new(false)).expect_err("there is none");
    assert!(fault.code == Code::Start && fault.reason.contains("/nowhere/linnetd"), "{fault}");
}
