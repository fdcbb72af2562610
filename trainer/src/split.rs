//! `split`: one reader's recordings into training, validation and test sets, by text and never by recording.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use sha2::{Digest, Sha256};

use crate::bad::{BadRows, OnBad};
use crate::error::{Failure, Result};
use crate::heldout;
use crate::manifest::{self, Manifest, Purpose, Row, Utterance};
use crate::output;
use crate::text;

/// Arguments of `linnet-train split`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  linnet-train split --reader reader/manifest.jsonl --unseen samples/*/manifest.jsonl --out corpus/reader\n\n\
    Which sentences go where stands in the committed lists; --write-lists draws them anew (rebuild afterwards)."
)]
pub struct SplitArgs {
    /// Manifest of the reader.
    #[arg(long, value_name = "FILE")]
    pub reader: PathBuf,
    /// Manifests of people that no model hears in training.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub unseen: Vec<PathBuf>,
    /// Directory for `train.jsonl`, `valid.jsonl`, `test.jsonl` and `unseen.jsonl`.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Draw the lists anew and write them into this directory, in place of the manifests.
    #[arg(long, value_name = "DIR")]
    pub write_lists: Option<PathBuf>,
    /// Texts of the project's own recordings, held out too when the lists are drawn.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub own: Vec<PathBuf>,
    /// Which draw.
    #[arg(long, default_value = "linnet-split-1")]
    pub seed: String,
    /// What to do with a bad row.
    #[arg(long, value_enum, default_value_t)]
    pub on_bad: OnBad,
}

/// Share of the reader's sentences that judge the model at the end.
const TEST_SHARE: f64 = 0.08;
/// Share that chooses between models.
const VALID_SHARE: f64 = 0.04;

/// Where a sentence belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Train,
    Valid,
    Test,
}

/// Runs `split`.
pub fn run(args: SplitArgs) -> Result<()> {
    let mut bad = BadRows::new(args.on_bad);
    let reader = manifest::read(&args.reader, Purpose::Evaluation, &mut bad)?;
    let mut unseen = Vec::new();
    for path in &args.unseen {
        unseen.extend(manifest::read(path, Purpose::Evaluation, &mut bad)?.utterances);
    }
    if let Some(summary) = bad.summary() {
        eprintln!("{summary}");
    }
    match &args.write_lists {
        Some(dir) => write_lists(dir, &args, &reader, &unseen),
        None => write_manifests(&args, &reader, &unseen),
    }
}

fn write_manifests(args: &SplitArgs, reader: &Manifest, unseen: &[Utterance]) -> Result<()> {
    let test = heldout::HeldOut::parse("", include_str!("../heldout/sentences.sha256"));
    let valid = heldout::HeldOut::parse("", include_str!("../heldout/validation.sha256"));
    let part = |u: &&Utterance| {
        if test.hides_text(&u.text) {
            Part::Test
        } else if valid.hides_text(&u.text) {
            Part::Valid
        } else {
            Part::Train
        }
    };
    let mut manifests = Vec::new();
    for (wanted, name) in [(Part::Train, "train"), (Part::Valid, "valid"), (Part::Test, "test")] {
        let rows: Vec<&Utterance> = reader.utterances.iter().filter(|u| part(u) == wanted).collect();
        if rows.is_empty() && wanted != Part::Train {
            return Err(Failure::data(format!(
                "{} has no sentence of the committed {name} list; draw lists for it with --write-lists",
                args.reader.display()
            )));
        }
        manifests.push((args.out.join(name).with_extension("jsonl"), manifest_of(&rows)?));
    }
    if !unseen.is_empty() {
        manifests.push((args.out.join("unseen.jsonl"), manifest_of(&unseen.iter().collect::<Vec<_>>())?));
    }
    // Only now: a part that is refused must leave no other part behind, which would be trained on.
    for (path, (lines, what)) in manifests {
        output::write_whole(&path, lines.as_bytes())?;
        println!("{}: {what}", path.display());
    }
    Ok(())
}

