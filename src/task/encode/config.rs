//! What an encoder's `config.json`, and sentence-transformers' files beside it, say.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::store::{PackageError, layout};

/// How token vectors become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooling {
    Mean,
    Cls,
    Last,
    Max,
}

impl Pooling {
    /// Reads the name of an option.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "mean" => Self::Mean,
            "cls" => Self::Cls,
            "last" => Self::Last,
            "max" => Self::Max,
            _ => return None,
        })
    }
}

/// A configuration, as far as a pipeline needs it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EncoderConfig {
    /// Labels by id.
    pub(super) labels: Vec<String>,
    /// Several labels may hold at once.
    pub(super) multi_label: bool,
    /// Most tokens of an input, those around it counted.
    pub(super) max_tokens: usize,
    pub(super) vocabulary: Option<usize>,
    /// Tokens that go on with a word begin with `##`.
    pub(super) word_pieces: bool,
    pub(super) pooling: Pooling,
    pub(super) normalize: bool,
    /// Texts put in front of an input, by name.
    pub(super) prompts: BTreeMap<String, String>,
    pub(super) default_prompt: Option<String>,
}

/// Most tokens where nothing says.
const DEFAULT_MAX_TOKENS: usize = 512;

impl EncoderConfig {
    pub(super) fn read(dir: &Path) -> Result<Self, PackageError> {
        let config = layout::read_config(dir)?;
        let number = |key: &str| config[key].as_u64().and_then(|n| usize::try_from(n).ok());
        let beside = |name: &str| -> Value {
            let bytes = std::fs::metadata(dir.join(name)).ok().filter(|m| m.len() < 1 << 20);
            bytes
                .and_then(|_| std::fs::read(dir.join(name)).ok())
                .and_then(|b| serde_json::from_slice(&b).ok())
                .unwrap_or_default()
        };
        let tokenizer = beside("tokenizer_config.json");
        let mut max_tokens = number("max_position_embeddings").unwrap_or(DEFAULT_MAX_TOKENS);
        // RoBERTa counts positions from behind the padding's.
        let offsets = ["roberta", "xlm-roberta", "camembert", "mpnet"];
        if config["model_type"].as_str().is_some_and(|family| offsets.contains(&family)) {
            max_tokens = max_tokens.saturating_sub(number("pad_token_id").unwrap_or(1) + 1);
        }
        // transformers writes 1e30 for "no limit".
        if let Some(most) = tokenizer["model_max_length"].as_u64().and_then(|n| usize::try_from(n).ok()) {
            max_tokens = max_tokens.min(most);
        }
        if let Some(most) = beside("sentence_bert_config.json")["max_seq_length"].as_u64() {
            max_tokens = max_tokens.min(usize::try_from(most).unwrap_or(usize::MAX));
        }
        let modules = beside("modules.json");
        let has = |kind: &str| {
            let kinds = modules.as_array().into_iter().flatten().filter_map(|module| module["type"].as_str());
            kinds.into_iter().any(|own| own.ends_with(kind))
        };
        let pooling = beside("1_Pooling/config.json");
        let flag = |key: &str| pooling[key] == true;
        let prompts = beside("config_sentence_transformers.json");
        Ok(Self {
            labels: labels(&config),
            multi_label: config["problem_type"] == "multi_label_classification",
            max_tokens: max_tokens.max(8),
            vocabulary: number("vocab_size"),
            word_pieces: config["model_type"]
                .as_str()
                .is_some_and(|family| ["bert", "distilbert", "mpnet", "electra", "nomic_bert"].contains(&family)),
            pooling: if flag("pooling_mode_cls_token") {
                Pooling::Cls
            } else if flag("pooling_mode_lasttoken") {
                Pooling::Last
            } else if flag("pooling_mode_max_tokens") {
                Pooling::Max
            } else {
                Pooling::Mean
            },
            // A bare encoder's vectors are compared by their angle: of length 1 that is a product.
            normalize: modules.is_null() || has("Normalize"),
            prompts: prompts["prompts"]
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned())))
                .collect(),
            default_prompt: prompts["default_prompt_name"].as_str().map(str::to_owned),
        })
    }

    /// The id of a label whose name begins so, whatever its case.
    pub(super) fn label_like(&self, beginning: &str) -> Option<usize> {
        self.labels.iter().position(|label| label.to_lowercase().starts_with(beginning))
    }
}

/// `id2label` in the order of its ids.
fn labels(config: &Value) -> Vec<String> {
    let by_id: BTreeMap<usize, String> = config["id2label"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(id, label)| Some((id.parse().ok()?, label.as_str()?.to_owned())))
        .collect();
    if by_id.is_empty() {
        let count = config["num_labels"].as_u64().unwrap_or(2).min(1 << 16);
        return (0..count).map(|id| format!("LABEL_{id}")).collect();
    }
    let whole = by_id.keys().copied().eq(0..by_id.len());
    if whole { by_id.into_values().collect() } else { Vec::new() }
}
