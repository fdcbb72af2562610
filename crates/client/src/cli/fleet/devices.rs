//! `linnet fleet devices`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use linnet_proto::fleet::Report;
use linnet_proto::words::shortened;

use super::args::DevicesArgs;
use super::{copies, devices_text, load};
use crate::cli::output;
use crate::{ClientError, clock};

/// Most devices of a table; `--json` gives all.
pub(super) const MAX_ROWS: usize = 1_000;
/// Widest cell of a table, characters: what one device says of itself widens every row. No name of a device is longer.
const MAX_CELL: usize = 64;
/// The same for the last cell of a row, which widens no other.
const MAX_LAST_CELL: usize = 200;

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
        let duplicates: BTreeMap<_, Vec<&str>> =
            seen.duplicates().map(|(name, all)| (name, all.iter().map(|r| r.instance.as_str()).collect())).collect();
        output::json(&serde_json::json!({ "devices": devices, "duplicates": duplicates }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    if seen.len() > 0 {
        text = listed(seen.by_name(), seen.len(), clock::now_secs());
    }
    for line in copies::Told::default().untold(&seen) {
        let _ = write!(text, "\n{line}\n");
    }
    output::write(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The table of `count` devices, as far as it goes. Of devices that bear one name each has its row, the one that reported last first.
fn listed<'a>(devices: impl Iterator<Item = &'a [Report]>, count: usize, now: u64) -> String {
    let rows = devices.take(MAX_ROWS).flat_map(|reports| reports.iter().rev().map(|it| row(it, reports.len(), now)));
    let rows: Vec<_> = rows.collect();
    let table = table(["device", "runs", "since", "linnetd", "free", "groups and labels"], &rows);
    table + &left_out(count)
}

/// What is said below a table that does not hold all of `count` devices.
pub(super) fn left_out(count: usize) -> String {
    match count.saturating_sub(MAX_ROWS) {
        0 => String::new(),
        more => format!("… and {}; --json gives all\n", devices_text(more)),
    }
}

/// What is told of one of `several` devices under its name, in the order of the columns.
fn row(report: &Report, several: usize, now: u64) -> [String; 6] {
    let groups = report.groups.iter().map(|group| format!("group={group}"));
    let labels = report.labels.iter().map(|(label, value)| format!("label:{label}={value}"));
    // What is wrong stands first: a long cell is cut at its end.
    let mut marks: Vec<String> = copies::mark(report, several).into_iter().collect();
    if !report.clock_trusted {
        marks.push("(its clock is not set)".to_owned());
    }
    marks.extend(groups.chain(labels));
    // What was shipped has no time at which it began.
    let since = match report.since_secs {
        0 => "-".to_owned(),
        secs => since(now.saturating_sub(secs)),
    };
    let free = format!("{} MiB", report.free_mib);
    [report.device.clone(), number(report.running.generation), since, report.linnetd.clone(), free, marks.join(" ")]
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

/// Rows under their heads, each column as wide as its widest cell. Cells are words of others: they are cut, and move no cursor.
pub(super) fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let most = |column: usize| if column + 1 == N { MAX_LAST_CELL } else { MAX_CELL };
    let cells = |row: &[String; N]| std::array::from_fn(|column| shortened(&row[column], most(column)));
    let rows: Vec<[String; N]> = rows.iter().map(cells).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(|column| width(column).max(heads[column].len())).collect();
    let line = |cells: [&str; N]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    let rows = rows.iter().map(|row| line(std::array::from_fn(|column| row[column].as_str())));
    std::iter::once(line(heads)).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(words: &str) -> Report {
        let report = serde_json::json!({
            "wire": 1, "device": "kitchen", "fleet": "home", "running": { "generation": 0, "confirmed": true },
            "generation": 0, "attempt": 1, "state": "confirmed", "since_secs": 0, "clock_trusted": true,
            "linnetd": words, "groups": [words], "labels": { "board": words }, "free_mib": 1, "metadata": [1, 1, 1],
            "instance": words,
        });
        serde_json::from_value(report).expect("a report")
    }

    #[test]
    fn what_one_device_says_widens_no_row_without_bound_and_moves_no_cursor() {
        let hostile = report(&format!("\u{1b}[2J\u{202e}{}", "x".repeat(15_000)));
        let text = listed([&[hostile][..], &[report("0.1.0")]].into_iter(), 2, 0);
        assert!(text.lines().all(|line| line.chars().count() < 400) && text.contains("x…"), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']) && !text.contains("--json"), "{text}");
    }

    #[test]
    fn each_device_of_a_name_has_its_row_that_says_so_before_all_else() {
        let twin = |instance: &str| Report { instance: instance.into(), ..report("0.1.0") };
        let copied = Report { device: "porch".into(), contested: true, ..report("0.1.0") };
        let text = listed([&[twin("old"), twin("new")][..], &[copied]].into_iter(), 2, 0);
        let marks: Vec<&str> =
            text.lines().skip(1).filter_map(|line| line.split_once(" MiB  ")).map(|it| it.1).collect();
        assert!(marks[0].starts_with("(one of 2 devices of this name: instance new)"), "{text}");
        assert!(marks[1].starts_with("(one of 2 devices of this name: instance old)"), "{text}");
        assert!(marks[2].starts_with("(another client takes its session: a copy of its card?)"), "{text}");
    }

    #[test]
    fn a_long_table_says_what_it_leaves_out() {
        let one = [report("0.1.0")];
        let text = listed(std::iter::repeat_n(&one[..], MAX_ROWS + 2), MAX_ROWS + 2, 0);
        assert_eq!(text.lines().count(), MAX_ROWS + 2, "a head, the rows and the word");
        assert!(text.ends_with("\n… and 2 devices; --json gives all\n"));
    }

    #[test]
    fn a_table_is_as_wide_as_its_widest_cells_and_a_time_is_short() {
        let rows = [["kitchen".to_owned(), "1".to_owned()], ["a".to_owned(), "12 MiB".to_owned()]];
        assert_eq!(table(["device", "free"], &rows), "device   free\nkitchen  1\na        12 MiB\n");
        assert_eq!([59, 7200, 86_400, 259_200].map(since), ["0 min", "2 h", "24 h", "3 d"]);
    }
}
