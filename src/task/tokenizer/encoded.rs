//! An encoded text.

use std::ops::Range;

/// More tokens than the caller takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong {
    pub(super) most: usize,
}

/// Which text a token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// None: it is a special token that the layout puts there.
    Layout,
    /// The text, or the first of two.
    First,
    /// The second of two.
    Second,
}

/// Token ids of a text, or of two. All lists are of one length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// What a model takes.
    pub ids: Vec<u32>,
    /// The bytes of the text that each stands for; empty ones for special tokens.
    pub offsets: Vec<(u32, u32)>,
    /// Where each comes from.
    pub origins: Vec<Origin>,
    /// Segments, for models that tell two texts apart (BERT): 0 or 1.
    pub type_ids: Vec<u32>,
}

impl Encoded {
    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether the layout put the token there.
    pub fn is_special(&self, index: usize) -> bool {
        self.origins[index] == Origin::Layout
    }

    /// [`Self::offsets`] counted in characters of `text`, which is the text that tokens of `origin` stand for.
    pub fn char_offsets(&self, text: &str, origin: Origin) -> Vec<(u32, u32)> {
        let mut of_byte = vec![0_u32; text.len() + 1];
        let mut count = 0;
        for (at, character) in text.char_indices() {
            of_byte[at..at + character.len_utf8()].fill(count);
            count += 1;
        }
        of_byte[text.len()] = count;
        let place = |at: u32| of_byte.get(at as usize).copied().unwrap_or(count);
        let pairs = self.offsets.iter().zip(&self.origins);
        pairs.map(|(&(from, to), &o)| if o == origin { (place(from), place(to)) } else { (0, 0) }).collect()
    }

    pub(super) fn push(&mut self, id: u32, range: Range<usize>) {
        self.push_as(id, (range.start as u32, range.end as u32), Origin::First, 0);
    }

    pub(super) fn push_as(&mut self, id: u32, offsets: (u32, u32), origin: Origin, type_id: u32) {
        self.ids.push(id);
        self.offsets.push(offsets);
        self.origins.push(origin);
        self.type_ids.push(type_id);
    }

    pub(super) fn remove_first(&mut self) {
        self.ids.remove(0);
        self.offsets.remove(0);
        self.origins.remove(0);
        self.type_ids.remove(0);
    }

    pub(super) fn extend_as(&mut self, other: &Self, origin: Origin, type_id: u32) {
        for (id, offsets) in other.ids.iter().zip(&other.offsets) {
            self.push_as(*id, *offsets, origin, type_id);
        }
    }
}
