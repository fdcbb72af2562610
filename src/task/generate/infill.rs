//! Code between a beginning and an end: each family marks the three places by tokens of its own.

use linnet_proto::{ErrorCode, WireError};

use super::{Shared, refused};
use crate::task::tokenizer::Encode;

/// Tokens in front of the beginning, the end, and the middle that is to be written.
const MARKS: [[&str; 3]; 5] = [
    // StarCoder, StarCoder2, SmolLM's code models.
    ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
    // Qwen2.5-Coder, CodeGemma.
    ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
    // CodeLlama.
    ["▁<PRE>", "▁<SUF>", "▁<MID>"],
    // DeepSeek-Coder, whose middle mark stands where the hole is.
    ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"],
    // Granite.
    ["<fim-prefix>", "<fim-suffix>", "<fim-middle>"],
];

/// The ids that ask for what stands between.
pub(super) fn prompt(shared: &Shared, prefix: &str, suffix: &str) -> Result<Vec<u32>, WireError> {
    let tokenizer = shared.tokenizer()?;
    let known = MARKS.iter().find_map(|marks| {
        let ids = marks.map(|mark| tokenizer.token_to_id(mark));
        match ids {
            [Some(a), Some(b), Some(c)] => Some([a, b, c]),
            _ => None,
        }
    });
    let Some([before, after, middle]) = known else {
        let message =
            format!("the model {} has no tokens for infilling; a model of code has (<fim_prefix> …)", shared.name);
        return Err(WireError::new(ErrorCode::UnsupportedTask, message).with_param("suffix"));
    };
    let plain = Encode { add_special: false, ..Encode::default() };
    let part = |text: &str| tokenizer.encode(text, plain).map(|e| e.ids).map_err(|e| refused(&e));
    let bos = tokenizer.encode("", Encode::default()).map(|e| e.ids).unwrap_or_default();
    let mut ids: Vec<u32> =
        bos.first().copied().filter(|id| Some(*id) == tokenizer.special().bos).into_iter().collect();
    ids.push(before);
    ids.extend(part(prefix)?);
    ids.push(after);
    ids.extend(part(suffix)?);
    ids.push(middle);
    Ok(ids)
}
