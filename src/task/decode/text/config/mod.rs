//! `generation_config.json` and, where a package has none, what `config.json` says of generation: read as `transformers` 4.57
//! reads them.

mod class_defaults;
mod fields;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde_json::{Map, Value};

use fields::Fields;

/// The file that `transformers` writes beside a model.
const GENERATION_CONFIG: &str = "generation_config.json";
const CONFIG: &str = "config.json";

/// Why a configuration cannot be honoured. Each names file, key and way out.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file} cannot be read: {reason}")]
    Read {
        /// The file.
        file: &'static str,
        /// One sentence.
        reason: String,
    },
    /// A value is outside its rule.
    #[error("{file}: {key} {rule}")]
    Value {
        /// The file.
        file: &'static str,
        /// The key.
        key: String,
        /// Its rule.
        rule: String,
    },
    /// A way of generating that Linnet does not do.
    #[error("{file}: {key} asks for {what}, which Linnet does not do; remove the key to generate without")]
    Unsupported {
        /// The file.
        file: &'static str,
        /// The key.
        key: &'static str,
        /// What it turns on.
        what: &'static str,
    },
}

/// When a beam search ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyStopping {
    /// `true`: as soon as as many sequences are finished as there are beams.
    WhenFull,
    /// `false`: when what runs is, at its present length, worse than the worst that is finished.
    #[default]
    Heuristic,
    /// `"never"`: when what runs cannot become better than the worst that is finished.
    Never,
}

/// What a model's files say of generation. Fields have the names and meaning of `transformers`' `GenerationConfig`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // Each is documented under its own name in transformers.
pub struct GenerationConfig {
    pub bos_token_id: Option<u32>,
    pub eos_token_id: Vec<u32>,
    pub pad_token_id: Option<u32>,
    pub decoder_start_token_id: Option<u32>,
    pub forced_bos_token_id: Option<u32>,
    pub forced_eos_token_id: Vec<u32>,
    pub suppress_tokens: Vec<u32>,
    pub begin_suppress_tokens: Vec<u32>,
    pub bad_words_ids: Vec<Vec<u32>>,
    pub sequence_bias: Vec<(Vec<u32>, f32)>,
    /// `None` where the file names none, or names `transformers`' default of 20, which is no length that anybody chose.
    pub max_length: Option<u64>,
    pub max_new_tokens: Option<u64>,
    pub min_length: u64,
    pub min_new_tokens: Option<u64>,
    pub max_time: Option<f64>,
    pub stop_strings: Vec<String>,
    pub do_sample: bool,
    pub num_beams: u32,
    pub early_stopping: EarlyStopping,
    pub length_penalty: f64,
    pub temperature: f64,
    /// 0 is off.
    pub top_k: u32,
    pub top_p: f64,
    pub min_p: Option<f64>,
    pub typical_p: f64,
    pub epsilon_cutoff: f64,
    pub eta_cutoff: f64,
    pub repetition_penalty: f64,
    pub encoder_repetition_penalty: f64,
    pub no_repeat_ngram_size: u32,
    pub encoder_no_repeat_ngram_size: u32,
    /// Tokens before it begins, and the factor per token.
    pub exponential_decay_length_penalty: Option<(u64, f64)>,
    pub renormalize_logits: bool,
    pub remove_invalid_values: bool,
    /// Every key of the file, for families that read more (Whisper's `lang_to_id`, …).
    pub all: Map<String, Value>,
}

impl Default for GenerationConfig {
    fn default() -> Self {
        Self {
            bos_token_id: None,
            eos_token_id: Vec::new(),
            pad_token_id: None,
            decoder_start_token_id: None,
            forced_bos_token_id: None,
            forced_eos_token_id: Vec::new(),
            suppress_tokens: Vec::new(),
            begin_suppress_tokens: Vec::new(),
            bad_words_ids: Vec::new(),
            sequence_bias: Vec::new(),
            max_length: None,
            max_new_tokens: None,
            min_length: 0,
            min_new_tokens: None,
            max_time: None,
            stop_strings: Vec::new(),
            do_sample: false,
            num_beams: 1,
            early_stopping: EarlyStopping::Heuristic,
            length_penalty: 1.0,
            temperature: 1.0,
            top_k: 50,
            top_p: 1.0,
            min_p: None,
            typical_p: 1.0,
            epsilon_cutoff: 0.0,
            eta_cutoff: 0.0,
            repetition_penalty: 1.0,
            encoder_repetition_penalty: 1.0,
            no_repeat_ngram_size: 0,
            encoder_no_repeat_ngram_size: 0,
            exponential_decay_length_penalty: None,
            renormalize_logits: false,
            remove_invalid_values: false,
            all: Map::new(),
        }
    }
}

