//! What a graph remembers between steps: the keys and values of attention, or any other state that it takes in and
//! gives back.
//!
//! A cache belongs to one sequence, or to several that are run in one batch (beams), and not to a session: any worker can
//! go on with it, a kept prefix is a [`Cache::fork`] of one, and steps of different sequences can be interleaved on one
//! session.

use std::any::Any;
use std::fmt::Debug;

use super::EngineError;

/// The state of `rows` sequences of equal length.
pub trait Cache: Send + Debug {
    /// Sequences in the batch.
    fn rows(&self) -> usize;
    /// Positions that each sequence holds.
    fn len(&self) -> usize;
    /// Whether nothing is held.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Memory that it takes, bytes; shared parts are counted in each.
    fn bytes(&self) -> u64;
    /// Forgets all positions from `len` on. Fails where the state cannot go back (a recurrent one).
    fn truncate(&mut self, len: usize) -> Result<(), EngineError>;
    /// Keeps these rows, in this order; a row may stand several times or not at all.
    fn select(&mut self, rows: &[usize]) -> Result<(), EngineError>;
    /// A copy that goes its own way. Cheap: values are shared until one of the two changes.
    fn fork(&self) -> Box<dyn Cache>;
    /// For the engine that made it.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}
