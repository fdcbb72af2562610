//! Where the special tokens stand around a text, or around two.

use super::encoded::{Encoded, Origin};

/// A place in a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Token(u32),
    First,
    Second,
}

/// A place, and the segment that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) part: Part,
    pub(super) type_id: u32,
}

/// Of one text and of two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) single: Vec<Slot>,
    pub(super) pair: Vec<Slot>,
    /// A text that ends in this token gets none of it again (T5).
    pub(super) not_twice: Option<u32>,
}

impl From<Part> for Slot {
    fn from(part: Part) -> Self {
        Self { part, type_id: 0 }
    }
}

impl Layout {
    /// `before` text `after`; of two texts, `between` stands between them.
    pub(super) fn around(before: &[u32], between: &[u32], after: &[u32]) -> Self {
        let row = |inner: &[Part]| {
            let token = |id: &u32| Part::Token(*id);
            let parts = before.iter().map(token).chain(inner.iter().copied()).chain(after.iter().map(token));
            parts.map(Slot::from).collect()
        };
        let mut two = vec![Part::First];
        two.extend(between.iter().map(|id| Part::Token(*id)));
        two.push(Part::Second);
        Self { single: row(&[Part::First]), pair: row(&two), not_twice: None }
    }

    /// Puts the texts in their places.
    pub(super) fn apply(&self, first: &Encoded, second: Option<&Encoded>) -> Encoded {
        let slots = if second.is_some() { &self.pair } else { &self.single };
        let mut out = Encoded::default();
        let mut last = None;
        for Slot { part, type_id } in slots {
            match part {
                Part::Token(id) if self.not_twice == Some(*id) && last == Some(*id) => {}
                Part::Token(id) => out.push_as(*id, (0, 0), Origin::Layout, *type_id),
                Part::First => out.extend_as(first, Origin::First, *type_id),
                Part::Second => out.extend_as(second.unwrap_or(first), Origin::Second, *type_id),
            }
            last = match part {
                Part::First => first.ids.last().copied(),
                Part::Second => second.and_then(|text| text.ids.last().copied()),
                Part::Token(_) => None,
            };
        }
        out
    }

    /// How many tokens it adds to one text, or to two.
    pub(super) fn added(&self, is_pair: bool) -> usize {
        let slots = if is_pair { &self.pair } else { &self.single };
        slots.iter().filter(|slot| matches!(slot.part, Part::Token(_))).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stand_between_their_tokens() {
        let (mut a, mut b) = (Encoded::default(), Encoded::default());
        a.push(7, 0..1);
        b.push(8, 0..2);
        let layout = Layout::around(&[1], &[2, 2], &[3]);
        assert_eq!(layout.apply(&a, None).ids, [1, 7, 3]);
        let both = layout.apply(&a, Some(&b));
        assert_eq!(both.ids, [1, 7, 2, 2, 8, 3]);
        assert_eq!(both.origins[1..5], [Origin::First, Origin::Layout, Origin::Layout, Origin::Second]);
        assert_eq!((layout.added(false), layout.added(true)), (2, 4));
        let once = Layout { not_twice: Some(7), ..Layout::around(&[], &[], &[7]) };
        assert_eq!(once.apply(&a, None).ids, [7]);
        assert_eq!(once.apply(&b, None).ids, [8, 7]);
    }
}
