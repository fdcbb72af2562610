//! Decoding with the decoders of `tokenizer.json`, token by token.
//!
//! The crate decodes lists as a whole. Each of its decoders is done here as a step that lets go of what cannot change any
//! more; a decoder, or an order of them, that is not known here is left to the crate, which then gives all at the end.

use serde_json::Value;
use tokenizers::Model;

use super::byte_chars::bytes_of_token;
use super::fast::Fast;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Bytes written as characters; fuses.
    ByteLevel,
    /// `<0x41>`: a run of bytes is text if it is UTF-8, else each of them is U+FFFD.
    ByteFallback,
    Replace {
        from: String,
        to: String,
    },
    Metaspace {
        mark: char,
        strips_first: bool,
    },
    WordPiece {
        prefix: String,
        cleans_up: bool,
    },
    Bpe {
        suffix: String,
    },
    /// Of each token.
    Strip {
        content: char,
        start: usize,
        stop: usize,
    },
    /// Of the whole text, once it is fused.
    StripWhole {
        content: char,
        start: usize,
        stop: usize,
    },
    /// Without a decoder: tokens between blanks.
    Join,
}

/// What a `tokenizer.json` does to decode; `None` where the crate must do it.
#[derive(Debug, Clone, Default)]
pub(super) struct Steps {
    steps: Option<Vec<Step>>,
}

impl Steps {
    pub(super) fn parse(decoder: Option<&Value>) -> Self {
        let steps = match decoder {
            None | Some(Value::Null) => Some(vec![Step::Join]),
            Some(decoder) => {
                let mut steps = Vec::new();
                let mut is_fused = false;
                read(decoder, &mut steps, &mut is_fused).map(|()| steps)
            }
        };
        Self { steps }
    }

    /// The bytes that a token of the vocabulary stands for within a text.
    pub(super) fn bytes(&self, token: &str) -> Vec<u8> {
        let mut text = token.to_owned();
        for step in self.steps.iter().flatten() {
            match step {
                Step::ByteLevel => return bytes_of_token(&text),
                Step::ByteFallback => {
                    if let Some(byte) = fallback_byte(&text) {
                        return vec![byte];
                    }
                }
                Step::Replace { from, to } => text = text.replace(from, to),
                Step::Metaspace { mark, .. } => text = text.replace(*mark, " "),
                Step::WordPiece { prefix, .. } => {
                    text = text.strip_prefix(prefix).map_or_else(|| format!(" {text}"), str::to_owned);
                }
                Step::Bpe { suffix } => text = text.replace(suffix, " "),
                Step::Strip { .. } | Step::StripWhole { .. } | Step::Join => {}
            }
        }
        text.into_bytes()
    }
}

fn read(decoder: &Value, steps: &mut Vec<Step>, is_fused: &mut bool) -> Option<()> {
    let text = |key: &str| decoder.get(key).and_then(Value::as_str);
    let number = |key: &str| decoder.get(key).and_then(Value::as_u64).map(|n| n as usize);
    let character = |key: &str| text(key)?.chars().next();
    let kind = text("type")?;
    if *is_fused && !matches!(kind, "Strip" | "Fuse") {
        return None;
    }
    steps.push(match kind {
        "Sequence" => {
            return decoder.get("decoders")?.as_array()?.iter().try_for_each(|d| read(d, steps, is_fused));
        }
        "Fuse" => {
            *is_fused = true;
            return Some(());
        }
        "ByteLevel" => {
            *is_fused = true;
            Step::ByteLevel
        }
        "ByteFallback" => Step::ByteFallback,
        "Replace" => {
            let from = decoder.get("pattern")?.get("String")?.as_str().filter(|p| !p.is_empty())?;
            Step::Replace { from: from.to_owned(), to: text("content")?.to_owned() }
        }
        "Metaspace" => {
            let never = decoder.get("add_prefix_space").and_then(Value::as_bool) == Some(false);
            let strips_first = text("prepend_scheme").map_or(!never, |scheme| scheme != "never");
            Step::Metaspace { mark: character("replacement")?, strips_first }
        }
        "WordPiece" => {
            let cleans_up = decoder.get("cleanup").and_then(Value::as_bool).unwrap_or(true);
            Step::WordPiece { prefix: text("prefix")?.to_owned(), cleans_up }
        }
        "BPEDecoder" => Step::Bpe { suffix: text("suffix").filter(|s| !s.is_empty())?.to_owned() },
        "Strip" => {
            let (content, start, stop) = (character("content")?, number("start")?, number("stop")?);
            if *is_fused { Step::StripWhole { content, start, stop } } else { Step::Strip { content, start, stop } }
        }
        _ => return None,
    });
    Some(())
}

