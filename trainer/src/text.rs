//! Text as the models see it, and the only way in which training text is read.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::error::{Failure, Result};
use crate::heldout::HeldOut;
use crate::manifest::Purpose;

pub use linnet_features::text::normalize_text as normalize;

/// Longest line that is read, bytes: a file that is no text must not fill the memory.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// Characters that remain in a text after [`normalize`], the blank between words left out.
pub const ALPHABET: &str = "'abcdefghijklmnopqrstuvwxyz";

/// The first letter or digit of a text as it was written that normalising drops, because no unit spells it: such a text is
/// not what is said.
pub fn stranger(raw: &str) -> Option<char> {
    let dropped = |c: &char| !c.is_ascii() && c.is_alphanumeric() && normalize(c.encode_utf8(&mut [0; 4])).is_empty();
    raw.chars().find(dropped)
}

/// Normalised sentences of text files, one a line, that may be used for a purpose.
#[derive(Debug, Default)]
pub struct Sentences {
    /// The sentences in the order of the files; never empty strings.
    pub kept: Vec<String>,
    /// Where each stands: place of its file in the list of files, and line from 1.
    pub origin: Vec<(usize, usize)>,
    /// Lines left out because they are held out (for evaluation: because they are not).
    pub held_out: usize,
    /// Lines left out because a character has no unit.
    pub strange: usize,
}

impl Sentences {
    /// Reads text files: for training what is not held out, for evaluation only what is. There is no third way.
    pub fn read(files: &[PathBuf], purpose: Purpose, held_out: &HeldOut) -> Result<Self> {
        let mut sentences = Self::default();
        for (place, file) in files.iter().enumerate() {
            for_each_line(file, |line, text| {
                sentences.add(&text, (place, line), purpose, held_out);
                Ok(())
            })?;
        }
        Ok(sentences)
    }

    /// Takes in one line unless the purpose forbids it or it is strange or empty.
    pub fn add(&mut self, line: &str, origin: (usize, usize), purpose: Purpose, held_out: &HeldOut) {
        if stranger(line).is_some() {
            self.strange += 1;
            return;
        }
        let text = normalize(line);
        if text.is_empty() {
            return;
        }
        if held_out.hides_text(&text) != (purpose == Purpose::Evaluation) {
            self.held_out += 1;
        } else {
            self.kept.push(text);
            self.origin.push(origin);
        }
    }
}

/// Calls `take` with each line and its number, from 1. Bytes that are not UTF-8 become U+FFFD.
pub fn for_each_line(path: &Path, mut take: impl FnMut(usize, String) -> Result<()>) -> Result<()> {
    let mut reader = BufReader::new(File::open(path).map_err(|e| Failure::read(path, e))?);
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let read = std::io::Read::take(&mut reader, MAX_LINE_BYTES).read_until(b'\n', &mut bytes);
        if read.map_err(|e| Failure::read(path, e))? == 0 {
            break;
        }
        if bytes.len() as u64 == MAX_LINE_BYTES {
            let message = format!("{}:{number}: the line is longer than {MAX_LINE_BYTES} bytes", path.display());
            return Err(Failure::data(message));
        }
        take(number, String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalised_text_has_only_the_alphabet_and_what_is_dropped_is_found_before() {
        for raw in
            ["Author of the danger trail, Philip Steels, etc.", "Don\u{2019}t 'quote' me: at 5", "caf\u{e9} \u{df}"]
        {
            assert!(normalize(raw).chars().all(|c| c == ' ' || ALPHABET.contains(c)), "{raw}");
            assert_eq!(stranger(raw), None, "{raw}");
        }
        assert_eq!(stranger("say \u{43f}\u{440} twice"), Some('\u{43f}'));
    }

    #[test]
    fn training_and_evaluation_share_no_sentence() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.txt");
        std::fs::write(&path, "Open it.\n\nSecret sentence!\nat \u{43f}\nclose it\n").expect("written");
        let lists = HeldOut::parse("", &hex::encode(crate::heldout::digest("secret sentence")));
        let read = |purpose| Sentences::read(std::slice::from_ref(&path), purpose, &lists).expect("read");
        let training = read(Purpose::Training);
        assert_eq!(training.kept, ["open it", "close it"]);
        assert_eq!(training.origin, [(0, 1), (0, 5)]);
        assert_eq!((training.held_out, training.strange), (1, 1));
        assert_eq!(read(Purpose::Evaluation).kept, ["secret sentence"]);
    }

    #[test]
    fn lines_without_an_end_and_bytes_that_are_no_text_are_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.txt");
        std::fs::write(&path, b"one two\r\n\xff\nthree").expect("written");
        let mut lines = Vec::new();
        let read = for_each_line(&path, |number, line| {
            lines.push((number, line));
            Ok(())
        });
        read.expect("read");
        let wanted = [(1, "one two".to_owned()), (2, "\u{fffd}".to_owned()), (3, "three".to_owned())];
        assert_eq!(lines, wanted);
    }
}
