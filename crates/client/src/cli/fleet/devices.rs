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
    let rows: Vec<[String; 6]> = seen.last().map(|report| row(report, now)).collect();
    let mut text = String::new();
    if !rows.is_empty() {
        text.push_str(&table(["device", "runs", "since", "linnetd", "free", "groups and labels"], &rows));
    }
    for (name, reports) in seen.duplicates() {
        let _ = writeln!(text, "{}", borne_by_several(name, reports));
    }
    output::write(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// What is told of one device, in the order of the columns.
fn row(report: &Report, now: u64) -> [String; 6] {
    let groups = report.groups.iter().map(|group| format!("group={}", plain(group)));
    let labels = report.labels.iter().map(|(label, value)| format!("label:{}={}", plain(label), plain(value)));
    let mut marks: Vec<String> = groups.chain(labels).collect();
    if !report.clock_trusted {
        marks.push("(its clock is not set)".to_owned());
    }
    if report.contested {
        marks.push("(another client takes its session)".to_owned());
    }
    // What was shipped has no time at which it began.
    let since = match report.since_secs {
        0 => "-".to_owned(),
        secs => since(now.saturating_sub(secs)),
    };
    let free = format!("{} MiB", report.free_mib);
    [report.device.clone(), number(report.running.generation), since, plain(&report.linnetd), free, marks.join(" ")]
}

/// The number of a generation; 0 is what a device was shipped with.
pub(super) fn number(generation: u64) -> String {
    if generation == 0 { "shipped".to_owned() } else { generation.to_string() }
}

/// A time that people can take in: `3 d`, `5 h`, `12 min`.
fn since(secs: u64) -> String {
    match secs {
        0..3600 => format!("{} min", secs / 60),
        3600..172_800 => format!("{} h", secs / 3600),
        _ => format!("{} d", secs / 86_400),
    }
}

/// Rows under their heads, each column as wide as its widest cell; the last one as it comes.
pub(super) fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(|column| width(column).max(heads[column].len())).collect();
    let line = |cells: [&str; N]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    let rows = rows.iter().map(|row| line(std::array::from_fn(|column| row[column].as_str())));
    std::iter::once(line(heads)).chain(rows).collect()
}

/// That several devices bear a name, with what tells them apart.
pub(super) fn borne_by_several(name: &str, reports: &[Report]) -> String {
    let instances: Vec<String> = reports.iter().map(|report| plain(&report.instance)).collect();
    format!(
        "{name} is borne by several devices ({}); give each a name of its own, or they fight over one client id",
        instances.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_its_widest_cells_and_a_time_is_short() {
        let rows = [["kitchen".to_owned(), "1".to_owned()], ["a".to_owned(), "12 MiB".to_owned()]];
        assert_eq!(table(["device", "free"], &rows), "device   free\nkitchen  1\na        12 MiB\n");
        assert_eq!([59, 7200, 86_400, 259_200].map(since), ["0 min", "2 h", "24 h", "3 d"]);
    }
}
