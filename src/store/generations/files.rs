//! Content by its digest: fetched in pieces, verified whole, held once.

use linnet_proto::fleet::{Generation, PackageFile};
use sha2::{Digest, Sha256};

use super::bounds::{DIGEST_PIECE_BYTES, MAX_GENERATION_BYTES};
use super::{FILES, GenerationStore, NEW, PARTIAL, StoreError, check_digest, digest, hexadecimal};

/// Whether the room for an update is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserved {
    /// It is: nobody else can take it.
    Held,
    /// The file system cannot hold room for a file: it was free when it was looked at.
    OnlyChecked,
}

/// A download of this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partial {
    /// Bytes that are there.
    have: u64,
    /// Those of them that are durable.
    synced: u64,
    /// Whether its name is durable.
    named: bool,
}

impl GenerationStore {
    /// What an update must fetch: each file once, that is not here in its length.
    pub fn missing_files<'g>(&self, generation: &'g Generation) -> Result<Vec<&'g PackageFile>, StoreError> {
        let mut missing = Vec::new();
        for file in generation.files() {
            if self.file_bytes(&file_path(&file.sha256)?)? != Some(file.bytes) {
                missing.push(file);
            }
        }
        Ok(missing)
    }

    /// Reads every file of an update that is here already, and throws away what has not the digest that names it: a card that fails
    /// must not make a good update fail. The digests that were thrown away; they are missing now.
    pub fn discard_damaged(&mut self, generation: &Generation) -> Result<Vec<String>, StoreError> {
        let mut damaged = Vec::new();
        for file in generation.files() {
            let path = file_path(&file.sha256)?;
            if self.file_bytes(&path)?.is_some() && self.digest_of(&path)? != file.sha256 {
                self.disk.remove_file(&path).map_err(|e| self.write_error(&path, e))?;
                damaged.push(file.sha256.clone());
            }
        }
        Ok(damaged)
    }

    /// Checks before anything is fetched that all of it will fit, with a margin that stays free, and takes the room: whoever else writes to
    /// the disk finds it gone. Nothing is written for it, and what is collected as garbage gives it back.
    pub fn reserve(&mut self, generation: &Generation) -> Result<Reserved, StoreError> {
        let mut lacking = Vec::new();
        let mut missing = 0u64;
        for file in self.missing_files(generation)? {
            let partial = partial_path(&file.sha256)?;
            let held = self.disk.held_bytes(&partial).map_err(|e| self.read_error(&partial, e))?.unwrap_or(0);
            if held < file.bytes {
                missing = missing.saturating_add(file.bytes - held);
                lacking.push((file.sha256.clone(), partial, file.bytes));
            }
        }
        if lacking.is_empty() {
            // What is held is not judged by the margin again: it is this update's, however full the disk has become.
            return Ok(Reserved::Held);
        }
        let (needed, free) = (missing.saturating_add(self.options.free_margin_bytes), self.free_bytes()?);
        let no_space = |free| StoreError::NoSpace { dir: self.path(""), needed, missing, free };
        if free < needed {
            return Err(no_space(free));
        }
        for (_, partial, bytes) in &lacking {
            match self.disk.hold(partial, *bytes) {
                Ok(true) => {}
                Ok(false) => return Ok(Reserved::OnlyChecked),
                // Somebody was faster, or the file system needs more for its own records than was left.
                Err(e) if e.kind() == std::io::ErrorKind::StorageFull => return Err(no_space(self.free_bytes()?)),
                Err(e) => return Err(self.write_error(partial, e)),
            }
        }
        // One sync for all of the names, in place of one for each with its first step.
        self.sync_dir(PARTIAL)?;
        for (sha256, ..) in lacking {
            if let Some(partial) = self.partial.get_mut(&sha256) {
                partial.named = true;
            }
            self.named.insert(sha256);
        }
        Ok(Reserved::Held)
    }

    /// How much of a file has been fetched, bytes: where the next piece begins.
    ///
    /// Of a download that another process began, the last step is not believed: a byte after a multiple of the step was written only
    /// when everything before it was durable, so that the length tells what survived a power cut.
    pub fn have(&mut self, sha256: &str) -> Result<u64, StoreError> {
        if let Some(partial) = self.partial.get(sha256) {
            return Ok(partial.have);
        }
        let there = self.file_bytes(&partial_path(sha256)?)?.unwrap_or(0);
        let step = self.options.sync_every_bytes;
        let trusted = there.saturating_sub(1) / step * step;
        let named = trusted > 0 || self.named.contains(sha256);
        self.partial.insert(sha256.to_owned(), Partial { have: trusted, synced: trusted, named });
        Ok(trusted)
    }

    /// Writes a piece, which must begin where the file ends so far. Before a step is begun, the one before it is made durable.
    pub fn put_piece(&mut self, sha256: &str, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let have = self.have(sha256)?;
        if offset != have {
            return Err(StoreError::Offset { sha256: sha256.to_owned(), offset, have });
        }
        let path = partial_path(sha256)?;
        let step = self.options.sync_every_bytes;
        let (mut rest, mut at) = (bytes, offset);
        while !rest.is_empty() {
            if at > 0 && at % step == 0 {
                self.sync_partial(sha256)?;
            }
            let room = usize::try_from(step - at % step).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at(room);
            self.disk.write_at(&path, at, now).map_err(|e| self.write_error(&path, e))?;
            self.bytes_written += now.len() as u64;
            (rest, at) = (later, at + now.len() as u64);
            if let Some(partial) = self.partial.get_mut(sha256) {
                partial.have = at;
            }
        }
        Ok(())
    }

    /// Makes a file of a download that has come to its end: durable, then verified as a whole. One that is not what was asked for is thrown
    /// away.
    pub fn finish_file(&mut self, sha256: &str, bytes: u64) -> Result<(), StoreError> {
        let (path, file) = (partial_path(sha256)?, file_path(sha256)?);
        if self.file_bytes(&file)? == Some(bytes) {
            return self.drop_partial(sha256);
        }
        if bytes == 0 && self.file_bytes(&path)?.is_none() {
            self.disk.create(&path, b"").map_err(|e| self.write_error(&path, e))?;
        }
        let have = self.have(sha256)?;
        let there = self.file_bytes(&path)?.unwrap_or(0);
        let found = if have != bytes || there != bytes {
            format!("{} bytes instead of {bytes}", if have == bytes { there } else { have })
        } else {
            self.digest_of(&path)?
        };
        if found != sha256 {
            self.drop_partial(sha256)?;
            return Err(StoreError::Digest { sha256: sha256.to_owned(), found });
        }
        if self.partial.get(sha256).is_none_or(|partial| partial.synced < bytes) {
            self.sync_download(sha256, &path)?;
        }
        self.disk.rename(&path, &file).map_err(|e| self.write_error(&file, e))?;
        self.sync_dir(FILES)?;
        self.named.remove(sha256);
        self.partial.remove(sha256);
        Ok(())
    }

    /// Holds a generation's document as a file; its digest. Nothing is written where it is here already.
    pub fn keep_document(&mut self, document: &[u8]) -> Result<String, StoreError> {
        let sha256 = digest(document);
        let path = file_path(&sha256)?;
        if self.file_bytes(&path)? != Some(document.len() as u64) {
            let new = format!("{FILES}/{NEW}{sha256}");
            let written = (|| {
                self.disk.create(&new, document)?;
                self.bytes_written += document.len() as u64;
                self.disk.sync_file(&new)?;
                self.disk.rename(&new, &path)?;
                self.disk.sync_dir(FILES)
            })();
            written.map_err(|e| self.write_error(&path, e))?;
        }
        Ok(sha256)
    }

    /// A generation's document that was kept, by its digest; `None` where it is not here or is not what it was.
    pub fn document(&self, sha256: &str) -> Option<Vec<u8>> {
        let document = self.disk.read(&file_path(sha256).ok()?, MAX_GENERATION_BYTES).ok()?;
        (digest(&document) == sha256).then_some(document)
    }

    fn sync_partial(&mut self, sha256: &str) -> Result<(), StoreError> {
        let path = partial_path(sha256)?;
        if self.partial.get(sha256).is_some_and(|partial| partial.synced == partial.have) {
            return Ok(());
        }
        self.sync_download(sha256, &path)?;
        let Some(partial) = self.partial.get_mut(sha256) else { return Ok(()) };
        partial.synced = partial.have;
        if !std::mem::replace(&mut partial.named, true) {
            // Otherwise the first step would be durable under no name.
            self.sync_dir(PARTIAL)?;
        }
        Ok(())
    }

    fn sync_download(&mut self, sha256: &str, path: &str) -> Result<(), StoreError> {
        let synced = self.disk.sync_file(path).map_err(|e| self.write_error(path, e));
        if synced.is_err() {
            // The kernel forgets what it could not write and tells once: a second sync would succeed over a hole. So it is fetched anew.
            let _ = self.drop_partial(sha256);
        }
        synced
    }

    fn drop_partial(&mut self, sha256: &str) -> Result<(), StoreError> {
        let path = partial_path(sha256)?;
        if self.file_bytes(&path)?.is_some() {
            self.disk.remove_file(&path).map_err(|e| self.write_error(&path, e))?;
        }
        self.named.remove(sha256);
        self.partial.remove(sha256);
        Ok(())
    }

    /// SHA-256 of a whole file, read piece by piece.
    fn digest_of(&self, path: &str) -> Result<String, StoreError> {
        let mut hash = Sha256::new();
        let mut piece = vec![0; DIGEST_PIECE_BYTES];
        let mut at = 0u64;
        loop {
            let read = self.disk.read_at(path, at, &mut piece).map_err(|e| self.read_error(path, e))?;
            if read == 0 {
                return Ok(hexadecimal(&hash.finalize()));
            }
            hash.update(&piece[..read]);
            at += read as u64;
        }
    }
}

pub(super) fn file_path(sha256: &str) -> Result<String, StoreError> {
    check_digest(sha256)?;
    Ok(format!("{FILES}/{sha256}"))
}

fn partial_path(sha256: &str) -> Result<String, StoreError> {
    check_digest(sha256)?;
    Ok(format!("{PARTIAL}/{sha256}"))
}
