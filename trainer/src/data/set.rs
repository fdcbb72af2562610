//! The rows that a model is trained on or judged by, with their units and features.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;

use super::cache::{Cache, Key};
use super::{MEL_BINS, extract};
use crate::bad::{BadRows, Fault, frames_needed};
use crate::error::Result;
use crate::interrupt;
use crate::manifest::{self, Purpose, Utterance};
use crate::model::EncoderConfig;
use crate::units::Units;

/// One row: where it comes from, what is said, how long it is.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its manifest.
    pub manifest: Arc<Path>,
    /// What the manifest says.
    pub utterance: Utterance,
    /// The text in units.
    pub units: Arc<[u32]>,
    /// Feature frames.
    pub frames: usize,
    /// Where its features lie.
    pub key: Key,
}

impl Item {
    /// `manifest:line`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.manifest.display(), self.utterance.line)
    }
}

/// What turns manifests into items.
pub struct Loader<'a> {
    /// Spells texts.
    pub units: &'a Units,
    /// Says how many frames a text has.
    pub config: &'a EncoderConfig,
    /// Holds features.
    pub cache: &'a mut Cache,
    /// Takes bad rows.
    pub bad: &'a mut BadRows,
    /// Rows that were found bad before: they are left out without being named again.
    pub known_bad: &'a mut HashMap<(PathBuf, usize), Key>,
    /// Whether a progress bar is wanted.
    pub progress: bool,
}

impl Loader<'_> {
    /// Reads a manifest, makes the features that are not there yet, and checks that each text fits into its frames.
    pub fn load(&mut self, path: &Path, purpose: Purpose) -> Result<Vec<Item>> {
        let manifest = manifest::read(path, purpose, self.bad)?;
        let mut rows = Vec::with_capacity(manifest.utterances.len());
        for utterance in manifest.utterances {
            let fault = match (self.units.encode(&utterance.text), Key::of(&utterance.audio)) {
                (Ok(units), Ok(key)) => {
                    if self.known_bad.get(&(path.to_owned(), utterance.line)) != Some(&key) {
                        rows.push((utterance, Arc::<[u32]>::from(units), key));
                    }
                    continue;
                }
                (Err(fault), _) => fault,
                (_, Err(error)) => Fault::MissingAudio(utterance.audio.clone(), error.to_string()),
            };
            self.bad.report(path, utterance.line, &fault)?;
        }
        let faults = self.extract(path, &rows)?;
        let source: Arc<Path> = path.into();
        let mut items = Vec::with_capacity(rows.len());
        for (utterance, units, key) in rows {
            let frames = self.cache.values(&key).unwrap_or(0) / MEL_BINS;
            let (needed, has) = (frames_needed(&units), self.config.output_frames(frames));
            let fault = match faults.get(&key) {
                Some(fault) => fault.clone(),
                None if frames == 0 => {
                    Fault::Audio(utterance.audio.clone(), "it is shorter than one frame of 25 ms".into())
                }
                None if needed > has => Fault::TextTooLong { needed, frames: has },
                None => {
                    items.push(Item { manifest: Arc::clone(&source), utterance, units, frames, key });
                    continue;
                }
            };
            self.bad.report(path, utterance.line, &fault)?;
            self.known_bad.insert((path.to_owned(), utterance.line), key);
        }
        Ok(items)
    }

    fn extract(&mut self, path: &Path, rows: &[(Utterance, Arc<[u32]>, Key)]) -> Result<HashMap<Key, Fault>> {
        let missing: Vec<_> = rows.iter().filter(|(.., key)| !self.cache.has(key)).collect();
        let mut faults = HashMap::new();
        if missing.is_empty() {
            return Ok(faults);
        }
        let bar = if self.progress { ProgressBar::new(missing.len() as u64) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{msg}: features {pos}/{len} {wide_bar} {per_sec}, {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(path.display().to_string());
        // Bounded pieces: what is decoded and not yet written stays small, and an interrupted run keeps what it has.
        for piece in missing.chunks(64) {
            if interrupt::requested() {
                return Err(interrupt::failure("the features made so far are kept"));
            }
            let made: Vec<_> =
                piece.par_iter().map(|(utterance, _, key)| (*key, extract::features(&utterance.audio))).collect();
            for (key, features) in made {
                match features {
                    Ok(values) => self.cache.append(key, &values)?,
                    Err(fault) => drop(faults.insert(key, fault)),
                }
            }
            bar.inc(piece.len() as u64);
        }
        bar.finish_and_clear();
        Ok(faults)
    }
}
