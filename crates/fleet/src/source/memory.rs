//! A repository in memory, with counters: tests and simulations.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tough::async_trait;

use super::{Source, SourceFault};

/// Files by path in the repository. Clones share the files, each has its own counters: one per simulated device.
#[derive(Debug, Default)]
pub struct Memory {
    files: Arc<Mutex<BTreeMap<String, Bytes>>>,
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// What has gone over a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Answers, the ones without content too.
    pub messages: u64,
    /// Bytes of content.
    pub bytes: u64,
}

impl Clone for Memory {
    fn clone(&self) -> Self {
        Self { files: Arc::clone(&self.files), ..Self::default() }
    }
}

impl Memory {
    /// Without any file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a metadata file in, for every clone.
    pub fn put_metadata(&self, name: &str, content: impl Into<Bytes>) {
        self.put(format!("metadata/{name}"), content.into());
    }

    /// Puts a file in, for every clone; `path` as [`Source::piece`] takes it.
    pub fn put_file(&self, path: &str, content: impl Into<Bytes>) {
        self.put(path.to_owned(), content.into());
    }

    /// Takes a metadata file out, for every clone.
    pub fn remove_metadata(&self, name: &str) {
        self.files().remove(&format!("metadata/{name}"));
    }

    /// What this clone has answered so far.
    pub fn traffic(&self) -> Traffic {
        Traffic { messages: self.messages.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    fn put(&self, path: String, content: Bytes) {
        self.files().insert(path, content);
    }

    fn files(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, answer: Result<Bytes, SourceFault>) -> Result<Bytes, SourceFault> {
        self.messages.fetch_add(1, Ordering::Relaxed);
        if let Ok(content) = &answer {
            self.bytes.fetch_add(content.len() as u64, Ordering::Relaxed);
        }
        answer
    }
}

#[async_trait]
impl Source for Memory {
    fn name(&self) -> String {
        "memory".into()
    }

    async fn metadata(&self, name: &str, cap: u64) -> Result<Bytes, SourceFault> {
        let found = self.files().get(&format!("metadata/{name}")).cloned();
        self.answer(match found {
            Some(content) if content.len() as u64 > cap => Err(SourceFault::TooLarge { cap }),
            Some(content) => Ok(content),
            None => Err(SourceFault::NotThere),
        })
    }

    async fn piece(&self, path: &str, offset: u64, bytes: u64) -> Result<Bytes, SourceFault> {
        let found = self.files().get(path).cloned();
        let Some(content) = found else { return self.answer(Err(SourceFault::NotThere)) };
        let length = content.len() as u64;
        if offset >= length {
            return self.answer(Err(SourceFault::Lied(format!("{path} ends before byte {offset}"))));
        }
        let end = offset.saturating_add(bytes).min(length);
        // Both are at most the content's length, which is a usize.
        self.answer(Ok(content.slice(offset as usize..end as usize)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clones_share_files_and_count_for_themselves() {
        let one = Memory::new();
        one.put_metadata("timestamp.json", "12345");
        one.put_file("files/a", "0123456789");
        let two = one.clone();
        assert_eq!(two.metadata("timestamp.json", 5).await.expect("found"), "12345");
        assert_eq!(two.piece("files/a", 8, 9).await.expect("found"), "89");
        assert_eq!(two.metadata("2.root.json", 5).await, Err(SourceFault::NotThere));
        assert_eq!(two.traffic(), Traffic { messages: 3, bytes: 7 });
        assert_eq!(one.traffic(), Traffic::default());
        one.remove_metadata("timestamp.json");
        assert_eq!(two.metadata("timestamp.json", 5).await, Err(SourceFault::NotThere));
    }
}
