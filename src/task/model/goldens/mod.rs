//! Every family's tiny model against the reference: `tests/goldens/families`, whose README gives the format.
//!
//! `LINNET_GOLDENS` names another place, `LINNET_GOLDEN` one of its directories. `LINNET_FIDELITY` names a file to which the
//! table of `docs/fidelity.md` is written.

mod full;
mod mutations;
mod runs;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use runs::{Outcome, run};

fn families() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/families")
}

/// Directories with a golden.
fn directories() -> Vec<PathBuf> {
    let root = std::env::var_os("LINNET_GOLDENS").map_or_else(families, PathBuf::from);
    let only = std::env::var("LINNET_GOLDEN").ok();
    let mut found: Vec<PathBuf> = std::fs::read_dir(&root)
        .expect("the goldens are part of the tree")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("golden.json").is_file())
        .filter(|path| only.as_ref().is_none_or(|only| path.ends_with(only)))
        .collect();
    found.sort();
    found
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("it is there")).expect("it is JSON")
}

/// A row of the table: what was run, and how it went.
struct Row {
    directory: String,
    family: String,
    layout: String,
    dtype: String,
    reference: String,
    outcome: Result<Outcome, String>,
}

impl Row {
    fn within(&self) -> Result<(), String> {
        match &self.outcome {
            Ok(outcome) => outcome.within(&self.dtype),
            Err(reason) => Err(reason.clone()),
        }
    }
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for dir in directories() {
        let golden = json(&dir.join("golden.json"));
        let config = json(&dir.join("config.json"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for own in golden["runs"].as_array().into_iter().flatten() {
            let Some(outcome) = run(&dir, &golden, own, &config) else { continue };
            let row = Row {
                directory: dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                family: text(&golden["family"]),
                layout: text(&golden["layout"]),
                dtype: text(&own["dtype"]),
                reference: text(&own["reference"]),
                outcome,
            };
            match &row.outcome {
                Ok(outcome) => eprintln!("{} {}: {outcome}", row.directory, row.dtype),
                Err(reason) => eprintln!("{} {}: {reason}", row.directory, row.dtype),
            }
            rows.push(row);
        }
    }
    rows
}

/// The table of `docs/fidelity.md`.
fn table(rows: &[Row]) -> String {
    let mut out = String::from(
        "| model | family | layout | type | reference | ids equal | largest error |\n|---|---|---|---|---|---|---|\n",
    );
    for Row { directory, family, layout, dtype, reference, outcome } in rows {
        let (ids, error) = match outcome {
            Ok(Outcome { steps: 0, worst, .. }) => ("–".to_owned(), format!("{worst:.1e}")),
            Ok(Outcome { steps, equal, worst, .. }) => (format!("{equal} of {steps}"), format!("{worst:.1e}")),
            Err(reason) => ("–".to_owned(), reason.replace('|', "/")),
        };
        let _ = writeln!(out, "| {directory} | {family} | {layout} | {dtype} | {reference} | {ids} | {error} |");
    }
    out
}

#[test]
fn every_family_answers_as_the_reference_does() {
    let rows = rows();
    if let Some(path) = std::env::var_os("LINNET_FIDELITY") {
        std::fs::write(path, table(&rows)).expect("the table can be written");
    }
    assert!(!rows.is_empty(), "there are no goldens");
    let failures: Vec<String> = rows
        .iter()
        .filter_map(|row| Some(format!("{} {}: {}", row.directory, row.dtype, row.within().err()?)))
        .collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), rows.len(), failures.join("\n"));
}