/// As the crate reads `<0x41>`.
fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>').filter(|_| token.len() == 6)?;
    u8::from_str_radix(digits, 16).ok()
}

/// What a step keeps between tokens.
#[derive(Debug, Clone, Default)]
struct Kept {
    /// Tokens that came to it.
    count: usize,
    bytes: Vec<u8>,
    text: String,
}

/// A text that is being decoded.
#[derive(Debug, Clone)]
pub(super) struct FastDecoder {
    skip_special: bool,
    kept: Vec<Kept>,
    /// Where the crate decodes.
    ids: Vec<u32>,
}

impl FastDecoder {
    pub(super) fn new(fast: &Fast, skip_special: bool) -> Self {
        let steps = fast.steps.steps.as_ref().map_or(0, Vec::len);
        Self { skip_special, kept: vec![Kept::default(); steps], ids: Vec::new() }
    }

    /// One more token; what is certain of the text is put to the end of `out`.
    pub(super) fn push(&mut self, fast: &Fast, id: u32, out: &mut String) {
        let Some(steps) = &fast.steps.steps else {
            self.ids.push(id);
            return;
        };
        let added = fast.tokenizer.get_added_vocabulary();
        let token = added.simple_id_to_token(id).or_else(|| fast.tokenizer.get_model().id_to_token(id));
        let Some(token) = token.filter(|t| !self.skip_special || !added.is_special_token(t)) else { return };
        self.feed(steps, 0, token, out);
    }

    /// What is left at the end. Then it can begin anew.
    pub(super) fn finish(&mut self, fast: &Fast, out: &mut String) {
        match &fast.steps.steps {
            Some(steps) => (0..steps.len()).for_each(|at| self.end(steps, at, out)),
            None if self.ids.is_empty() => {}
            // What it cannot decode has no text.
            None => out.push_str(&fast.tokenizer.decode(&self.ids, self.skip_special).unwrap_or_default()),
        }
        *self = Self::new(fast, self.skip_special);
    }

    fn feed(&mut self, steps: &[Step], at: usize, token: String, out: &mut String) {
        let Some(step) = steps.get(at) else {
            out.push_str(&token);
            return;
        };
        let kept = &mut self.kept[at];
        let index = kept.count;
        kept.count += 1;
        let next = match step {
            Step::ByteLevel => {
                kept.bytes.extend(bytes_of_token(&token));
                take_text(&mut kept.bytes, false)
            }
            Step::ByteFallback => {
                if let Some(byte) = fallback_byte(&token) {
                    kept.bytes.push(byte);
                    return;
                }
                let run = take_run(&mut kept.bytes);
                if !run.is_empty() {
                    self.feed(steps, at + 1, run, out);
                }
                token
            }
            Step::Replace { from, to } => token.replace(from, to),
            Step::Metaspace { mark, strips_first } => {
                token.replace(*mark, if index == 0 && *strips_first { "" } else { " " })
            }
            Step::WordPiece { prefix, cleans_up } => {
                let token = match token.strip_prefix(prefix) {
                    _ if index == 0 => token,
                    Some(rest) => rest.to_owned(),
                    None => format!(" {token}"),
                };
                if *cleans_up { tokenizers::decoders::wordpiece::cleanup(&token) } else { token }
            }
            Step::Bpe { suffix } => {
                let before = std::mem::replace(&mut kept.text, token);
                if index == 0 {
                    return;
                }
                before.replace(suffix, " ")
            }
            Step::Strip { content, start, stop } => {
                strip_end(strip_start(&token, *content, *start).1, *content, *stop).to_owned()
            }
            Step::StripWhole { content, start, stop } => {
                // `count` holds how many are gone, once something else came: all of them.
                let gone = index.min(*start);
                let (more, rest) = strip_start(&token, *content, start - gone);
                kept.count = if rest.is_empty() { gone + more } else { *start };
                kept.text.push_str(rest);
                let sure = strip_end(&kept.text, *content, *stop).len();
                let held = kept.text.split_off(sure);
                std::mem::replace(&mut kept.text, held)
            }
            Step::Join if index > 0 => format!(" {token}"),
            Step::Join => token,
        };
        self.feed(steps, at + 1, next, out);
    }

    fn end(&mut self, steps: &[Step], at: usize, out: &mut String) {
        let kept = &mut self.kept[at];
        let rest = match &steps[at] {
            Step::ByteLevel => take_text(&mut kept.bytes, true),
            Step::ByteFallback => take_run(&mut kept.bytes),
            Step::Bpe { suffix } => std::mem::take(&mut kept.text).replace(suffix, ""),
            _ => return,
        };
        if !rest.is_empty() {
            self.feed(steps, at + 1, rest, out);
        }
    }
}

