//! Generations of a fleet on disk: what serves, what served, and what is being fetched, through any power cut.
//!
//! ```text
//! <state>/fleet/
//!   files/<sha256>           content by its digest: packages' files and generations' documents
//!   partial/<sha256>         a download as far as it has come
//!   generations/<N>/         generation.json, packages/<name>/…: hard links of files; `confirmed` once it was
//!   pointers                 which generation serves (live), which was confirmed last (good)
//!   update.json              how far an update has come; the push room's
//!   refused.json             generations that were refused or rolled back
//!   trust.json               trusted metadata; the fleet crate's
//!   instance                 a random name of this device
//! ```
//!
//! Each file beside the directories is replaced whole: a new one beside it (`.new-…`), synced, renamed, and the directory synced. A
//! generation is built under `.new-<N>`, made durable from the inside out, and then renamed. Only one that no pointer names is
//! removed, and whatever is pointed to is held against its document first. A power cut alone never makes [`GenerationStore::open`]
//! find damage: the tests cut every operation and drop what was not synced. What it does find (a failing card, a hand that edited)
//! leads back to the last good generation, and is told.
//!
//! Nothing is written that is there already, and nothing at all while nothing happens.

pub mod bounds;
mod collect;
mod error;
#[cfg(test)]
pub(crate) mod faulty;
mod files;
pub mod fs;
mod install;
mod open;
mod pointers;
mod refused;
pub mod serving;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use linnet_proto::fleet::{Attempt, Generation};

use bounds::{FREE_MARGIN_BYTES, MAX_GENERATION_BYTES, MAX_STATE_BYTES, MAX_TRUST_BYTES, SYNC_EVERY_BYTES};
pub use error::StoreError;
pub use files::Reserved;
use fs::{Disk, RealDisk};
pub use open::Opened;
pub use pointers::{Pointer, Pointers};
use refused::Refused;
use sha2::{Digest, Sha256};

const FILES: &str = "files";
const PARTIAL: &str = "partial";
const GENERATIONS: &str = "generations";
const POINTERS: &str = "pointers";
const UPDATE: &str = "update.json";
const REFUSED: &str = "refused.json";
const TRUST: &str = "trust.json";
const INSTANCE: &str = "instance";
/// In a generation's directory.
const DOCUMENT: &str = "generation.json";
const PACKAGES: &str = "packages";
const CONFIRMED: &str = "confirmed";
/// Before the name of what is being made. Whatever begins with a dot is thrown away at the next opening.
const NEW: &str = ".new-";

/// What differs between a device and a test.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// See [`bounds::FREE_MARGIN_BYTES`].
    pub free_margin_bytes: u64,
    /// See [`bounds::SYNC_EVERY_BYTES`]; at least 1.
    pub sync_every_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { free_margin_bytes: FREE_MARGIN_BYTES, sync_every_bytes: SYNC_EVERY_BYTES }
    }
}

/// The generations of one device. One process opens them at a time: the lock of the state directory sees to that.
pub struct GenerationStore {
    disk: Box<dyn Disk>,
    options: Options,
    pointers: Pointers,
    refused: Refused,
    instance: String,
    /// `update.json` as it lies on the disk.
    update: Option<Vec<u8>>,
    /// Downloads that this process has touched: how far they are trusted.
    partial: BTreeMap<String, files::Partial>,
    /// Downloads that have got their room, and with it a durable name.
    named: BTreeSet<String>,
    bytes_written: u64,
}

impl std::fmt::Debug for GenerationStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GenerationStore")
            .field("root", &self.disk.root())
            .field("pointers", &self.pointers)
            .finish_non_exhaustive()
    }
}

impl GenerationStore {
    /// The generation that serves; 0 is what was shipped.
    pub fn live(&self) -> u64 {
        self.pointers.live.generation
    }

    /// The generation that was confirmed last; 0 is what was shipped.
    pub fn good(&self) -> u64 {
        self.pointers.good.generation
    }

    /// Both, with their digests.
    pub fn pointers(&self) -> &Pointers {
        &self.pointers
    }

    /// Random, made once on this device: 32 hexadecimal digits.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Bytes of content that were written since the store was opened; names and the file system's own records are not counted.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Bytes that may still be written to the disk.
    pub fn free_bytes(&self) -> Result<u64, StoreError> {
        self.disk.free_bytes().map_err(|e| self.read_error("", e))
    }

    /// Where an installed generation's packages lie: a directory of packages, each under its name.
    pub fn packages_dir(&self, generation: u64) -> PathBuf {
        self.path(&format!("{GENERATIONS}/{generation}/{PACKAGES}"))
    }

    /// Reads an installed generation's document.
    pub fn installed(&self, generation: u64) -> Result<Generation, StoreError> {
        let not_whole = |reason| StoreError::NotWhole { generation, reason };
        let document = self.installed_document(generation)?;
        Generation::parse(&document).map_err(|e| not_whole(e.to_string()))
    }

