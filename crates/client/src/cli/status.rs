//! `linnet status`.

use std::fmt::Write;
use std::process::ExitCode;

use linnet_proto::fleet::{PushState, Running};
use linnet_proto::status::{
    FleetFailure, Health, Limits, ModelState, Provisioning, ProvisioningState, SourceStatus, Status,
};
use linnet_proto::words::{plain, without_login};

use super::at_rest::AtRest;
use super::output;
use crate::{ClientError, Local, clock};

/// Exit code of a daemon that answers and does not serve (`EX_UNAVAILABLE`).
const NOT_SERVING: u8 = 69;

/// Longest row, characters: the reasons of all sources come into one.
const MAX_ROW_CHARS: usize = 4_096;

pub(super) async fn run(local: &Local, json: bool) -> Result<ExitCode, ClientError> {
    let status = local.status().await?;
    if json {
        output::json(&status)?;
    } else {
        output::write(&for_people(&status, &local.socket().display().to_string()))?;
    }
    Ok(match status.health {
        Health::Ready | Health::Degraded => ExitCode::SUCCESS,
        Health::Starting | Health::Draining => ExitCode::from(NOT_SERVING),
    })
}

fn health(status: &Status) -> &'static str {
    match status.health {
        Health::Starting => "starting: not ready yet",
        Health::Ready => "ready",
        Health::Degraded if !status.stalled.is_empty() => "degraded: a part of it stands still",
        Health::Degraded if status.mqtt_storage.is_some() => "degraded: its state directory cannot be written",
        Health::Degraded => "degraded: a model or a worker failed, the others serve",
        Health::Draining => "draining: it ends and takes no new requests",
    }
}

fn for_people(status: &Status, socket: &str) -> String {
    let mut text = String::new();
    let mut row = |key: &str, value: &str| text.push_str(&line(key, value));
    row("linnetd", &format!("{} on {}, up {}", status.version, status.device, uptime(status.uptime_secs)));
    row("health", health(status));
    if !status.stalled.is_empty() {
        row("", &format!("  standing still: {}", status.stalled.join(", ")));
    }
    if let Some(running) = &status.generation {
        row("fleet", &generation(running));
    }
    if let Some(failure) = &status.fleet_last_failure {
        row("", &format!("  {}", last_failure(failure, clock::now_secs())));
    }
    if let Some(waiting) = &status.provisioning {
        row("name", &without_a_name(waiting));
    }
    for (i, source) in status.fleet_sources.iter().enumerate() {
        row(if i == 0 { "sources" } else { "" }, &source_line(source, &status.fleet_sources, clock::now_secs()));
    }
    row("socket", socket);
    row("mqtt", &status.mqtt);
    if let Some(reason) = &status.mqtt_reason {
        row("", &format!("  {reason}"));
    }
    if let Some(contested) = &status.mqtt_contested {
        row("", &format!("  {contested}"));
    }
    if let Some(reason) = &status.mqtt_storage {
        row("", &format!("  answers are not kept over a restart: {reason}"));
    }
    row("workers", &workers(status));
    for (i, model) in status.models.iter().enumerate() {
        let key = if i == 0 { "models" } else { "" };
        row(key, &super::models::line(model));
        if let ModelState::Failed { reason } = &model.state {
            row("", &format!("  failed: {reason}"));
        }
    }
    if status.models.is_empty() {
        row("models", "none; put a package into the models directory and restart linnetd");
    }
    row("limits", &limits(&status.limits));
    text
}

/// One row. Reasons in it quote brokers and mirrors.
fn line(key: &str, value: &str) -> String {
    format!("{key:<9}{}\n", plain(value, MAX_ROW_CHARS))
}

fn generation(running: &Running) -> String {
    match (running.generation, running.confirmed) {
        (0, _) => "as it was shipped: no generation serves".to_owned(),
        (number, true) => format!("generation {number}, confirmed"),
        (number, false) => format!("generation {number}, not confirmed yet"),
    }
}

/// The generation that did not stay, and why.
fn last_failure(failure: &FleetFailure, now: u64) -> String {
    let became = match failure.state {
        PushState::RolledBack => "rolled back",
        state => state.as_str(),
    };
    format!("generation {} was {became} {}: {}", failure.generation, ago(now, failure.secs), failure.reason)
}

/// How far a device has come that has a claim and no name.
fn without_a_name(waiting: &Provisioning) -> String {
    let how = match waiting.state {
        ProvisioningState::Asking => "none yet, it is asked for",
        ProvisioningState::Unanswered => "none yet, nobody answers",
        ProvisioningState::Refused => "none yet, it is refused",
        ProvisioningState::Failed => "none yet, it cannot be asked for or kept",
    };
    let claim = &waiting.claim;
    match &waiting.reason {
        Some(reason) => format!("{how}: {reason} (claim {claim})"),
        None => format!("{how} (claim {claim})"),
    }
}

/// A source of generations, one of `all`, and how it stood when it was asked last.
fn source_line(source: &SourceStatus, all: &[SourceStatus], now: u64) -> String {
    let name = without_login(&source.source);
    if let Some(at_rest) = AtRest::of(source, all) {
        let well = source.succeeded_secs.map(|secs| format!(" (well {})", ago(now, secs))).unwrap_or_default();
        return format!("{name}: {}{well}", at_rest.words());
    }
    let mut line = match (&source.failed, source.succeeded_secs) {
        (Some(failed), _) if source.failing => format!("{name}: failing, {}: {}", ago(now, failed.secs), failed.reason),
        (_, Some(secs)) => format!("{name}: well, {}", ago(now, secs)),
        _ => format!("{name}: not asked yet"),
    };
    if source.set_back_until_secs.is_some_and(|until| until > now) {
        line.push_str(" (others are asked before it for now)");
    }
    line
}

