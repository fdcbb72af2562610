//! Prefixes that were run before: a conversation's next turn, or another question behind the same instructions, runs only what
//! is new.
//!
//! One cache for each model, shared by its workers behind a lock: a turn may come to any worker, and what is kept is cheap to
//! take (values are shared until they change), so that the lock is held for moments. Only decoders alone use it: a
//! sequence-to-sequence model's sequences listen to one input.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::bounds::{MIN_PREFIX_TOKENS, PREFIX_BYTES, PREFIX_ENTRIES};
use crate::status::metrics::PrefixCounts;
use crate::task::model::Sequences;

/// Kept prefixes, the least recently used go first.
#[derive(Debug)]
pub struct PrefixCache {
    max_entries: usize,
    max_bytes: u64,
    counts: PrefixCounts,
    /// The latest last.
    entries: Mutex<Vec<Sequences>>,
}

impl PrefixCache {
    /// A cache with the usual bounds, which counts into `counts`.
    pub fn new(counts: PrefixCounts) -> Self {
        Self::with_bounds(PREFIX_ENTRIES, PREFIX_BYTES, counts)
    }

    /// A cache of at most `max_entries` prefixes that take at most `max_bytes`.
    pub fn with_bounds(max_entries: usize, max_bytes: u64, counts: PrefixCounts) -> Self {
        Self { max_entries, max_bytes, counts, entries: Mutex::default() }
    }

    /// A sequence that holds the longest known beginning of `prompt`, but not all of it: the last token has to be run, since its
    /// logits are not kept.
    pub fn find(&self, prompt: &[u32]) -> Option<Sequences> {
        let most = prompt.len().saturating_sub(1);
        let mut entries = self.entries();
        let shared = |entry: &Sequences| common(entry.ids(0), prompt).min(most);
        let best = (0..entries.len()).max_by_key(|place| shared(&entries[*place]));
        let found = best.filter(|place| shared(&entries[*place]) >= MIN_PREFIX_TOKENS).map(|place| {
            let entry = entries.remove(place);
            let (fork, length) = (entry.fork(), shared(&entry));
            // Used last.
            entries.push(entry);
            (fork, length)
        });
        drop(entries);
        // Cutting copies: not under the lock. A state that cannot go back (a recurrent one) is found only where it ends.
        let found = found.and_then(|(mut fork, length)| fork.truncate(length).is_ok().then_some(fork));
        match &found {
            Some(sequences) => self.counts.hit(sequences.len() as u64),
            None => self.counts.missed(),
        }
        found
    }

    /// Keeps what `sequences` hold, if it is one row and worth it. What it begins with is held by it, and needs no entry more.
    pub fn keep(&self, sequences: &Sequences) {
        if sequences.rows() != 1 || sequences.len() < MIN_PREFIX_TOKENS || sequences.bytes() > self.max_bytes {
            return;
        }
        let ids = sequences.ids(0);
        let mut entries = self.entries();
        let held = |longer: &[u32], shorter: &[u32]| longer.starts_with(shorter);
        if let Some(place) = entries.iter().position(|entry| held(entry.ids(0), ids)) {
            let entry = entries.remove(place);
            entries.push(entry);
            return;
        }
        entries.retain(|entry| !held(ids, entry.ids(0)));
        entries.push(sequences.fork());
        while entries.len() > self.max_entries || bytes(&entries) > self.max_bytes {
            entries.remove(0);
            self.counts.evicted();
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.entries().clear();
    }

    /// Prefixes that are kept, and the memory that they take, bytes; what several share is counted in each.
    pub fn size(&self) -> (usize, u64) {
        let entries = self.entries();
        (entries.len(), bytes(&entries))
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Sequences>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes(entries: &[Sequences]) -> u64 {
    entries.iter().map(Sequences::bytes).sum()
}

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Positions;
    use crate::task::model::LanguageModel;
    use crate::task::model::fake::{FAKE_POSITION_BYTES, FakeLanguageModel};

    fn run(ids: &[u32]) -> Sequences {
        let mut model = FakeLanguageModel::hashed(64, 1);
        let mut sequences = model.begin().expect("begins");
        model.step(&mut sequences, &[ids.to_vec()], Positions::Last).expect("runs");
        sequences
    }

    fn conversation(number: u32, length: u32) -> Vec<u32> {
        (0..length).map(|i| (number * 7 + i) % 64).collect()
    }

    #[test]
    fn the_longest_beginning_is_found_and_the_last_token_left_to_run() {
        let cache = PrefixCache::with_bounds(4, u64::MAX, PrefixCounts::default());
        let ids = conversation(1, 20);
        assert!(cache.find(&ids).is_none(), "nothing is kept yet");
        cache.keep(&run(&ids));
        cache.keep(&run(&ids[..12]));
        assert_eq!(cache.size().0, 1, "the shorter one is held by the longer one");
        assert_eq!(cache.find(&ids).expect("kept").len(), 19);
        let mut next = ids.clone();
        next.truncate(15);
        next.extend([63, 62, 61]);
        assert_eq!(cache.find(&next).expect("kept").ids(0), &next[..15]);
        assert!(cache.find(&conversation(3, 20)).is_none());
        assert_eq!((cache.counts.hits(), cache.counts.misses(), cache.counts.tokens()), (2, 2, 34));
    }

    #[test]
    fn what_was_used_least_recently_goes_when_entries_or_bytes_run_out() {
        let three = 3 * 20 * FAKE_POSITION_BYTES;
        for cache in [
            PrefixCache::with_bounds(3, u64::MAX, PrefixCounts::default()),
            PrefixCache::with_bounds(99, three, PrefixCounts::default()),
        ] {
            for number in [1, 2, 3] {
                cache.keep(&run(&conversation(number, 20)));
            }
            assert!(cache.find(&conversation(1, 20)).is_some());
            cache.keep(&run(&conversation(4, 20)));
            let kept = |number| cache.find(&conversation(number, 20)).is_some_and(|found| found.len() == 19);
            assert_eq!([1, 2, 3, 4].map(kept), [true, false, true, true]);
            assert_eq!(cache.size(), (3, three));
            assert_eq!(cache.counts.evictions(), 1);
        }
    }

    #[test]
    fn what_is_larger_than_the_cache_is_not_kept() {
        let cache = PrefixCache::with_bounds(9, 10 * FAKE_POSITION_BYTES, PrefixCounts::default());
        cache.keep(&run(&conversation(1, 20)));
        assert_eq!(cache.size(), (0, 0));
    }
}
