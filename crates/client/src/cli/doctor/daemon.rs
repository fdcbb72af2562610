//! What the running daemon says of itself: its version, its health and its models.

use linnet_proto::status::{Health, ModelState, Status};

use super::finding::{Finding, Trouble};

/// How long a start may take, seconds: as long as systemd is asked to wait.
const LONGEST_START_SECS: f64 = 900.0;

pub(super) fn judge_version(daemon: &str, client: &str) -> Finding {
    if daemon == client {
        return Finding::ok("version", format!("linnetd and linnet are both {client}"));
    }
    Finding::warning(
        "version",
        format!("linnetd is {daemon}, linnet is {client}"),
        "install both from one release, then restart linnetd",
    )
}

pub(super) fn judge_health(status: &Status, ready: bool) -> Vec<Finding> {
    const CHECK: &str = "health";
    let journal = "see what it logged (`journalctl -u linnetd`)";
    let mut findings = Vec::new();
    if !status.stalled.is_empty() {
        findings.push(Finding::wrong(
            CHECK,
            Trouble::Software,
            format!("a part of linnetd stands still: {}", status.stalled.join(", ")),
            "restart linnetd (under systemd the watchdog does), and report it with `linnet doctor --bundle FILE`",
        ));
    }
    if status.workers_stuck > 0 {
        findings.push(Finding::warning(
            CHECK,
            format!("{} of linnetd's workers hung and were given up", status.workers_stuck),
            format!("restart linnetd, and {journal} about the request that did it"),
        ));
    }
    if status.worker_restarts > 0 {
        findings.push(Finding::warning(
            CHECK,
            format!("{} workers were replaced since linnetd started", status.worker_restarts),
            format!("nothing is lost; {journal} about the model that did it"),
        ));
    }
    match status.health {
        Health::Starting if status.uptime_secs > LONGEST_START_SECS => findings.push(Finding::wrong(
            CHECK,
            Trouble::Unavailable,
            format!("linnetd is still starting after {:.0} s", status.uptime_secs),
            format!("{journal}; a large model on a slow disk can be left out of `preload`"),
        )),
        Health::Starting => findings.push(Finding::warning(
            CHECK,
            "linnetd is starting and not ready yet",
            "wait until its models are loaded (`linnet status`)",
        )),
        Health::Draining => findings.push(Finding::warning(
            CHECK,
            "linnetd is ending and takes no new requests",
            "start it again, if nobody else does",
        )),
        Health::Ready | Health::Degraded if !ready => findings.push(Finding::warning(
            CHECK,
            "linnetd says that it serves, but /readyz says that it does not",
            "ask again; if it stays so, restart linnetd",
        )),
        // Why it is degraded stands in the findings of that part.
        Health::Ready | Health::Degraded if findings.is_empty() => {
            let degraded = if status.health == Health::Degraded { ", without a part that is named below" } else { "" };
            findings.push(Finding::ok(
                CHECK,
                format!(
                    "{} serves{degraded}; {} workers, {} jobs waiting",
                    status.device, status.workers, status.queue_depth
                ),
            ));
        }
        Health::Ready | Health::Degraded => {}
    }
    findings
}

pub(super) fn judge_models(status: &Status) -> Vec<Finding> {
    const CHECK: &str = "models";
    if status.models.is_empty() {
        let dir = status.models_dir.as_deref().map(|dir| format!(" into {dir}")).unwrap_or_default();
        let way_out = format!("add one (`linnet models add DIR`), or put a package{dir} and reload linnetd");
        return vec![Finding::wrong(CHECK, Trouble::Unavailable, "linnetd has no model", way_out)];
    }
    let failed = status.models.iter().filter_map(|model| match &model.state {
        ModelState::Failed { reason } => Some((model, reason)),
        _ => None,
    });
    let mut findings: Vec<Finding> = failed
        .map(|(model, reason)| {
            Finding::wrong(
                CHECK,
                Trouble::Unavailable,
                format!("{} {} failed (it takes {} MiB): {reason}", model.name, model.version, model.memory_mib),
                format!(
                    "check it with `linnet models verify {0}`; add it anew, or `linnet models remove {0}`",
                    model.name
                ),
            )
        })
        .collect();
    if findings.is_empty() {
        let loaded = status.models.iter().filter(|model| model.state == ModelState::Ready);
        let (count, memory) = loaded.fold((0, 0), |(n, mib), model| (n + 1, mib + model.memory_mib));
        findings.push(Finding::ok(
            CHECK,
            format!("none of {} models failed; {count} are loaded and take {memory} MiB", status.models.len()),
        ));
    }
    findings
}

