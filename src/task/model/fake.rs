//! A programmable stand-in for a language model: it scores tokens by a rule or follows a script, checks that it is stepped as
//! a model may be, and keeps a cache that forgets, forks and reorders.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{LanguageModel, Logits, Sequences};
use crate::engine::{Cache, EngineError, Positions};

type Score = dyn Fn(&[u32]) -> Vec<f32> + Send + Sync;

/// Bytes that one position takes in a fake's cache.
pub const FAKE_POSITION_BYTES: u64 = 64;

/// A language model whose logits follow a rule. Clones count together.
#[derive(Clone)]
pub struct FakeLanguageModel {
    vocabulary: usize,
    context: Option<usize>,
    score: Arc<Score>,
    steps: Arc<AtomicUsize>,
    positions: Arc<AtomicUsize>,
}

impl FakeLanguageModel {
    /// A model that asks `score` for the logits behind a sequence.
    pub fn new(vocabulary: usize, score: impl Fn(&[u32]) -> Vec<f32> + Send + Sync + 'static) -> Self {
        Self { vocabulary, context: None, score: Arc::new(score), steps: Arc::default(), positions: Arc::default() }
    }

    /// Random logits that depend on the last two ids and the position, by [`hashed_logit`].
    pub fn hashed(vocabulary: usize, seed: u32) -> Self {
        Self::new(vocabulary, move |ids| Self::hashed_logits(seed, ids, vocabulary))
    }

    /// What [`FakeLanguageModel::hashed`] gives behind `ids`.
    pub fn hashed_logits(seed: u32, ids: &[u32], vocabulary: usize) -> Vec<f32> {
        (0..vocabulary as u32).map(|token| hashed_logit(seed, ids, token)).collect()
    }

    /// A model that writes `path` from position `from` on, whatever came before, then repeats its last id.
    pub fn scripted(vocabulary: usize, from: usize, path: Vec<u32>) -> Self {
        Self::new(vocabulary, move |ids| {
            let mut logits = vec![0.0; vocabulary];
            let place = ids.len().saturating_sub(from).min(path.len().saturating_sub(1));
            if let Some(next) = path.get(place) {
                logits[*next as usize] = 10.0;
            }
            logits
        })
    }

    /// The same with a longest sequence.
    #[must_use]
    pub fn with_context(mut self, context: usize) -> Self {
        self.context = Some(context);
        self
    }

    /// Steps so far.
    pub fn steps(&self) -> usize {
        self.steps.load(Ordering::SeqCst)
    }

    /// Positions run so far, over all rows.
    pub fn positions(&self) -> usize {
        self.positions.load(Ordering::SeqCst)
    }
}

/// A logit from -4 to 4 for `token` behind `ids`, from a hash of the last two ids and the position. The same rule is in
/// `tests/goldens/decode/generate.py`; every value is exact in 32-bit floats.
pub fn hashed_logit(seed: u32, ids: &[u32], token: u32) -> f32 {
    let last = ids.last().copied().unwrap_or(0);
    let before = ids.len().checked_sub(2).map_or(0, |i| ids[i]);
    let mut hash = seed
        .wrapping_mul(0x9E37_79B1)
        .wrapping_add(last.wrapping_mul(0x85EB_CA77))
        .wrapping_add(before.wrapping_mul(0xC2B2_AE3D))
        .wrapping_add((ids.len() as u32).wrapping_mul(0x27D4_EB2F))
        .wrapping_add(token.wrapping_mul(0x1656_67B1));
    hash ^= hash >> 15;
    hash = hash.wrapping_mul(0x2C1B_3C6D);
    hash ^= hash >> 12;
    hash = hash.wrapping_mul(0x297A_2D39);
    hash ^= hash >> 15;
    (hash & 0xFFFF) as f32 / 8192.0 - 4.0
}

impl LanguageModel for FakeLanguageModel {
    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn context(&self) -> Option<usize> {
        self.context
    }

    fn begin(&mut self) -> Result<Sequences, EngineError> {
        Ok(Sequences::new(Some(Box::new(FakeCache { ids: vec![Vec::new()] }))))
    }

    fn step(
        &mut self,
        sequences: &mut Sequences,
        ids: &[Vec<u32>],
        positions: Positions,
    ) -> Result<Logits, EngineError> {
        let wrong = |what: &str| Err(EngineError::Run(what.to_owned()));
        let columns = ids.first().map_or(0, Vec::len);
        if columns == 0 || ids.len() != sequences.rows() || ids.iter().any(|row| row.len() != columns) {
            return wrong("a step needs the same number of ids for each row, at least one");
        }
        if ids.iter().flatten().any(|id| *id as usize >= self.vocabulary) {
            return wrong("an id is outside the vocabulary");
        }
        if self.context.is_some_and(|context| sequences.len() + columns > context) {
            return wrong("the sequence is longer than the context");
        }
        let (cache, held) = sequences.parts();
        let Some(cache) = cache.as_mut().and_then(|cache| cache.as_any_mut().downcast_mut::<FakeCache>()) else {
            return wrong("the sequences are not this model's");
        };
        if cache.ids != held {
            return wrong("the cache holds other ids than the sequences");
        }
        self.steps.fetch_add(1, Ordering::SeqCst);
        self.positions.fetch_add(columns * ids.len(), Ordering::SeqCst);
        let mut data = Vec::new();
        for (row, new) in cache.ids.iter_mut().zip(ids) {
            for (column, id) in new.iter().enumerate() {
                row.push(*id);
                if positions == Positions::All || column + 1 == columns {
                    data.extend((self.score)(row));
                }
            }
        }
        sequences.append(ids);
        Logits::new(data, ids.len(), self.vocabulary).ok_or_else(|| EngineError::Run("the rule gave no logits".into()))
    }
}

/// Holds the ids themselves.
#[derive(Debug, Clone)]
struct FakeCache {
    ids: Vec<Vec<u32>>,
}

impl Cache for FakeCache {
    fn rows(&self) -> usize {
        self.ids.len()
    }

    fn len(&self) -> usize {
        self.ids.first().map_or(0, Vec::len)
    }

    fn bytes(&self) -> u64 {
        (self.rows() * self.len()) as u64 * FAKE_POSITION_BYTES
    }

    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        self.ids.iter_mut().for_each(|ids| ids.truncate(len));
        Ok(())
    }

    fn select(&mut self, rows: &[usize]) -> Result<(), EngineError> {
        if rows.iter().any(|row| *row >= self.ids.len()) {
            return Err(EngineError::Run("no such row".into()));
        }
        self.ids = rows.iter().map(|row| self.ids[*row].clone()).collect();
        Ok(())
    }

    fn fork(&self) -> Box<dyn Cache> {
        Box::new(self.clone())
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
