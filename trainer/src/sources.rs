//! `text`: a list of sentences, one a line, from books, translation pairs and intent data sets.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Failure, Result};
use crate::heldout::HeldOut;
use crate::manifest::Purpose;
use crate::output;
use crate::text::{self, Sentences};

/// Largest file that is read, bytes.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Arguments of `linnet-train text`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  linnet-train text books/*.txt pairs/deu.tsv=40000 intents/*.json --out sentences.txt\n\n\
    What a file is, its ending says: .txt prose, .tsv pairs with the wanted language first, .json an intent data set \
    (every string under `text`, joined within a list; of lists of pairs the first string), .yaml lists of quoted sentences."
)]
pub struct TextArgs {
    /// Files to take sentences from; `=N` takes at most N of one.
    #[arg(required = true, value_name = "FILE[=N]")]
    pub files: Vec<String>,
    /// Where to write the list.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Fewest words of a sentence.
    #[arg(long, default_value_t = 3)]
    pub least_words: usize,
    /// Most words of a sentence.
    #[arg(long, default_value_t = 14)]
    pub most_words: usize,
    /// Take the held-out sentences and no others, for evaluation sets.
    #[arg(long, conflicts_with = "drawn")]
    pub held_out: bool,
    /// Set so many sentences aside for evaluation: they go to `--drawn` (then into the lists, by `split --write-lists --own`).
    #[arg(long, default_value_t = 0, requires = "drawn")]
    pub draw: usize,
    /// Where the sentences set aside go.
    #[arg(long, value_name = "FILE")]
    pub drawn: Option<PathBuf>,
}

/// Runs `text`.
pub fn run(args: TextArgs) -> Result<()> {
    run_guarded(&args, HeldOut::committed())
}

fn run_guarded(args: &TextArgs, held_out: &HeldOut) -> Result<()> {
    let purpose = if args.held_out { Purpose::Evaluation } else { Purpose::Training };
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for (place, file) in args.files.iter().enumerate() {
        let (path, most) = file_and_most(file);
        let mut sentences = Sentences::default();
        for (line, raw) in read(&path)?.iter().enumerate() {
            sentences.add(raw, (place, line + 1), purpose, held_out);
        }
        let mut kept = sentences.kept;
        kept.retain(|s| (args.least_words..=args.most_words).contains(&s.split(' ').count()) && !seen.contains(s));
        kept = by_hash(kept, "take", most);
        eprintln!(
            "{}: {} sentences; {} left out by the held-out lists, {} with characters that no unit spells",
            path.display(),
            kept.len(),
            sentences.held_out,
            sentences.strange
        );
        seen.extend(kept.iter().cloned());
        all.extend(kept);
    }
    if let (Some(path), true) = (&args.drawn, args.draw > 0) {
        let drawn = by_hash(all.clone(), "draw", args.draw);
        let drawn_set: HashSet<&String> = drawn.iter().collect();
        all.retain(|s| !drawn_set.contains(s));
        write_lines(path, &drawn)?;
    }
    write_lines(&args.out, &all)
}

fn write_lines(path: &Path, lines: &[String]) -> Result<()> {
    let mut content = lines.join("\n");
    content.push('\n');
    output::write_whole(path, content.as_bytes())?;
    println!("{}: {} sentences", path.display(), lines.len());
    Ok(())
}

/// `a.tsv=500` is at most 500 sentences of `a.tsv`; a file whose name ends so is taken as it is.
fn file_and_most(argument: &str) -> (PathBuf, usize) {
    if !Path::new(argument).exists()
        && let Some((path, most)) = argument.rsplit_once('=')
        && let Ok(most) = most.parse()
    {
        return (path.into(), most);
    }
    (argument.into(), usize::MAX)
}

/// At most `most` sentences, without repeats: those whose digests come first, so that the choice depends on nothing else.
fn by_hash(sentences: Vec<String>, what: &str, most: usize) -> Vec<String> {
    let key = |s: &String| -> [u8; 32] {
        Sha256::new().chain_update(what).chain_update([0]).chain_update(s).finalize().into()
    };
    let mut keyed: Vec<([u8; 32], String)> = sentences.into_iter().map(|s| (key(&s), s)).collect();
    keyed.sort_unstable();
    keyed.dedup();
    keyed.truncate(most);
    keyed.into_iter().map(|(_, s)| s).collect()
}

/// The raw sentences of a file.
fn read(path: &Path) -> Result<Vec<String>> {
    let len = std::fs::metadata(path).map_err(|e| Failure::read(path, e))?.len();
    if len > MAX_FILE_BYTES {
        return Err(Failure::data(format!(
            "{}: it has {len} bytes; at most {MAX_FILE_BYTES} are read",
            path.display()
        )));
    }
    let bytes = std::fs::read(path).map_err(|e| Failure::read(path, e))?;
    let content = String::from_utf8_lossy(&bytes);
    match path.extension().and_then(|e| e.to_str()) {
        Some("txt") => Ok(prose(&content)),
        Some("tsv") => Ok(content.lines().filter_map(|l| l.split('\t').next()).map(str::to_owned).collect()),
        Some("yaml" | "yml") => Ok(quoted_items(&content)),
        Some("json") => {
            let value = serde_json::from_str(&content);
            let value: Value = value.map_err(|e| Failure::data(format!("{}: {e}", path.display())))?;
            let mut found = Vec::new();
            from_json(&value, &mut found);
            Ok(found)
        }
        _ => {
            let message =
                format!("{}: the ending must be .txt, .tsv, .json or .yaml (unpack archives first)", path.display());
            Err(Failure::usage(message))
        }
    }
}

/// Words before whose full stop no sentence ends.
const ABBREVIATIONS: [&str; 12] = ["mr", "mrs", "ms", "dr", "st", "prof", "capt", "col", "gen", "etc", "jr", "vs"];

