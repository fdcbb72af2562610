//! Pieces back to text, one at a time.

use super::{Kind, SPACE_MARK, SentencePiece};

/// Text of a row of pieces. What it has given never changes, so that it can be told as it comes. After
/// `SentencePieceProcessor::Decode`.
#[derive(Debug, Clone, Default)]
pub(crate) struct PieceDecoder {
    /// Whether the blank before the first word is behind.
    is_begun: bool,
    took_blank: bool,
    has_text: bool,
    /// Of a character whose other bytes may still come.
    bytes: Vec<u8>,
    /// All of it, where the model changes the whole text in the end.
    whole: Option<String>,
}

impl PieceDecoder {
    /// One more piece, by its text; what is certain of the text is put to the end of `out`.
    pub(crate) fn push(&mut self, model: &SentencePiece, piece: &str, out: &mut String) {
        let mut text = String::new();
        let id = model.id(piece);
        let kind = model.pieces.kind(id);
        if let Kind::Byte(byte) = kind {
            self.bytes.push(byte);
            self.take_characters(false, &mut text);
            self.give(model, text, out);
            return;
        }
        self.take_characters(true, &mut text);
        self.has_text |= !text.is_empty();
        self.is_begun |= self.took_blank || self.has_text;
        self.took_blank = false;
        match kind {
            Kind::Control => {}
            Kind::Unknown if model.pieces.text(id) == piece => text.push_str(&model.unknown_surface),
            Kind::Unknown => text.push_str(piece),
            _ => {
                let mut piece = piece;
                let (dummy, extra) = (model.normalizer.add_dummy_prefix, model.normalizer.remove_extra_whitespaces);
                if !self.is_begun
                    && (dummy || extra)
                    && let Some(rest) = piece.strip_prefix(SPACE_MARK)
                {
                    piece = rest;
                    // Where runs of blanks are removed, so are all at the beginning.
                    self.took_blank = !extra;
                }
                text.push_str(&piece.replace(SPACE_MARK, " "));
            }
        }
        self.give(model, text, out);
    }

    /// What is left at the end. Then it can begin anew.
    pub(crate) fn finish(&mut self, model: &SentencePiece, out: &mut String) {
        let mut text = String::new();
        self.take_characters(true, &mut text);
        self.give(model, text, out);
        if let Some(whole) = self.whole.take() {
            out.push_str(&model.denormalize(whole));
        }
        *self = Self::default();
    }

    fn give(&mut self, model: &SentencePiece, text: String, out: &mut String) {
        self.has_text |= !text.is_empty();
        if model.denormalizer.is_some() {
            self.whole.get_or_insert_default().push_str(&text);
        } else {
            out.push_str(&text);
        }
    }

    /// Each byte that begins no character becomes U+FFFD. A beginning of one waits, unless nothing follows.
    fn take_characters(&mut self, is_end: bool, out: &mut String) {
        while !self.bytes.is_empty() {
            let taken = match std::str::from_utf8(&self.bytes) {
                Ok(text) => {
                    out.push_str(text);
                    self.bytes.len()
                }
                Err(error) if error.valid_up_to() > 0 => {
                    out.push_str(std::str::from_utf8(&self.bytes[..error.valid_up_to()]).unwrap_or_default());
                    error.valid_up_to()
                }
                Err(error) if error.error_len().is_none() && !is_end => return,
                Err(_) => {
                    out.push(char::REPLACEMENT_CHARACTER);
                    1
                }
            };
            self.bytes.drain(..taken);
        }
    }
}
