//! Ids of the special tokens that have a role.

/// `None` where a tokenizer has none for the role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Stands for what the vocabulary lacks.
    pub unk: Option<u32>,
    /// Parts two texts.
    pub sep: Option<u32>,
    /// Fills a batch.
    pub pad: Option<u32>,
    /// Stands for the whole text.
    pub cls: Option<u32>,
    /// Stands for a word to be guessed.
    pub mask: Option<u32>,
}

impl SpecialIds {
    /// In the order of [`super::package::SpecialTokens::roles`].
    pub(super) fn from_roles(ids: [Option<u32>; 7]) -> Self {
        let [bos, eos, unk, sep, pad, cls, mask] = ids;
        Self { bos, eos, unk, sep, pad, cls, mask }
    }
}
