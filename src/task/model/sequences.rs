//! Sequences that grow together in one batch, and the logits behind them.

use crate::engine::{Cache, EngineError};

/// One or more sequences of equal length, with what the graph remembers of them.
#[derive(Debug)]
pub struct Sequences {
    ids: Vec<Vec<u32>>,
    cache: Option<Box<dyn Cache>>,
}

impl Sequences {
    /// One empty sequence. Without a cache every step reads the whole sequence again.
    pub fn new(cache: Option<Box<dyn Cache>>) -> Self {
        Self { ids: vec![Vec::new()], cache }
    }

    /// Sequences in the batch.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Positions of each.
    pub fn len(&self) -> usize {
        self.ids.first().map_or(0, Vec::len)
    }

    /// Whether nothing was appended yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids of one row.
    pub fn ids(&self, row: usize) -> &[u32] {
        &self.ids[row]
    }

    /// Memory of the cache, bytes.
    pub fn bytes(&self) -> u64 {
        self.cache.as_ref().map_or(0, |cache| cache.bytes())
    }

    /// Forgets all positions from `len` on.
    pub fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        if let Some(cache) = &mut self.cache {
            cache.truncate(len)?;
        }
        self.ids.iter_mut().for_each(|ids| ids.truncate(len));
        Ok(())
    }

    /// Keeps these rows, in this order; a row may stand several times or not at all.
    pub fn select(&mut self, rows: &[usize]) -> Result<(), EngineError> {
        if let Some(cache) = &mut self.cache {
            cache.select(rows)?;
        }
        self.ids = rows.iter().map(|row| self.ids[*row].clone()).collect();
        Ok(())
    }

    /// A copy that goes its own way; values are shared until one of the two changes.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { ids: self.ids.clone(), cache: self.cache.as_ref().map(|cache| cache.fork()) }
    }

    /// For models: the cache, and the ids that it holds.
    pub(super) fn parts(&mut self) -> (&mut Option<Box<dyn Cache>>, &[Vec<u32>]) {
        (&mut self.cache, &self.ids)
    }

    /// For models: what a step appended.
    pub(super) fn append(&mut self, ids: &[Vec<u32>]) {
        self.ids.iter_mut().zip(ids).for_each(|(row, new)| row.extend(new));
    }
}

/// Logits, row-major: `[rows, positions, vocabulary]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    data: Vec<f32>,
    rows: usize,
    vocabulary: usize,
}

impl Logits {
    /// Takes `data` of `rows` rows; `None` when its length is no multiple.
    pub fn new(data: Vec<f32>, rows: usize, vocabulary: usize) -> Option<Self> {
        let whole = rows > 0 && vocabulary > 0 && data.len().is_multiple_of(rows * vocabulary);
        (whole && !data.is_empty()).then_some(Self { data, rows, vocabulary })
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Positions of each row.
    pub fn positions(&self) -> usize {
        self.data.len() / (self.rows * self.vocabulary)
    }

    /// The logits at one position of one row.
    pub fn at(&self, row: usize, position: usize) -> &[f32] {
        let start = (row * self.positions() + position) * self.vocabulary;
        &self.data[start..start + self.vocabulary]
    }

    /// The logits at the last position of one row.
    pub fn last(&self, row: usize) -> &[f32] {
        self.at(row, self.positions() - 1)
    }

    /// As [`Logits::last`], to be changed in place.
    pub fn last_mut(&mut self, row: usize) -> &mut [f32] {
        let start = (row * self.positions() + self.positions() - 1) * self.vocabulary;
        &mut self.data[start..start + self.vocabulary]
    }
}
