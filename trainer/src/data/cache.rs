//! Features on disk, so that audio is decoded once: an append-only file that a run goes on with where it stopped.
//!
//! After the magic come records: key (16 bytes), number of values (u32, little-endian), the first 8 bytes of the values' SHA-256,
//! the values (f16, little-endian). Opening reads the heads only; a tail that was cut off is cut away. A batch reads its rows
//! where they lie, so memory holds one batch, and the system's page cache the rest.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use half::f16;
use sha2::{Digest, Sha256};

use crate::error::{Failure, Kind, Result};

/// Name and version of the layout and of the features in it.
const MAGIC: &[u8; 16] = b"LNFC1 fbank80 f\n";
const HEAD: usize = 16 + 4 + 8;
/// Most values of a record: ten minutes of features.
const MOST_VALUES: usize = 60_000 * 80;

/// Names an audio file as it is now: path, size and time of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 16]);

impl Key {
    /// Of the file at `path`, which must exist.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        let mut hash = Sha256::new();
        hash.update(std::path::absolute(path)?.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(metadata.len().to_le_bytes());
        let changed = metadata.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        hash.update(changed.as_nanos().to_le_bytes());
        Ok(Self(first(&hash.finalize())))
    }
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut head = [0; N];
    head.copy_from_slice(&bytes[..N]);
    head
}

fn digest(bytes: &[u8]) -> [u8; 8] {
    first(&Sha256::digest(bytes))
}

#[derive(Debug, Clone, Copy)]
struct Record {
    offset: u64,
    values: usize,
    digest: [u8; 8],
}

/// The cache file, open and locked against a second writer.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    file: File,
    end: u64,
    records: HashMap<Key, Record>,
}

impl Cache {
    /// Opens or makes the file.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |error| Failure::write(path, error);
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            crate::output::create_dir(dir)?;
        }
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        if file.try_lock().is_err() {
            let message =
                format!("{}: another run uses this cache; give this one its own with --cache FILE", path.display());
            return Err(Failure::new(Kind::Unavailable, message));
        }
        if file.metadata().map_err(failed)?.len() == 0 {
            file.write_all(MAGIC).map_err(failed)?;
        }
        let (records, end) = scan(&file, path)?;
        file.set_len(end).map_err(failed)?;
        file.seek(SeekFrom::Start(end)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, end, records })
    }

    /// Whether features of this key are there.
    pub fn has(&self, key: &Key) -> bool {
        self.records.contains_key(key)
    }

    /// Values that the key's record holds: frames · 80.
    pub fn values(&self, key: &Key) -> Option<usize> {
        self.records.get(key).map(|record| record.values)
    }

    /// Adds a record.
    pub fn append(&mut self, key: Key, values: &[f16]) -> Result<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let digest = digest(&bytes);
        let mut record = Vec::with_capacity(HEAD + bytes.len());
        record.extend_from_slice(&key.0);
        record.extend_from_slice(&(values.len() as u32).to_le_bytes());
        record.extend_from_slice(&digest);
        record.extend_from_slice(&bytes);
        if let Err(error) = self.file.write_all(&record) {
            // What was half written would hide later records.
            let _ = self.file.set_len(self.end).and_then(|()| self.file.seek(SeekFrom::Start(self.end)));
            return Err(Failure::write(&self.path, error));
        }
        self.records.insert(key, Record { offset: self.end + HEAD as u64, values: values.len(), digest });
        self.end += record.len() as u64;
        Ok(())
    }

    /// Reads a record. Damage is an error that names the file and the way out.
    pub fn read(&self, key: &Key) -> Result<Vec<f16>> {
        use std::os::unix::fs::FileExt;
        let path = self.path.display();
        let record = self.records.get(key).ok_or_else(|| {
            Failure::software(format!("{path}: a row's features were asked for before they were made"))
        })?;
        let mut bytes = vec![0; record.values * 2];
        self.file.read_exact_at(&mut bytes, record.offset).map_err(|error| Failure::read(&self.path, error))?;
        if digest(&bytes) != record.digest {
            return Err(Failure::data(format!("{path}: a record is damaged; remove the file, it is made again")));
        }
        Ok(bytes.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes)).collect())
    }
}

/// Reads the heads; gives the records and the end of the last whole one.
fn scan(file: &File, path: &Path) -> Result<(HashMap<Key, Record>, u64)> {
    let failed = |error| Failure::read(path, error);
    let len = file.metadata().map_err(failed)?.len();
    let mut reader = BufReader::with_capacity(1 << 12, file);
    reader.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut magic = [0; 16];
    if reader.read_exact(&mut magic).is_err() || magic != *MAGIC {
        let message =
            format!("{}: not a cache of these features; remove it, or name another with --cache", path.display());
        return Err(Failure::data(message));
    }
    let mut records = HashMap::new();
    let mut end = MAGIC.len() as u64;
    let mut head = [0; HEAD];
    while end + HEAD as u64 <= len {
        reader.read_exact(&mut head).map_err(failed)?;
        let values = u32::from_le_bytes(first(&head[16..])) as usize;
        let next = end + (HEAD + values * 2) as u64;
        if values > MOST_VALUES || next > len {
            break;
        }
        let record = Record { offset: end + HEAD as u64, values, digest: first(&head[20..]) };
        records.insert(Key(first(&head)), record);
        reader.seek_relative((values * 2) as i64).map_err(failed)?;
        end = next;
    }
    Ok((records, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key([byte; 16])
    }

    fn values(n: usize) -> Vec<f16> {
        (0..n).map(|i| f16::from_f32(i as f32 / 8.0)).collect()
    }

    #[test]
    fn records_survive_closing_and_a_cut_tail_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/features.bin");
        let mut cache = Cache::open(&path).unwrap();
        cache.append(key(1), &values(160)).unwrap();
        cache.append(key(2), &values(80)).unwrap();
        drop(cache);
        let len = std::fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(len - 1).unwrap();
        let mut cache = Cache::open(&path).unwrap();
        assert_eq!(cache.read(&key(1)).unwrap(), values(160));
        assert!(!cache.has(&key(2)));
        cache.append(key(3), &values(240)).unwrap();
        drop(cache);
        assert_eq!(Cache::open(&path).unwrap().read(&key(3)).unwrap(), values(240));
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("features.bin");
        Cache::open(&path).unwrap().append(key(1), &values(160)).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = Cache::open(&path).unwrap().read(&key(1)).unwrap_err();
        assert!(error.to_string().contains("is damaged; remove the file"), "{error}");
    }

    #[test]
    fn a_second_run_and_another_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("features.bin");
        let _first = Cache::open(&path).unwrap();
        assert!(Cache::open(&path).unwrap_err().to_string().contains("another run uses this cache"));
        let other = dir.path().join("other");
        std::fs::write(&other, "something else entirely").unwrap();
        assert!(Cache::open(&other).unwrap_err().to_string().contains("not a cache of these features"));
    }
}