/// Keys that change what is generated in ways that Linnet does not have, with the value that leaves them off.
const UNSUPPORTED: [(&str, &str); 9] = [
    ("guidance_scale", "guidance by a second prompt"),
    ("watermarking_config", "a watermark"),
    ("token_healing", "healing of the prompt's last token"),
    ("penalty_alpha", "contrastive search"),
    ("dola_layers", "contrasting of layers"),
    ("num_beam_groups", "beams in groups"),
    ("diversity_penalty", "beams in groups"),
    ("constraints", "words that a beam search must place"),
    ("force_words_ids", "words that a beam search must place"),
];

impl GenerationConfig {
    /// Reads a package's directory: `generation_config.json`, or what `config.json` says when there is none.
    pub fn of_package(package: &Path) -> Result<Self, ConfigError> {
        match read(package, GENERATION_CONFIG)? {
            Some(values) => Self::of_values(GENERATION_CONFIG, values),
            None => Self::of_model_config(read(package, CONFIG)?.unwrap_or_default()),
        }
    }

    /// Reads the keys of a `generation_config.json`.
    pub fn of_generation_config(values: Map<String, Value>) -> Result<Self, ConfigError> {
        Self::of_values(GENERATION_CONFIG, values)
    }

    /// Reads the keys of a `config.json`. Those that are silent have the defaults of the model's class, and those of a
    /// decoder's own section (`text_config`, `decoder`) count where the outer ones say nothing.
    pub fn of_model_config(mut values: Map<String, Value>) -> Result<Self, ConfigError> {
        let nested = ["decoder", "generator", "text_config"].iter().find_map(|name| values.get(*name)?.as_object());
        let nested = nested.cloned();
        // A class that only holds others together has no ids of its own.
        if nested.is_none() || values.get("model_type").and_then(Value::as_str) != Some("gemma3") {
            for (key, value) in class_defaults_of(&values) {
                values.entry(key).or_insert(value);
            }
        }
        values.retain(|_, value| !value.is_null());
        if let Some(nested) = nested {
            let defaults = class_defaults_of(&nested);
            for (key, value) in nested.into_iter().filter(|(_, value)| !value.is_null()).chain(defaults) {
                values.entry(key).or_insert(value);
            }
        }
        Self::of_values(CONFIG, values)
    }

