//! The state of a corpus directory: what was begun, what is finished, where to go on.
//!
//! `synth.json` says what the corpus is made from, `manifest.jsonl` grows by one row for each finished utterance, in order,
//! and `wav/<thousands>/<number>.wav` are whole files. A row is written after its file, so that after a kill at any moment
//! the rows that can be read, with their files, are a beginning of the corpus.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::effects::Effects;
use crate::audio_header;
use crate::error::{Failure, Result};
use crate::manifest::Row;
use crate::{output, text};

/// Rows between two syncs to the disk.
const SYNC_EVERY: u64 = 500;

/// What decides every sample of a corpus. The number of hours is no part of it: a longer corpus begins like a shorter one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Version of the voices, effects and draws; a change of any of them counts it up.
    pub version: u32,
    /// Which draw.
    pub seed: u64,
    /// SHA-256 of all sentences.
    pub text_sha256: String,
    /// SHA-256 of the voices' ids.
    pub voices_sha256: String,
    /// How much is done to the voices.
    pub effects: Effects,
    /// Whether it is made of held-out sentences by held-out voices.
    pub held_out: bool,
}

/// An open corpus directory.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    manifest: File,
    next: u64,
    seconds: f64,
    rows: u64,
    lock: File,
}

impl Journal {
    /// Opens or begins a corpus. Refuses a directory in use, and one that was begun with another recipe.
    pub fn open(dir: &Path, recipe: &Recipe) -> Result<Self> {
        output::create_dir(&dir.join("wav"))?;
        let lock_path = dir.join("synth.lock");
        let lock = File::create(&lock_path).map_err(|e| Failure::write(&lock_path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::usage(format!("{}: another linnet-train is at work here", dir.display())));
            }
            Err(TryLockError::Error(e)) => return Err(Failure::write(&lock_path, e)),
        }
        check_recipe(&dir.join("synth.json"), recipe)?;
        let path = Self::manifest_path(dir);
        let (next, rows, seconds, good_bytes) = if path.exists() { finished(dir, &path)? } else { (0, 0, 0.0, 0) };
        let failed = |e| Failure::write(&path, e);
        let manifest = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        // A row that a kill cut short, and everything from the first damaged file on, is made again.
        manifest.set_len(good_bytes).map_err(failed)?;
        Ok(Self { dir: dir.to_owned(), manifest, next, seconds, rows, lock })
    }

    /// Where the manifest stands.
    pub fn manifest_path(dir: &Path) -> PathBuf {
        dir.join("manifest.jsonl")
    }

    /// Number of the first utterance that has no row.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Length of all that has a row, seconds.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Rows in the manifest.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes the row of utterance number [`Self::next`].
    pub fn append(&mut self, text: &str, speaker: &str, seconds: f64) -> Result<()> {
        let row = Row {
            audio: audio_path(self.next),
            text: Some(text.to_owned()),
            speaker: Some(speaker.to_owned()),
            seconds: Some(seconds),
        };
        let mut line = serde_json::to_string(&row).map_err(|e| Failure::software(e.to_string()))?;
        line.push('\n');
        self.manifest.write_all(line.as_bytes()).map_err(|e| Failure::write(&Self::manifest_path(&self.dir), e))?;
        self.seconds += seconds;
        self.rows += 1;
        self.next += 1;
        if self.rows.is_multiple_of(SYNC_EVERY) { self.sync() } else { Ok(()) }
    }

    /// Passes over utterance number [`Self::next`], which could not be made.
    pub fn pass_over(&mut self) {
        self.next += 1;
    }

    /// Forces the rows to the disk.
    pub fn sync(&self) -> Result<()> {
        self.manifest.sync_all().map_err(|e| Failure::write(&Self::manifest_path(&self.dir), e))
    }

    /// Removes the files of utterances from [`Self::next`] on, which workers made beyond the end.
    pub fn remove_surplus(&self, made_before: u64) {
        for number in self.next..made_before {
            let _ = std::fs::remove_file(self.dir.join(audio_path(number)));
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Closing the file is not enough: a voice program that is just being started holds a copy of it.
        let _ = self.lock.unlock();
    }
}

/// `wav/012/012345.wav`.
pub fn audio_path(number: u64) -> PathBuf {
    PathBuf::from(format!("wav/{:03}/{number:06}.wav", number / 1000))
}

