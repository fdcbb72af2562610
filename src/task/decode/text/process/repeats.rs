//! Groups of tokens that may not come twice.

use super::{History, Process, ban};

/// Bans what would complete a group of `size` tokens that prompt and answer already hold.
#[derive(Debug)]
pub struct NoRepeat {
    size: usize,
}

impl NoRepeat {
    /// `None` for size 0, which is off.
    pub fn new(size: u32) -> Option<Self> {
        (size > 0).then_some(Self { size: size as usize })
    }
}

impl Process for NoRepeat {
    fn apply(&self, history: &History<'_>, scores: &mut [f32]) {
        if history.ids.len() + 1 >= self.size {
            ban_completions(scores, history.ids, history.ids, self.size);
        }
    }
}

/// Bans what would complete a group of `size` tokens that the encoder's input holds.
#[derive(Debug)]
pub struct NoRepeatOfEncoder {
    size: usize,
    heard: Vec<u32>,
}

impl NoRepeatOfEncoder {
    /// `None` for size 0, which is off, or without an encoder.
    pub fn new(size: u32, heard: Option<&[u32]>) -> Option<Self> {
        let heard = heard?.to_vec();
        (size > 0).then_some(Self { size: size as usize, heard })
    }
}

impl Process for NoRepeatOfEncoder {
    fn apply(&self, history: &History<'_>, scores: &mut [f32]) {
        if history.ids.len() + 1 >= self.size {
            ban_completions(scores, &self.heard, history.ids, self.size);
        }
    }
}

/// Bans each id that follows, in `held`, the last `size - 1` ids of `ids`.
fn ban_completions(scores: &mut [f32], held: &[u32], ids: &[u32], size: usize) {
    let start = &ids[ids.len() + 1 - size..];
    let completions = held.windows(size).filter(|group| &group[..size - 1] == start).map(|group| group[size - 1]);
    ban(scores, completions);
}