fn take_run(bytes: &mut Vec<u8>) -> String {
    let run = std::mem::take(bytes);
    let count = run.len();
    String::from_utf8(run).unwrap_or_else(|_| "\u{fffd}".repeat(count))
}

/// As `String::from_utf8_lossy`, but that a character whose other bytes may still come is kept back.
fn take_text(bytes: &mut Vec<u8>, is_end: bool) -> String {
    let mut text = String::new();
    let mut taken = 0;
    loop {
        let rest = &bytes[taken..];
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                taken = bytes.len();
                break;
            }
            Err(error) => {
                text.push_str(std::str::from_utf8(&rest[..error.valid_up_to()]).unwrap_or_default());
                taken += error.valid_up_to();
                match error.error_len() {
                    None if !is_end => break,
                    wrong => {
                        text.push(char::REPLACEMENT_CHARACTER);
                        taken = wrong.map_or(bytes.len(), |length| taken + length);
                    }
                }
            }
        }
    }
    bytes.drain(..taken);
    text
}

/// How many of `content` go from the start, at most `most`, and what is left.
fn strip_start(text: &str, content: char, most: usize) -> (usize, &str) {
    let count = text.chars().take(most).take_while(|c| *c == content).count();
    (count, &text[count * content.len_utf8()..])
}

fn strip_end(text: &str, content: char, most: usize) -> &str {
    let count = text.chars().rev().take(most).take_while(|c| *c == content).count();
    &text[..text.len() - count * content.len_utf8()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::{Decoder, DecoderWrapper};

    /// All that the steps make of tokens, and what the crate makes of them.
    fn both(decoder: &Value, tokens: &[String]) -> (String, String) {
        let steps = Steps::parse(Some(decoder)).steps.expect("known steps");
        let mut state = FastDecoder { skip_special: false, kept: vec![Kept::default(); steps.len()], ids: Vec::new() };
        let mut out = String::new();
        for token in tokens {
            state.feed(&steps, 0, token.clone(), &mut out);
        }
        (0..steps.len()).for_each(|at| state.end(&steps, at, &mut out));
        let crate_decoder: DecoderWrapper = serde_json::from_value(decoder.clone()).expect("a decoder");
        (out, crate_decoder.decode(tokens.to_vec()).expect("text"))
    }

    fn decoders() -> Vec<Value> {
        let llama = serde_json::json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
        let stops = serde_json::json!({"type": "Sequence", "decoders": [
            {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": true}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 2, "stop": 1}]});
        vec![
            llama,
            stops,
            serde_json::json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
            serde_json::json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}),
            serde_json::json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
            serde_json::json!({"type": "BPEDecoder", "suffix": "</w>"}),
        ]
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]
        #[test]
        fn steps_decode_as_the_crate_does(
            tokens in proptest::collection::vec("(<0xE2>|<0x98>|<0x83>|<0x41>|▁|▁a|b|Ġc|Ã|¤|##d|e</w>|\\.| |n't){1,2}", 1..12),
        ) {
            for decoder in decoders() {
                // A strip at the end of nothing makes the crate panic.
                let is_safe = decoder.to_string().contains("\"stop\":1") && tokens.concat().replace(['▁', ' '], "").is_empty();
                if !is_safe {
                    let (ours, theirs) = both(&decoder, &tokens);
                    proptest::prop_assert_eq!(ours, theirs, "{}", decoder);
                }
            }
        }
    }

    #[test]
    fn an_unknown_order_is_left_to_the_crate() {
        let late = serde_json::json!({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteFallback"}]});
        assert!(Steps::parse(Some(&late)).steps.is_none());
        assert!(Steps::parse(Some(&serde_json::json!({"type": "CTC"}))).steps.is_none());
    }

    #[test]
    fn the_bytes_of_a_token_are_those_of_its_text() {
        let llama = Steps::parse(Some(&decoders()[0]));
        assert_eq!(llama.bytes("▁a"), b" a");
        assert_eq!(llama.bytes("<0xE2>"), [0xe2]);
        assert_eq!(Steps::parse(Some(&decoders()[2])).bytes("ĠÃ"), [0x20, 0xc3]);
        assert_eq!(Steps::parse(Some(&decoders()[4])).bytes("##ab"), b"ab");
        assert_eq!(Steps::parse(Some(&decoders()[4])).bytes("ab"), b" ab");
    }
}