fn check_recipe(path: &Path, recipe: &Recipe) -> Result<()> {
    if !path.exists() {
        let json = serde_json::to_string_pretty(recipe).map_err(|e| Failure::software(e.to_string()))?;
        return output::write_whole(path, json.as_bytes());
    }
    let json = std::fs::read(path).map_err(|e| Failure::read(path, e))?;
    let wrong = |e: serde_json::Error| Failure::data(format!("{}: {e}; choose an empty directory", path.display()));
    let begun: Recipe = serde_json::from_slice(&json).map_err(wrong)?;
    if begun == *recipe {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{}: this corpus was begun with another text, seed, set of voices or effects; give the same again, or choose an \
         empty directory",
        path.display()
    )))
}

/// Next number, rows, seconds, and bytes of the manifest's good beginning.
fn finished(dir: &Path, path: &Path) -> Result<(u64, u64, f64, u64)> {
    let content = std::fs::read(path).map_err(|e| Failure::read(path, e))?;
    let (mut next, mut rows, mut seconds, mut good_bytes) = (0, 0, 0.0, 0);
    for line in content.split_inclusive(|&b| b == b'\n') {
        let Some(line_seconds) = good_row(dir, line, next) else { break };
        let (number, row_seconds) = line_seconds;
        next = number + 1;
        rows += 1;
        seconds += row_seconds;
        good_bytes += line.len() as u64;
    }
    Ok((next, rows, seconds, good_bytes))
}

/// Number and seconds of a whole row whose file is whole.
fn good_row(dir: &Path, line: &[u8], least_number: u64) -> Option<(u64, f64)> {
    let row: Row = serde_json::from_slice(line.strip_suffix(b"\n")?).ok()?;
    let number: u64 = row.audio.file_stem()?.to_str()?.parse().ok()?;
    let whole = audio_header::read(&dir.join(&row.audio)).ok()?.is_some();
    let text_is_good = text::stranger(row.text.as_deref()?).is_none();
    (number >= least_number && audio_path(number) == row.audio && whole && text_is_good)
        .then_some((number, row.seconds?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::wav;

    fn recipe(seed: u64) -> Recipe {
        let (text_sha256, voices_sha256) = ("t".into(), "v".into());
        Recipe { version: 1, seed, text_sha256, voices_sha256, effects: Effects::Full, held_out: false }
    }

    /// A corpus of `count` utterances, every third of them passed over.
    fn corpus(count: u64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        let mut journal = Journal::open(dir.path(), &recipe(1)).expect("begun");
        std::fs::create_dir_all(dir.path().join("wav/000")).expect("made");
        for number in 0..count {
            if number % 3 == 2 {
                journal.pass_over();
                continue;
            }
            wav::write(&dir.path().join(audio_path(number)), &[0.1; 1600]).expect("written");
            journal.append("a b", "flite:slt", 0.1).expect("appended");
        }
        dir
    }

    #[test]
    fn an_opened_corpus_goes_on_where_it_stood() {
        let dir = corpus(8);
        let journal = Journal::open(dir.path(), &recipe(1)).expect("opened");
        assert_eq!((journal.next(), journal.rows()), (8, 6));
        assert!((journal.seconds() - 0.6).abs() < 1e-9);
    }

    #[test]
    fn a_manifest_cut_anywhere_gives_a_whole_beginning() {
        let dir = corpus(5);
        let path = Journal::manifest_path(dir.path());
        let whole = std::fs::read(&path).expect("read");
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).expect("written");
            let journal = Journal::open(dir.path(), &recipe(1)).expect("opened");
            let lines = whole[..len].iter().filter(|&&b| b == b'\n').count() as u64;
            assert_eq!(journal.rows(), lines, "cut at {len}");
            let kept = std::fs::read(&path).expect("read");
            assert_eq!(kept, whole[..kept.len()]);
        }
    }

    #[test]
    fn a_damaged_file_is_made_again_with_all_that_follow() {
        let dir = corpus(5);
        std::fs::write(dir.path().join(audio_path(1)), b"RIFF").expect("written");
        let journal = Journal::open(dir.path(), &recipe(1)).expect("opened");
        assert_eq!((journal.next(), journal.rows()), (1, 1));
    }

    #[test]
    fn another_recipe_and_a_second_writer_are_refused() {
        let dir = corpus(1);
        let error = Journal::open(dir.path(), &recipe(2)).expect_err("another seed");
        assert!(error.to_string().contains("another text, seed"), "{error}");
        let _first = Journal::open(dir.path(), &recipe(1)).expect("opened");
        let error = Journal::open(dir.path(), &recipe(1)).expect_err("in use");
        assert!(error.to_string().contains("at work here"), "{error}");
    }
}