/// A manifest's lines, and what it holds in words.
fn manifest_of(utterances: &[&Utterance]) -> Result<(String, String)> {
    let mut lines = String::new();
    for u in utterances {
        let audio = std::path::absolute(&u.audio).map_err(|e| Failure::read(&u.audio, e))?;
        let row = Row {
            audio,
            text: Some(u.text.clone()),
            speaker: Some(u.speaker.clone()),
            seconds: Some((u.seconds * 1000.0).round() / 1000.0),
        };
        lines.push_str(&serde_json::to_string(&row).map_err(|e| Failure::software(e.to_string()))?);
        lines.push('\n');
    }
    let seconds: f64 = utterances.iter().map(|u| u.seconds).sum();
    let sentences: BTreeSet<&str> = utterances.iter().map(|u| u.text.as_str()).collect();
    let what = format!("{} recordings of {} sentences, {:.2} h", utterances.len(), sentences.len(), seconds / 3600.0);
    Ok((lines, what))
}

fn write_lists(dir: &Path, args: &SplitArgs, reader: &Manifest, unseen: &[Utterance]) -> Result<()> {
    let mut test = BTreeSet::new();
    let mut valid = BTreeSet::new();
    for u in &reader.utterances {
        let digest = hex::encode(heldout::digest(&u.text));
        match draw(&args.seed, &u.text) {
            Part::Test => test.insert(digest),
            Part::Valid => valid.insert(digest),
            Part::Train => false,
        };
    }
    test.extend(unseen.iter().map(|u| hex::encode(heldout::digest(&u.text))));
    for path in &args.own {
        text::for_each_line(path, |_, line| {
            let text = text::normalize(&line);
            if !text.is_empty() {
                test.insert(hex::encode(heldout::digest(&text)));
            }
            Ok(())
        })?;
    }
    let lists = [
        ("sentences.sha256", test, "Sentences that judge a finished model; no model is trained on them."),
        ("validation.sha256", valid, "Sentences that choose between models; no model is trained on them."),
    ];
    for (name, digests, what) in lists {
        let mut list =
            format!("# {what}\n# SHA-256 of the normalised text, one a line (`linnet-train split --write-lists`).\n");
        digests.iter().for_each(|digest| list.extend([digest.as_str(), "\n"]));
        output::write_whole(&dir.join(name), list.as_bytes())?;
        println!("{}: {} sentences", dir.join(name).display(), digests.len());
    }
    Ok(())
}

/// The same for all recordings of one text.
fn draw(seed: &str, text: &str) -> Part {
    let hash = Sha256::new().chain_update(seed).chain_update([0]).chain_update(text).finalize();
    let place = f64::from(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])) / (f64::from(u32::MAX) + 1.0);
    match place {
        p if p < TEST_SHARE => Part::Test,
        p if p < TEST_SHARE + VALID_SHARE => Part::Valid,
        _ => Part::Train,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_that_is_refused_writes_no_manifest() {
        let home = tempfile::tempdir().expect("a directory");
        let utterance = |text: &str| Utterance {
            audio: home.path().join("a.wav"),
            text: text.into(),
            speaker: "reader".into(),
            seconds: 1.0,
            line: 1,
        };
        // Sentences of no list: all of them would be trained on.
        let utterances = vec![utterance("nobody has put this sentence on a list"), utterance("nor this one")];
        let reader = Manifest { path: home.path().join("reader.jsonl"), utterances, held_out: 0 };
        let args = SplitArgs {
            reader: reader.path.clone(),
            unseen: Vec::new(),
            out: home.path().join("out"),
            write_lists: None,
            own: Vec::new(),
            seed: String::new(),
            on_bad: OnBad::default(),
        };
        let error = write_manifests(&args, &reader, &[]).expect_err("no sentence of the lists");
        assert!(error.to_string().contains("--write-lists"), "{error}");
        assert!(!args.out.exists(), "nothing is left behind");
    }

    #[test]
    fn a_draw_has_the_wanted_shares_and_depends_on_the_text_only() {
        let parts: Vec<Part> = (0..20_000).map(|i| draw("s", &format!("sentence {i}"))).collect();
        let share = |wanted| parts.iter().filter(|&&p| p == wanted).count() as f64 / parts.len() as f64;
        assert!((share(Part::Test) - TEST_SHARE).abs() < 0.01 && (share(Part::Valid) - VALID_SHARE).abs() < 0.01);
        assert_eq!(draw("s", "sentence 7"), parts[7]);
        assert!((0..100).any(|i| draw("other", &format!("sentence {i}")) != parts[i]));
    }
}