/// A book without what Project Gutenberg put around it.
pub fn between_marks(content: &str) -> &str {
    let book = content.split("*** START").nth(1).map_or(content, |rest| rest.split_once('\n').map_or(rest, |r| r.1));
    book.split("*** END").next().unwrap_or(book)
}

/// Sentences of running text: paragraphs end at blank lines, sentences at `.`, `!`, `?`, `;` and `:`. What stands outside the
/// marks of Project Gutenberg is its licence and no book.
fn prose(content: &str) -> Vec<String> {
    let book = between_marks(content);
    let mut sentences = Vec::new();
    let mut sentence = String::new();
    let mut end = |sentence: &mut String| {
        let heading = !sentence.chars().any(char::is_lowercase);
        let done = std::mem::take(sentence);
        if !heading {
            sentences.push(done);
        }
    };
    for line in book.lines() {
        if line.trim().is_empty() {
            end(&mut sentence);
        }
        for word in line.split_whitespace() {
            sentence.push_str(word);
            sentence.push(' ');
            let bare = word.trim_end_matches(|c: char| !c.is_alphanumeric() && !".!?;:".contains(c));
            let stem = bare.trim_end_matches(['.', '!', '?', ';', ':']);
            let abbreviation = bare.ends_with('.')
                && (ABBREVIATIONS.contains(&text::normalize(stem).as_str()) || stem.chars().count() == 1);
            if stem.len() < bare.len() && !abbreviation {
                end(&mut sentence);
            }
        }
    }
    end(&mut sentence);
    sentences
}

/// `- "turn on the light"` and `- turn on the light` of a YAML list; templates (`[the] <name>`) are no sentences.
fn quoted_items(content: &str) -> Vec<String> {
    let items = content.lines().filter_map(|line| line.trim_start().strip_prefix("- "));
    let items = items.map(|item| item.trim().trim_matches(['"', '\'']));
    items.filter(|item| !item.contains(['<', '[', '(', '{', '|', ':', '_'])).map(str::to_owned).collect()
}

/// Strings of intent data sets. `{"data": [{"text": "play "}, {"text": "jazz"}]}` (Snips) is one sentence, and so is the first
/// string of `["play jazz", "play_music"]` (CLINC).
fn from_json(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            if let [Value::String(sentence), Value::String(_label)] = &items[..] {
                return found.push(sentence.clone());
            }
            let pieces: Vec<&str> = items.iter().filter_map(|item| item.get("text")?.as_str()).collect();
            if !pieces.is_empty() && pieces.len() == items.len() {
                return found.push(pieces.concat());
            }
            items.iter().for_each(|item| from_json(item, found));
        }
        Value::Object(map) => map.values().for_each(|item| from_json(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_become_sentences_without_headings_and_licence() {
        let book = "Licence text here.\n*** START OF THIS BOOK ***\nCHAPTER ONE\n\n\"Where is Mr. J. Smith?\" he asked;\nnobody\n\
            knew. A new\n\nparagraph\n*** END OF THIS BOOK ***\nMore licence.";
        let found: Vec<String> = prose(book).iter().map(|s| text::normalize(s)).collect();
        assert_eq!(found, ["where is mr j smith", "he asked", "nobody knew", "a new", "paragraph"]);
    }

    #[test]
    fn data_sets_of_intents_give_their_sentences() {
        let json =
            r#"{"A": [{"data": [{"text": "play "}, {"text": "jazz", "entity": "x"}]}], "oos": [["hi there", "oos"]]}"#;
        let mut found = Vec::new();
        from_json(&serde_json::from_str(json).expect("json"), &mut found);
        assert_eq!(found, ["play jazz", "hi there"]);
        let yaml = "tests:\n  - sentences:\n      - \"open the door\"\n      - close it\n      - \"[the] <name>\"\n    intent:\n      name: X\n";
        assert_eq!(quoted_items(yaml), ["open the door", "close it"]);
    }

    #[test]
    fn a_list_has_no_repeat_nothing_held_out_and_only_the_wanted_lengths() {
        let dir = tempfile::tempdir().expect("a directory");
        let (tsv, out, drawn) = (dir.path().join("a.tsv"), dir.path().join("out.txt"), dir.path().join("drawn.txt"));
        let rows = "Go on.\tx\nOpen the door.\ty\nopen the door\tz\nA secret sentence!\tz\nAt \u{43f} the bell rings.\tz\nClose the door\tq\nI see the sea\tu\n";
        std::fs::write(&tsv, rows).expect("written");
        let lists = HeldOut::parse("", &hex::encode(crate::heldout::digest("a secret sentence")));
        let mut args = TextArgs {
            files: vec![tsv.display().to_string()],
            out: out.clone(),
            least_words: 3,
            most_words: 14,
            held_out: false,
            draw: 0,
            drawn: Some(drawn.clone()),
        };
        let lines = |path: &Path| {
            let mut lines: Vec<String> =
                std::fs::read_to_string(path).expect("read").lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        run_guarded(&args, &lists).expect("made");
        assert_eq!(lines(&out), ["close the door", "i see the sea", "open the door"]);
        args.draw = 1;
        run_guarded(&args, &lists).expect("made");
        assert_eq!((lines(&out).len(), lines(&drawn).len()), (2, 1));
        assert!(!lines(&out).contains(&lines(&drawn)[0]));
        args.files = vec![format!("{}=1", tsv.display())];
        args.draw = 0;
        run_guarded(&args, &lists).expect("made");
        assert_eq!(lines(&out).len(), 1);
        args.held_out = true;
        run_guarded(&args, &lists).expect("made");
        assert_eq!(lines(&out), ["a secret sentence"]);
    }
}
