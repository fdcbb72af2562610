//! What a writing model's `config.json` says: shape, not taste.

use std::path::Path;

use serde_json::Value;

use crate::store::{PackageError, layout};

/// A configuration, as far as a pipeline needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WriterConfig {
    /// Number of logits.
    pub(super) vocabulary: usize,
    /// Most positions of the decoder; `None` where the model has no such limit (T5's relative positions).
    pub(super) context: Option<usize>,
    /// Most positions of the encoder.
    pub(super) encoder_context: Option<usize>,
    pub(super) is_encoder_decoder: bool,
}

/// Largest vocabulary that is believable.
const MAX_VOCABULARY: usize = 1 << 22;

impl WriterConfig {
    pub(super) fn read(dir: &Path) -> Result<Self, PackageError> {
        Self::of(&layout::read_config(dir)?)
            .map_err(|reason| PackageError::invalid(&dir.join(crate::store::CONFIG), reason))
    }

    fn of(config: &Value) -> Result<Self, String> {
        // Gemma 3 and its like keep the text model's numbers in a section of their own.
        let number = |key: &str| {
            let own = [&config[key], &config["text_config"][key], &config["decoder"][key]];
            own.into_iter().find_map(Value::as_u64).and_then(|n| usize::try_from(n).ok())
        };
        let vocabulary =
            number("decoder_vocab_size").or_else(|| number("vocab_size")).ok_or("vocab_size is missing")?;
        if !(1..=MAX_VOCABULARY).contains(&vocabulary) {
            return Err(format!("vocab_size is {vocabulary}, but must be 1 to {MAX_VOCABULARY}"));
        }
        let family = config["model_type"].as_str().unwrap_or_default();
        let is_encoder_decoder = config["is_encoder_decoder"] == true;
        // T5 names n_positions, which its relative positions do not keep to.
        let bounded = !matches!(family, "t5" | "mt5" | "umt5" | "bloom");
        let keys =
            ["max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "seq_length", "max_seq_len"];
        let context = keys.iter().find_map(|key| number(key)).filter(|_| bounded);
        Ok(Self { vocabulary, context, encoder_context: context.filter(|_| is_encoder_decoder), is_encoder_decoder })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_found_where_each_family_writes_them() {
        let of = |config: Value| WriterConfig::of(&config).expect("whole");
        let llama = of(json!({ "model_type": "llama", "vocab_size": 32000, "max_position_embeddings": 2048 }));
        assert_eq!((llama.vocabulary, llama.context, llama.is_encoder_decoder), (32000, Some(2048), false));
        assert_eq!(of(json!({ "model_type": "gpt2", "vocab_size": 9, "n_positions": 1024 })).context, Some(1024));
        let gemma =
            of(json!({ "model_type": "gemma3", "text_config": { "vocab_size": 7, "max_position_embeddings": 8 } }));
        assert_eq!((gemma.vocabulary, gemma.context), (7, Some(8)));
        let t5 = of(json!({ "model_type": "t5", "vocab_size": 5, "n_positions": 512, "is_encoder_decoder": true }));
        assert_eq!((t5.context, t5.encoder_context, t5.is_encoder_decoder), (None, None, true));
        let marian = of(json!({
            "model_type": "marian", "vocab_size": 5, "decoder_vocab_size": 6, "max_position_embeddings": 512,
            "is_encoder_decoder": true
        }));
        assert_eq!((marian.vocabulary, marian.encoder_context), (6, Some(512)));
        assert!(WriterConfig::of(&json!({ "model_type": "llama" })).is_err());
        assert!(WriterConfig::of(&json!({ "vocab_size": u64::MAX })).is_err());
    }
}