#[cfg(test)]
pub(super) mod tests {
    use linnet_proto::status::{Limits, ModelStatus};

    use super::super::finding::Verdict::{self, Ok, Warning, Wrong};
    use super::*;

    pub(in crate::cli::doctor) fn model(name: &str, state: ModelState) -> ModelStatus {
        ModelStatus {
            name: name.into(),
            version: "1.0.0".into(),
            aliases: Vec::new(),
            tasks: vec!["transcribe".into()],
            languages: vec!["en".into()],
            family: "ctc".into(),
            state,
            memory_mib: 40,
        }
    }

    pub(in crate::cli::doctor) fn status() -> Status {
        Status {
            version: "0.1.0".into(),
            device: "kitchen".into(),
            health: Health::Ready,
            uptime_secs: 60.0,
            models: vec![model("stt-en-small", ModelState::Ready)],
            generation: None,
            fleet_sources: Vec::new(),
            fleet_last_failure: None,
            provisioning: None,
            models_dir: Some("/var/lib/linnet/models".into()),
            limits: Limits {
                max_upload_bytes: 1,
                max_audio_secs: 1,
                max_packet_bytes: 0,
                queue_length: 64,
                default_deadline_ms: 1,
                max_deadline_ms: 1,
            },
            queue_depth: 0,
            workers: 2,
            worker_restarts: 0,
            workers_stuck: 0,
            mqtt: "off".into(),
            mqtt_reason: None,
            mqtt_contested: None,
            mqtt_storage: None,
            stalled: Vec::new(),
        }
    }

    #[test]
    fn two_versions_are_a_warning() {
        assert_eq!(judge_version("0.1.0", "0.1.0").verdict, Ok);
        let finding = judge_version("0.1.0", "0.2.0");
        assert!(finding.verdict == Warning && finding.sentence.contains("0.2.0"), "{finding:?}");
    }

    #[test]
    fn health_is_judged_by_what_stands_still_then_by_how_far_it_is() {
        type Change = fn(&mut Status);
        let table: [(&str, Change, bool, Verdict, Option<u8>); 9] = [
            ("serves", |_| (), true, Ok, None),
            ("named below", |s| s.health = Health::Degraded, true, Ok, None),
            ("the MQTT link", |s| s.stalled = vec!["the MQTT link".into()], true, Wrong, Some(70)),
            ("given up", |s| s.workers_stuck = 1, true, Warning, None),
            ("2 workers were replaced", |s| s.worker_restarts = 2, true, Warning, None),
            ("not ready yet", |s| s.health = Health::Starting, false, Warning, None),
            (
                "still starting after 1000 s",
                |s| (s.health, s.uptime_secs) = (Health::Starting, 1000.0),
                false,
                Wrong,
                Some(69),
            ),
            ("ending", |s| s.health = Health::Draining, false, Warning, None),
            ("/readyz", |_| (), false, Warning, None),
        ];
        for (words, change, ready, verdict, code) in table {
            let mut status = status();
            change(&mut status);
            let findings = judge_health(&status, ready);
            let [finding] = &findings[..] else { panic!("{words}: {findings:?}") };
            assert_eq!((finding.verdict, finding.code), (verdict, code), "{words}");
            assert!(finding.sentence.contains(words), "{words}: {finding:?}");
        }
    }

    #[test]
    fn each_failed_model_is_told_with_its_reason_and_its_memory() {
        let failed = |reason: &str| ModelState::Failed { reason: reason.into() };
        let mut status = status();
        assert_eq!(judge_models(&status)[0].verdict, Ok);
        status.models.push(model("big", failed("it needs 900 MiB and 700 are allowed")));
        status.models.push(model("torn", failed("model.onnx is cut off")));
        let findings = judge_models(&status);
        assert_eq!(findings.len(), 2);
        assert!(findings.iter().all(|f| f.verdict == Wrong && f.code == Some(69)));
        assert!(findings[0].sentence.contains("40 MiB") && findings[0].sentence.contains("700 are allowed"));
        assert!(findings[1].way_out.as_deref().is_some_and(|w| w.contains("verify torn")));
        status.models.clear();
        assert!(judge_models(&status)[0].way_out.as_deref().is_some_and(|w| w.contains("/var/lib/linnet/models")));
    }
}
