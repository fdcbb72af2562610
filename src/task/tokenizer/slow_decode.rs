//! Decoding of SentencePiece families, token by token, as `PreTrainedTokenizer._decode` and each class's
//! `convert_tokens_to_string` put a text together.

use super::sentencepiece::{PieceDecoder, SPACE_MARK};
use super::slow::{Slow, Style, is_python_space};

/// A text that is being decoded.
#[derive(Debug, Clone, Default)]
pub(super) struct SlowDecoder {
    skip_special: bool,
    /// Whether a part of the text is there, so that the next one stands behind a blank.
    has_parts: bool,
    run: Run,
}

/// A part of the text: tokens between two that stand apart.
#[derive(Debug, Clone, Default)]
struct Run {
    tokens: usize,
    has_text: bool,
    was_special: bool,
    pieces: PieceDecoder,
    /// Text of the pieces since the last special token: what comes before it is known only then.
    group: String,
    /// White space that is text only if more follows.
    blanks: String,
}

impl SlowDecoder {
    pub(super) fn new(skip_special: bool) -> Self {
        Self { skip_special, ..Self::default() }
    }

    /// One more token; what is certain of the text is put to the end of `out`.
    pub(super) fn push(&mut self, slow: &Slow, id: u32, out: &mut String) {
        let Some(token) = slow.token(id) else { return };
        let is_special = slow.all_special.contains(token);
        if self.skip_special && is_special {
            return;
        }
        if slow.style == Style::Gemma {
            self.push_gemma(slow, id, token, out);
        } else if slow.apart.contains(&id) {
            self.end_run(slow, false, out);
            self.begin_part(out);
            out.push_str(token);
        } else {
            let mut text = String::new();
            self.run.push(slow, token, is_special, self.skip_special, &mut text);
            self.give(slow, &text, out);
        }
    }

    /// What is left at the end. Then it can begin anew.
    pub(super) fn finish(&mut self, slow: &Slow, out: &mut String) {
        if slow.style == Style::Gemma {
            let mut text = String::new();
            self.run.pieces.finish(slow.decoding_model(), &mut text);
            out.push_str(&text.replace(SPACE_MARK, " "));
        } else {
            self.end_run(slow, true, out);
        }
        *self = Self::new(self.skip_special);
    }

    fn push_gemma(&mut self, slow: &Slow, id: u32, token: &str, out: &mut String) {
        let mut text = String::new();
        if slow.added.get(id).is_some() {
            self.run.pieces.finish(slow.decoding_model(), &mut text);
            text.push_str(token);
        } else {
            self.run.pieces.push(slow.decoding_model(), token, &mut text);
        }
        out.push_str(&text.replace(SPACE_MARK, " "));
    }

    fn begin_part(&mut self, out: &mut String) {
        if self.has_parts {
            out.push(' ');
        }
        self.has_parts = true;
    }

    /// Text of the run at hand, white space at its ends left out where the class strips it.
    fn give(&mut self, slow: &Slow, text: &str, out: &mut String) {
        let is_stripped = slow.style != Style::Llama;
        let text = if is_stripped && !self.run.has_text { text.trim_start_matches(is_python_space) } else { text };
        if text.is_empty() {
            return;
        }
        let kept = if is_stripped { text.trim_end_matches(is_python_space) } else { text };
        if !kept.is_empty() {
            if !self.run.has_text {
                self.run.has_text = true;
                self.begin_part(out);
            }
            out.push_str(&std::mem::take(&mut self.run.blanks));
            out.push_str(kept);
        }
        self.run.blanks.push_str(&text[kept.len()..]);
    }

    fn end_run(&mut self, slow: &Slow, is_last: bool, out: &mut String) {
        if self.run.tokens > 0 {
            let mut text = String::new();
            self.run.finish(slow, &mut text);
            self.give(slow, &text, out);
            if is_last && !self.run.has_text {
                // The last part counts even if it is empty.
                self.begin_part(out);
            }
        }
        self.run = Run::default();
    }
}

impl Run {
    fn push(&mut self, slow: &Slow, token: &str, is_special: bool, skip_special: bool, out: &mut String) {
        let index = self.tokens;
        self.tokens += 1;
        if slow.style == Style::Joined {
            out.push_str(&token.replace(SPACE_MARK, " "));
            return;
        }
        let model = slow.decoding_model();
        let mut token = token;
        if index == 0 && slow.add_prefix_space && matches!(slow.style, Style::Llama | Style::T5) {
            token = token.strip_prefix(SPACE_MARK).unwrap_or(token);
        }
        if is_special {
            self.pieces.finish(model, &mut self.group);
            let is_led = match slow.style {
                Style::T5 | Style::Mbart50 => !self.was_special,
                Style::Llama => !self.was_special && index > 0 && slow.is_legacy,
                _ => false,
            };
            if is_led {
                out.push(' ');
            }
            let group = std::mem::take(&mut self.group);
            out.push_str(&slow.plain(&group));
            out.push_str(token);
            if slow.style == Style::Marian {
                out.push(' ');
            }
        } else {
            let is_led = slow.style == Style::Llama && self.was_special && index == 1 && slow.add_prefix_space;
            if is_led && !token.starts_with(SPACE_MARK) {
                out.push(' ');
            }
            self.pieces.push(model, token, &mut self.group);
            if skip_special || matches!(slow.style, Style::Marian | Style::M2m100) {
                let group = std::mem::take(&mut self.group);
                out.push_str(&slow.plain(&group));
            }
        }
        self.was_special = is_special;
    }

    fn finish(&mut self, slow: &Slow, out: &mut String) {
        self.pieces.finish(slow.decoding_model(), &mut self.group);
        let group = std::mem::take(&mut self.group);
        out.push_str(&slow.plain(&group));
    }
}

impl Slow {
    /// Marks that a model leaves in what it does not know are blanks for Marian.
    fn plain(&self, text: &str) -> String {
        if self.style == Style::Marian { text.replace(SPACE_MARK, " ") } else { text.to_owned() }
    }
}
