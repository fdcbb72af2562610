//! `documents`: stories and books for training, validation and test, divided by story.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use sha2::{Digest, Sha256};

use crate::data::text::DOCUMENT_END;
use crate::error::{Failure, Result};
use crate::heldout::{HeldOut, digest};
use crate::output;
use crate::parallel::write_digests;
use crate::sources::between_marks;
use crate::text::normalize;

/// Arguments of `linnet-train documents`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  linnet-train documents --stories tiny_stories.txt --book alice.txt --book grimm.txt --out data/stories\n\n\
    Which stories are for validation and test stands in trainer/heldout/stories.sha256; --write-lists draws them anew (then build \
    again, since the lists are compiled in)."
)]
pub struct DocumentsArgs {
    /// Stories one after another, each beginning on a new line; blank lines part the paragraphs of one.
    #[arg(long, value_name = "FILE")]
    pub stories: PathBuf,
    /// A book, for training only; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub book: Vec<PathBuf>,
    /// Directory for stories.txt, books.txt, valid.txt and test.txt.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Draw the held-out stories and write their list into this directory; nothing else is written.
    #[arg(long, value_name = "DIR")]
    pub write_lists: Option<PathBuf>,
    /// Stories to draw for the test.
    #[arg(long, default_value_t = 40)]
    pub test: usize,
    /// Stories to draw for validation.
    #[arg(long, default_value_t = 20)]
    pub valid: usize,
}

/// Runs `documents`.
pub fn run(args: DocumentsArgs) -> Result<()> {
    let content = std::fs::read(&args.stories).map_err(|error| Failure::read(&args.stories, error))?;
    let stories = stories(&String::from_utf8_lossy(&content));
    let mut drawn: Vec<([u8; 32], &String)> = stories.iter().map(|story| (key(story), story)).collect();
    drawn.sort_unstable();
    drawn.truncate(args.test + args.valid);
    if let Some(dir) = &args.write_lists {
        let digests: BTreeSet<String> = drawn.iter().map(|(_, story)| hex::encode(digest(&normalize(story)))).collect();
        let what = "Stories that judge and choose writers of text; no model is trained on them.";
        return write_digests(&dir.join("stories.sha256"), what, "documents", &digests);
    }
    let held_out = HeldOut::committed();
    let listed = |story: &&String| held_out.is_listed(&normalize(story));
    let drawn: Vec<&String> = drawn.into_iter().map(|(_, story)| story).filter(listed).collect();
    if drawn.len() < args.test + args.valid {
        return Err(Failure::data(format!(
            "{}: its drawn stories are not on the lists that this program was built with; draw lists for it with --write-lists",
            args.stories.display()
        )));
    }
    let train: Vec<&String> = stories.iter().filter(|story| !listed(story)).collect();
    write(&args.out.join("stories.txt"), &train)?;
    write(&args.out.join("test.txt"), &drawn[..args.test])?;
    write(&args.out.join("valid.txt"), &drawn[args.test..])?;
    let books: Vec<String> = args.book.iter().map(|path| book(path)).collect::<Result<_>>()?;
    if books.is_empty() {
        return Ok(());
    }
    write(&args.out.join("books.txt"), &books.iter().collect::<Vec<_>>())
}

fn key(story: &str) -> [u8; 32] {
    Sha256::new().chain_update("documents\0").chain_update(normalize(story)).finalize().into()
}

/// Stories of a file in which a new line begins a story and a blank line a paragraph; without repeats.
fn stories(content: &str) -> Vec<String> {
    let mut stories: Vec<String> = Vec::new();
    let mut blank = false;
    for line in content.lines().map(str::trim) {
        if line.is_empty() {
            blank = true;
            continue;
        }
        match stories.last_mut() {
            Some(story) if blank => {
                story.push_str("\n\n");
                story.push_str(line);
            }
            _ => stories.push(line.to_owned()),
        }
        blank = false;
    }
    let mut seen = BTreeSet::new();
    stories.retain(|story| seen.insert(normalize(story)));
    stories
}

/// A book's paragraphs, each one line, blank lines between; headings and what is no prose left out.
fn book(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|error| Failure::read(path, error))?;
    // Old files of Project Gutenberg are in Latin-1.
    let content =
        String::from_utf8(bytes).unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect());
    let content =
        content.replace(['\u{2018}', '\u{2019}'], "'").replace(['\u{201c}', '\u{201d}'], "\"").replace(['_', '\r'], "");
    let paragraphs =
        between_marks(&content).split("\n\n").map(|lines| lines.split_whitespace().collect::<Vec<_>>().join(" "));
    let prose = |text: &String| {
        text.len() >= 40
            && text.chars().any(char::is_lowercase)
            && text.ends_with(['.', '!', '?', '"', '\'', ':', ';', ',', '-'])
    };
    Ok(paragraphs.filter(prose).collect::<Vec<_>>().join("\n\n"))
}

fn write<T: AsRef<str>>(path: &Path, documents: &[T]) -> Result<()> {
    let content: String = documents.iter().map(|text| format!("{}\n{DOCUMENT_END}\n", text.as_ref())).collect();
    output::write_whole(path, content.as_bytes())?;
    println!("{}: {} documents, {} characters", path.display(), documents.len(), content.chars().count());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_line_begins_a_story_and_a_blank_line_a_paragraph() {
        let found = stories("One day.\n\nThen.\nOnce upon.\nOnce upon.\n\n\nThe end.\n");
        assert_eq!(found, ["One day.\n\nThen.", "Once upon.", "Once upon.\n\nThe end."]);
    }
}
