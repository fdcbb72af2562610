//! `pairs`: sentence pairs for training, validation and test, divided by sentence.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use clap::Args;
use sha2::{Digest, Sha256};

use crate::data::text::{self, Pair};
use crate::error::{Failure, Result};
use crate::heldout::{HeldOut, digest};
use crate::manifest::Purpose;
use crate::output;
use crate::text::normalize;

/// Most characters of a sentence.
const MOST_CHARS: usize = 200;

/// Arguments of `linnet-train pairs`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  linnet-train pairs --tsv deu.tsv --out data/en-de\n\nWhich sentences are for validation and test stands in \
    trainer/heldout/translation.sha256; --write-lists draws them anew (then build again, since the lists are compiled in)."
)]
pub struct PairsArgs {
    /// Pairs, tab-separated: source, target.
    #[arg(long, value_name = "FILE")]
    pub tsv: PathBuf,
    /// Directory for train.tsv, valid.tsv and test.tsv.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Draw the held-out sentences and write their list into this directory; nothing else is written.
    #[arg(long, value_name = "DIR")]
    pub write_lists: Option<PathBuf>,
    /// Source sentences to draw for the test.
    #[arg(long, default_value_t = 1000)]
    pub test: usize,
    /// Source sentences to draw for validation.
    #[arg(long, default_value_t = 500)]
    pub valid: usize,
}

/// Runs `pairs`.
pub fn run(args: PairsArgs) -> Result<()> {
    let mut seen = HashSet::new();
    let mut pairs = text::pairs(&args.tsv, Purpose::Training, &HeldOut::default())?.kept;
    pairs.retain(|pair| fits(pair) && seen.insert((pair.source.clone(), pair.target.clone())));
    let by_source = draw(&pairs);
    if by_source.len() < args.test + args.valid {
        let message = format!("{}: it has {} sentences only", args.tsv.display(), by_source.len());
        return Err(Failure::data(message));
    }
    if let Some(dir) = &args.write_lists {
        return write_list(dir, &by_source[..args.test + args.valid], &pairs);
    }
    let held_out = HeldOut::committed();
    let hidden = |pair: &Pair| [&pair.source, &pair.target].iter().any(|side| held_out.hides_text(&normalize(side)));
    let train: Vec<&Pair> = pairs.iter().filter(|pair| !hidden(pair)).collect();
    write(&args.out.join("train.tsv"), &train)?;
    // The first pair of each drawn sentence.
    let mut first: BTreeMap<String, &Pair> = BTreeMap::new();
    for pair in &pairs {
        first.entry(normalize(&pair.source)).or_insert(pair);
    }
    let listed = |range: &[String]| -> Vec<&Pair> {
        range
            .iter()
            .filter(|source| held_out.is_listed(source))
            .filter_map(|source| first.get(source).copied())
            .collect()
    };
    let (test, valid) = (listed(&by_source[..args.test]), listed(&by_source[args.test..args.test + args.valid]));
    if test.is_empty() || valid.is_empty() {
        return Err(Failure::data(format!(
            "{}: its drawn sentences are not on the lists that this program was built with; draw lists for it with --write-lists",
            args.tsv.display()
        )));
    }
    write(&args.out.join("test.tsv"), &test)?;
    write(&args.out.join("valid.tsv"), &valid)
}

/// Both sides are sentences of a usual length, and of like lengths.
fn fits(pair: &Pair) -> bool {
    let (source, target) = (pair.source.chars().count(), pair.target.chars().count());
    let words = |text: &str| !normalize(text).is_empty();
    source.max(target) <= MOST_CHARS
        && source.max(target) <= 3 * source.min(target) + 20
        && words(&pair.source)
        && words(&pair.target)
}

/// The normalised sources in the order of their digests, which depends on nothing else.
fn draw(pairs: &[Pair]) -> Vec<String> {
    let sources: BTreeSet<String> = pairs.iter().map(|pair| normalize(&pair.source)).collect();
    let key =
        |text: &String| -> [u8; 32] { Sha256::new().chain_update("pairs\0").chain_update(text).finalize().into() };
    let mut sources: Vec<([u8; 32], String)> = sources.into_iter().map(|text| (key(&text), text)).collect();
    sources.sort_unstable();
    sources.into_iter().map(|(_, text)| text).collect()
}

fn write(path: &Path, pairs: &[&Pair]) -> Result<()> {
    let lines: String = pairs.iter().map(|pair| format!("{}\t{}\n", pair.source, pair.target)).collect();
    output::write_whole(path, lines.as_bytes())?;
    println!("{}: {} pairs", path.display(), pairs.len());
    Ok(())
}

/// The drawn sources and all their targets.
fn write_list(dir: &Path, sources: &[String], pairs: &[Pair]) -> Result<()> {
    let drawn: HashSet<&String> = sources.iter().collect();
    let mut digests: BTreeSet<String> = sources.iter().map(|text| hex::encode(digest(text))).collect();
    for pair in pairs {
        if drawn.contains(&normalize(&pair.source)) {
            digests.insert(hex::encode(digest(&normalize(&pair.target))));
        }
    }
    let what = "Sentences that judge and choose translators, both sides; no model is trained on them.";
    write_digests(&dir.join("translation.sha256"), what, "pairs", &digests)
}

/// Writes a list of digests.
pub fn write_digests(path: &Path, what: &str, verb: &str, digests: &BTreeSet<String>) -> Result<()> {
    let mut list =
        format!("# {what}\n# SHA-256 of the normalised text, one a line (`linnet-train {verb} --write-lists`).\n");
    digests.iter().for_each(|digest| list.extend([digest.as_str(), "\n"]));
    output::write_whole(path, list.as_bytes())?;
    println!("{}: {} texts", path.display(), digests.len());
    Ok(())
}
