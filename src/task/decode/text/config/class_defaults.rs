//! What a model's configuration says where `config.json` is silent: the defaults of `transformers`' configuration classes
//! (4.57), as `GenerationConfig.from_model_config` takes them over.

use serde_json::{Map, Value, json};

/// `model_type`, then `bos`, `eos`, `pad`, `decoder_start` and `forced_eos` token ids; -1 where the class has none.
const IDS: &[(&str, [i64; 5])] = &[
    ("bart", [0, 2, 1, 2, 2]),
    ("bloom", [1, 2, -1, -1, -1]),
    ("falcon", [11, 11, -1, -1, -1]),
    ("gemma", [2, 1, 0, -1, -1]),
    ("gemma2", [2, 1, 0, -1, -1]),
    ("gemma3", [2, 1, 0, -1, -1]),
    ("gemma3_text", [2, 1, 0, -1, -1]),
    ("gpt2", [50256, 50256, -1, -1, -1]),
    ("gpt_bigcode", [50256, 50256, -1, -1, -1]),
    ("gpt_neo", [50256, 50256, -1, -1, -1]),
    ("gpt_neox", [0, 2, -1, -1, -1]),
    ("gptj", [50256, 50256, -1, -1, -1]),
    ("granite", [1, 2, -1, -1, -1]),
    ("led", [0, 2, 1, 2, -1]),
    ("llama", [1, 2, -1, -1, -1]),
    ("longt5", [-1, 1, 0, -1, -1]),
    ("m2m_100", [0, 2, 1, 2, -1]),
    ("marian", [-1, 0, 58100, 58100, 0]),
    ("mbart", [0, 2, 1, -1, 2]),
    ("mistral", [1, 2, -1, -1, -1]),
    ("mixtral", [1, 2, -1, -1, -1]),
    ("moonshine", [1, 2, -1, 1, -1]),
    ("mt5", [-1, 1, 0, 0, -1]),
    ("olmo2", [-1, 50279, 1, -1, -1]),
    ("opt", [2, 2, 1, -1, -1]),
    ("pegasus", [-1, 1, 0, 0, 1]),
    ("phi", [1, 2, -1, -1, -1]),
    ("phi3", [1, 32000, 32000, -1, -1]),
    ("smollm3", [128_000, 128_001, 128_004, -1, -1]),
    ("starcoder2", [50256, 50256, -1, -1, -1]),
    ("t5", [-1, 1, 0, -1, -1]),
    ("umt5", [-1, 1, 0, 0, -1]),
    ("whisper", [50256, 50256, 50256, 50257, -1]),
    ("xglm", [0, 2, 1, 2, -1]),
];

const NAMES: [&str; 5] =
    ["bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "forced_eos_token_id"];

/// The defaults of the class of `model_type`; empty where it is not known.
pub(super) fn of(model_type: &str) -> Map<String, Value> {
    let ids = IDS.iter().find(|(name, _)| *name == model_type).map_or([-1; 5], |(_, ids)| *ids);
    let known = NAMES.iter().zip(ids).filter(|(_, id)| *id >= 0);
    let mut defaults: Map<String, Value> = known.map(|(name, id)| ((*name).to_owned(), json!(id))).collect();
    if model_type == "whisper" {
        defaults.insert("begin_suppress_tokens".into(), json!([220, 50256]));
    }
    defaults
}
