//! `linnet fleet devices`.

use std::fmt::Write;
use std::process::ExitCode;

use linnet_proto::fleet::Report;

use super::args::DevicesArgs;
use super::load;
use super::status::plain;
use crate::cli::output;
use crate::{ClientError, clock};

pub(super) async fn run(args: DevicesArgs) -> Result<ExitCode, ClientError> {
    let repository = load(&args.dir.dir)?;
    let seen = args.reports.seen(&repository).await?;
    if args.json {
        let device = |report: &Report| {
            serde_json::json!({
                "device": report.device, "instance": report.instance, "generation": report.running.generation,
                "linnetd": report.linnetd, "groups": report.groups, "labels": report.labels, "free_mib": report.free_mib,
                "since_secs": report.since_secs, "clock_trusted": report.clock_trusted, "local_packages": report.local_packages,
                "contested": report.contested,
            })
        };
        let devices: Vec<_> = seen.last().map(device).collect();
        let duplicates: std::collections::BTreeMap<_, Vec<&str>> =
            seen.duplicates().map(|(name, all)| (name, all.iter().map(|r| r.instance.as_str()).collect())).collect();
        output::json(&serde_json::json!({ "devices": devices, "duplicates": duplicates }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = clock::now_secs();
    let mut text = String::new();
    for report in seen.last() {
        let groups: Vec<String> = report.groups.iter().map(|group| format!("group={}", plain(group))).collect();
        let labels = report.labels.iter().map(|(label, value)| format!("label:{}={}", plain(label), plain(value)));
        let clock = if report.clock_trusted { "" } else { "\tits clock is not set" };
        let contested = if report.contested { "\tanother client takes its session" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}\tgeneration {}\tlinnetd {}\t{} MiB free\tfor {} days\t{}{clock}{contested}",
            report.device,
            report.running.generation,
            plain(&report.linnetd),
            report.free_mib,
            now.saturating_sub(report.since_secs) / 86_400,
            groups.into_iter().chain(labels).collect::<Vec<_>>().join(","),
        );
    }
    for (name, reports) in seen.duplicates() {
        let _ = writeln!(text, "{}", borne_by_several(name, reports));
    }
    output::write(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// That several devices bear a name, with what tells them apart.
pub(super) fn borne_by_several(name: &str, reports: &[Report]) -> String {
    let instances: Vec<String> = reports.iter().map(|report| plain(&report.instance)).collect();
    format!(
        "{name} is borne by several devices ({}); give each a name of its own, or they fight over one client id",
        instances.join(", ")
    )
}