    fn of_values(file: &'static str, values: Map<String, Value>) -> Result<Self, ConfigError> {
        let fields = Fields { file, values: &values };
        for (key, what) in UNSUPPORTED {
            if fields.get(key).is_some_and(|value| !is_off(key, value)) {
                return Err(ConfigError::Unsupported { file, key, what });
            }
        }
        let default = Self::default();
        let huge = 1e9;
        let probability = |key: &str, otherwise: f64| Ok(fields.number(key, 0.0, 1.0)?.unwrap_or(otherwise));
        let narrow = |key: &str, otherwise: u32| {
            Ok(fields.whole(key)?.map_or(otherwise, |n| u32::try_from(n).unwrap_or(u32::MAX)))
        };
        Ok(Self {
            bos_token_id: fields.id("bos_token_id")?,
            eos_token_id: fields.ids("eos_token_id")?,
            pad_token_id: fields.id("pad_token_id")?,
            decoder_start_token_id: fields.id("decoder_start_token_id")?,
            forced_bos_token_id: fields.id("forced_bos_token_id")?,
            forced_eos_token_id: fields.ids("forced_eos_token_id")?,
            suppress_tokens: fields.ids("suppress_tokens")?,
            begin_suppress_tokens: fields.ids("begin_suppress_tokens")?,
            bad_words_ids: fields.sequences("bad_words_ids")?,
            sequence_bias: fields.biases("sequence_bias")?,
            max_length: fields.whole("max_length")?.filter(|length| *length != 20),
            max_new_tokens: fields.whole("max_new_tokens")?,
            min_length: fields.whole("min_length")?.unwrap_or(0),
            min_new_tokens: fields.whole("min_new_tokens")?,
            max_time: fields.number("max_time", 0.0, huge)?,
            stop_strings: fields.texts("stop_strings")?,
            do_sample: fields.flag("do_sample")?,
            num_beams: narrow("num_beams", 1)?.max(1),
            early_stopping: match fields.get("early_stopping") {
                None | Some(Value::Bool(false)) => EarlyStopping::Heuristic,
                Some(Value::Bool(true)) => EarlyStopping::WhenFull,
                Some(Value::String(never)) if never == "never" => EarlyStopping::Never,
                Some(_) => {
                    let rule = "must be true, false or \"never\"".to_owned();
                    return Err(ConfigError::Value { file, key: "early_stopping".into(), rule });
                }
            },
            length_penalty: fields.number("length_penalty", -huge, huge)?.unwrap_or(1.0),
            temperature: fields.number("temperature", 0.0, huge)?.unwrap_or(1.0),
            top_k: match fields.values.get("top_k") {
                // `null` turns it off, while silence means 50.
                Some(Value::Null) => 0,
                _ => narrow("top_k", default.top_k)?,
            },
            top_p: probability("top_p", 1.0)?,
            min_p: fields.number("min_p", 0.0, 1.0)?,
            typical_p: probability("typical_p", 1.0)?,
            epsilon_cutoff: probability("epsilon_cutoff", 0.0)?,
            eta_cutoff: probability("eta_cutoff", 0.0)?,
            repetition_penalty: fields.number("repetition_penalty", 1e-9, huge)?.unwrap_or(1.0),
            encoder_repetition_penalty: fields.number("encoder_repetition_penalty", 1e-9, huge)?.unwrap_or(1.0),
            no_repeat_ngram_size: narrow("no_repeat_ngram_size", 0)?,
            encoder_no_repeat_ngram_size: narrow("encoder_no_repeat_ngram_size", 0)?,
            exponential_decay_length_penalty: match fields.get("exponential_decay_length_penalty") {
                None => None,
                Some(value) => {
                    let pair =
                        value.as_array().and_then(|pair| Some((pair.first()?.as_u64()?, pair.get(1)?.as_f64()?)));
                    let rule = || "must be a pair: a number of tokens, and a factor".to_owned();
                    let key = "exponential_decay_length_penalty";
                    Some(pair.ok_or_else(|| ConfigError::Value { file, key: key.into(), rule: rule() })?)
                }
            },
            renormalize_logits: fields.flag("renormalize_logits")?,
            remove_invalid_values: fields.flag("remove_invalid_values")?,
            all: values,
        })
    }

    /// The ids that an encoder-decoder's answer begins behind: `decoder_start_token_id`, else `bos_token_id`.
    pub fn decoder_start(&self) -> Option<u32> {
        self.decoder_start_token_id.or(self.bos_token_id)
    }
}

/// Whether the value of one of [`UNSUPPORTED`] leaves it off.
fn is_off(key: &str, value: &Value) -> bool {
    match key {
        "guidance_scale" | "num_beam_groups" => value.as_f64() == Some(1.0),
        "diversity_penalty" | "penalty_alpha" => value.as_f64() == Some(0.0),
        _ => value.as_bool() == Some(false),
    }
}

fn class_defaults_of(values: &Map<String, Value>) -> Map<String, Value> {
    class_defaults::of(values.get("model_type").and_then(Value::as_str).unwrap_or_default())
}

/// The object that a file of the package holds; `None` when there is no such file.
fn read(package: &Path, file: &'static str) -> Result<Option<Map<String, Value>>, ConfigError> {
    let refuse = |reason: String| Err(ConfigError::Read { file, reason });
    let path = package.join(file);
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return refuse(error.to_string()),
        Ok(meta) if meta.len() > crate::limits::MAX_MODEL_CONFIG_BYTES => {
            let limit = crate::limits::MAX_MODEL_CONFIG_BYTES;
            return refuse(format!("it has {} bytes; at most {limit} are read", meta.len()));
        }
        Ok(_) => {}
    }
    match std::fs::read(&path) {
        Err(error) => refuse(error.to_string()),
        Ok(bytes) => match serde_json::from_slice::<Map<String, Value>>(&bytes) {
            Ok(values) => Ok(Some(values)),
            Err(error) => refuse(format!("it is no JSON object: {error}")),
        },
    }
}