fn limits(limits: &Limits) -> String {
    let mut text = format!(
        "uploads of {} MiB, {} of audio, {} jobs waiting",
        limits.max_upload_bytes >> 20,
        uptime(limits.max_audio_secs as f64),
        limits.queue_length
    );
    // 0 while MQTT is off.
    if limits.max_packet_bytes > 0 {
        let _ = write!(text, ", MQTT packets of {} MiB", limits.max_packet_bytes >> 20);
    }
    text
}

fn workers(status: &Status) -> String {
    let mut text = format!("{}, {} jobs waiting", status.workers, status.queue_depth);
    if status.worker_restarts + status.workers_stuck > 0 {
        let _ = write!(text, "; {} restarted, {} stuck", status.worker_restarts, status.workers_stuck);
    }
    text
}

/// How long ago `secs` was; a clock that was set meanwhile is no time ago.
pub(super) fn ago(now: u64, secs: u64) -> String {
    format!("{} ago", uptime(now.saturating_sub(secs) as f64))
}

/// `3 d 4 h`, `4 h 5 min`, `5 min 6 s` or `6 s`.
fn uptime(secs: f64) -> String {
    let secs = secs.max(0.0) as u64;
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, _) => format!("{minutes} min {} s", secs % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use linnet_proto::status::SourceFailure;

    use super::*;

    #[test]
    fn what_others_said_moves_no_cursor() {
        assert_eq!(line("mqtt", "full\u{1b}]0;owned\u{7}\u{202e}\nsocket"), "mqtt     full]0;ownedsocket\n");
        assert!(line("", &"x".repeat(60_000)).len() < 5_000);
    }

    #[test]
    fn the_generation_is_told_with_whether_it_stays() {
        let told = |generation, confirmed| generation_of(generation, confirmed);
        assert_eq!(told(0, true), "as it was shipped: no generation serves");
        assert_eq!(told(7, true), "generation 7, confirmed");
        assert_eq!(told(8, false), "generation 8, not confirmed yet");
    }

    fn generation_of(number: u64, confirmed: bool) -> String {
        generation(&Running { generation: number, confirmed })
    }

    #[test]
    fn a_generation_that_did_not_stay_is_told_with_why() {
        let failure = |state| FleetFailure { generation: 8, state, reason: "its canary is not met".into(), secs: 940 };
        let told = |state| last_failure(&failure(state), 1000);
        assert_eq!(told(PushState::Rejected), "generation 8 was rejected 1 min 0 s ago: its canary is not met");
        assert_eq!(told(PushState::RolledBack), "generation 8 was rolled back 1 min 0 s ago: its canary is not met");
    }

    #[test]
    fn a_device_without_a_name_says_what_it_waits_for() {
        let told = |state, reason: Option<&str>| {
            without_a_name(&Provisioning { claim: "/etc/claim.toml".into(), state, reason: reason.map(str::to_owned) })
        };
        assert_eq!(told(ProvisioningState::Asking, None), "none yet, it is asked for (claim /etc/claim.toml)");
        assert_eq!(
            told(ProvisioningState::Refused, Some("the claim is used up")),
            "none yet, it is refused: the claim is used up (claim /etc/claim.toml)"
        );
    }

    #[test]
    fn a_source_is_told_in_one_line_with_why_it_is_of_no_use() {
        let failed = SourceFailure { secs: 940, code: "expired".into(), reason: "its metadata expired".into() };
        let source = |failing, succeeded_secs, failed, set_back_until_secs| SourceStatus {
            source: "mqtt".into(),
            failing,
            succeeded_secs,
            failed,
            set_back_until_secs,
        };
        for (source, line) in [
            (source(false, None, None, None), "mqtt: not asked yet"),
            (source(false, Some(700), Some(failed.clone()), None), "mqtt: well, 5 min 0 s ago"),
            (source(true, Some(700), Some(failed.clone()), None), "mqtt: failing, 1 min 0 s ago: its metadata expired"),
            (
                source(true, None, Some(failed.clone()), Some(1001)),
                "mqtt: failing, 1 min 0 s ago: its metadata expired (others are asked before it for now)",
            ),
            (source(false, Some(2000), Some(failed), Some(1000)), "mqtt: well, 0 s ago"),
        ] {
            assert_eq!(source_line(&source, &[], 1000), line);
        }
        let failed = SourceFailure { secs: 940, code: "rollback".into(), reason: "version 3 is older".into() };
        let stick = SourceStatus { source: "/media/stick".into(), ..source(true, Some(700), Some(failed), Some(1001)) };
        let all = [stick.clone(), source(false, Some(900), None, None)];
        assert_eq!(
            source_line(&stick, &all, 1000),
            "/media/stick: holds nothing newer than the others (well 5 min 0 s ago)"
        );
    }

    #[test]
    fn times_are_told_in_their_two_largest_units() {
        assert_eq!(uptime(6.9), "6 s");
        assert_eq!(uptime(306.0), "5 min 6 s");
        assert_eq!(uptime(14_700.0), "4 h 5 min");
        assert_eq!(uptime(273_600.0), "3 d 4 h");
    }
}