    fn installed_document(&self, generation: u64) -> Result<Vec<u8>, StoreError> {
        let path = format!("{GENERATIONS}/{generation}/{DOCUMENT}");
        self.disk.read(&path, MAX_GENERATION_BYTES).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => StoreError::NotWhole { generation, reason: format!("it has no {DOCUMENT}") },
            _ => self.read_error(&path, e),
        })
    }

    /// Lets a generation serve, on trial: the last good one stays. It must be whole.
    pub fn set_live(&mut self, generation: u64) -> Result<(), StoreError> {
        if generation == self.live() {
            return Ok(());
        }
        let live = if generation == self.good() {
            self.pointers.good.clone()
        } else {
            let sha256 = self.check_whole(generation, None)?;
            Pointer { generation, sha256 }
        };
        self.point(Pointers::of(live, self.pointers.good.clone()))
    }

    /// What serves becomes the last good one.
    pub fn confirm(&mut self) -> Result<(), StoreError> {
        let live = self.live();
        if live == self.good() {
            return Ok(());
        }
        // First the mark, by which the last good generation is found when the pointers are lost.
        let directory = format!("{GENERATIONS}/{live}");
        let mark = format!("{directory}/{CONFIRMED}");
        if self.file_bytes(&mark)?.is_none() {
            self.disk.create(&mark, b"").map_err(|e| self.write_error(&mark, e))?;
            self.sync_dir(&directory)?;
        }
        self.point(Pointers::of(self.pointers.live.clone(), self.pointers.live.clone()))
    }

    /// The last good generation serves again.
    pub fn roll_back(&mut self) -> Result<(), StoreError> {
        let live = self.live();
        if live == self.good() {
            return Ok(());
        }
        // A power cut inside of `confirm` leaves it.
        let directory = format!("{GENERATIONS}/{live}");
        let mark = format!("{directory}/{CONFIRMED}");
        if self.file_bytes(&mark)?.is_some() {
            self.disk.remove_file(&mark).map_err(|e| self.write_error(&mark, e))?;
            self.sync_dir(&directory)?;
        }
        self.point(Pointers::of(self.pointers.good.clone(), self.pointers.good.clone()))
    }

    /// What was shipped serves again and counts as good, whatever was pushed.
    pub fn return_to_shipped(&mut self) -> Result<(), StoreError> {
        if self.pointers == Pointers::default() {
            return Ok(());
        }
        self.point(Pointers::default())
    }

    /// Content of `update.json`, as it was saved last.
    pub fn update(&self) -> Option<&[u8]> {
        self.update.as_deref()
    }

    /// Replaces `update.json`; durable when it returns.
    pub fn save_update(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if self.update.as_deref() != Some(bytes) {
            self.replace(UPDATE, bytes)?;
            self.update = Some(bytes.to_owned());
        }
        Ok(())
    }

    /// Remembers that a generation was refused or rolled back: it is not tried again before a higher attempt is signed.
    pub fn refuse(&mut self, sha256: &str, attempt: Attempt) -> Result<(), StoreError> {
        check_digest(sha256)?;
        if !self.refused.holds(sha256, attempt) {
            let refused = self.refused.with(sha256, attempt);
            self.replace(REFUSED, &refused.to_bytes())?;
            self.refused = refused;
        }
        Ok(())
    }

    /// Whether [`GenerationStore::refuse`] was called with this digest and this attempt or a higher one.
    pub fn is_refused(&self, sha256: &str, attempt: Attempt) -> bool {
        self.refused.holds(sha256, attempt)
    }

    /// The trusted metadata, as they were committed last.
    pub fn trust(&self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.disk.read(TRUST, MAX_TRUST_BYTES) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.read_error(TRUST, e)),
        }
    }

    /// Replaces the trusted metadata as a whole; durable when it returns.
    pub fn commit_trust(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        // What cannot be read is replaced.
        if !matches!(self.trust(), Ok(Some(there)) if there == bytes) {
            self.replace(TRUST, bytes)?;
        }
        Ok(())
    }

    fn point(&mut self, pointers: Pointers) -> Result<(), StoreError> {
        self.replace(POINTERS, &pointers.to_bytes())?;
        self.pointers = pointers;
        Ok(())
    }

    /// Replaces a file of the store's own directory so that a power cut leaves the old or the new content, whole.
    fn replace(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let new = format!("{NEW}{name}");
        let written = (|| {
            self.disk.create(&new, bytes)?;
            self.bytes_written += bytes.len() as u64;
            self.disk.sync_file(&new)?;
            self.disk.rename(&new, name)?;
            self.disk.sync_dir("")
        })();
        written.map_err(|e| self.write_error(name, e))
    }

    fn read_small(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.disk.read(name, MAX_STATE_BYTES) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.read_error(name, e)),
        }
    }

    fn file_bytes(&self, path: &str) -> Result<Option<u64>, StoreError> {
        self.disk.file_bytes(path).map_err(|e| self.read_error(path, e))
    }

    fn sync_dir(&self, path: &str) -> Result<(), StoreError> {
        self.disk.sync_dir(path).map_err(|e| self.write_error(path, e))
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.disk.root().to_owned() } else { self.disk.root().join(path) }
    }

    fn read_error(&self, path: &str, source: io::Error) -> StoreError {
        StoreError::Read { path: self.path(path), source }
    }

    fn write_error(&self, path: &str, source: io::Error) -> StoreError {
        StoreError::Write { path: self.path(path), source }
    }
}

/// SHA-256 in lower-case hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

fn check_digest(text: &str) -> Result<(), StoreError> {
    if is_digest(text) { Ok(()) } else { Err(StoreError::NoDigest(text.to_owned())) }
}
