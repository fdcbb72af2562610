//! CTC packages of other people: wav2vec2, HuBERT, WavLM and what is shaped like them, as `transformers` saves and Optimum exports them.

use std::collections::BTreeMap;

use linnet_proto::model_config::{DecodingDefaults, UnitKind};
use serde_json::{Map, Value};

use super::acoustics::{Acoustics, Front};
use crate::engine::{Engine, Model};
use crate::store::{Package, PackageError, layout};
use crate::task::decode::Units;
use crate::task::decode::units::{BLANK, WORD_START};

/// `model_type` of the families.
pub(in crate::task) const FAMILIES: &[&str] =
    &["wav2vec2", "wav2vec2-conformer", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat"];

/// Longest piece: attention over all of its frames takes memory with the square of their number.
const MAX_SEGMENT_SECS: f64 = 20.0;
/// Most units that are believable.
const MAX_UNITS: u64 = 65_536;

/// What a package says of its graph, and its units.
pub(super) struct Foreign {
    pub(super) acoustics: Acoustics,
    pub(super) units: Units,
    pub(super) model: std::sync::Arc<dyn Model>,
}

/// Loads a package; each error names its file.
pub(super) fn load(package: &Package, engine: &dyn Engine) -> Result<Foreign, PackageError> {
    let config = layout::read_config(&package.dir)?;
    let invalid = |reason: String| PackageError::invalid(&package.dir, reason);
    let units = match config["vocab_size"].as_u64() {
        Some(units @ 2..=MAX_UNITS) => units as usize,
        _ => return Err(invalid(format!("config.json: vocab_size must be 2 to {MAX_UNITS}"))),
    };
    let blank = config["pad_token_id"].as_u64().unwrap_or(0) as usize;
    let names = names(package, units, blank)?;
    let memory = crate::store::memory::memory();
    package.check_memory(memory)?;
    let available = memory.map(|memory| memory.available_mib << 20);
    let graphs = layout::choose(&package.dir, package.manifest.dtype.as_deref(), available)?;
    let onnx = graphs.part("model").ok_or_else(|| {
        invalid("model.onnx is missing, here and in onnx/; export the model for automatic-speech-recognition".into())
    })?;
    let model = engine.load(&package.dir, onnx)?;
    let acoustics = Acoustics {
        front: front(package, &config, &*model)?,
        output: "logits".into(),
        is_normalized: false,
        units,
        max_segment_secs: MAX_SEGMENT_SECS,
        // Without a language model a beam finds what greedy search finds.
        decoding: DecodingDefaults { beam_width: 1, lm_weight: 0.0, word_bonus: 0.0, ..DecodingDefaults::default() },
    };
    acoustics.try_out(&package.path_of(onnx), &*model)?;
    let units = Units::new(&names, blank, UnitKind::Bpe)
        .map_err(|e| PackageError::invalid(&package.path("vocab.json"), e.to_string()))?;
    Ok(Foreign { acoustics, units, model })
}

fn front(package: &Package, config: &Value, model: &dyn Model) -> Result<Front, PackageError> {
    let invalid = |file: &str, reason: String| PackageError::invalid(&package.path(file), reason);
    let list = |key: &str| -> Option<Vec<usize>> {
        config[key]
            .as_array()?
            .iter()
            .map(|n| n.as_u64().filter(|n| (1..=4096).contains(n)).map(|n| n as usize))
            .collect()
    };
    let (kernels, strides) = list("conv_kernel").zip(list("conv_stride")).unwrap_or_default();
    if kernels.is_empty() || kernels.len() != strides.len() || kernels.len() > 32 {
        let reason =
            "conv_kernel and conv_stride must be lists of the same length; they say how many samples a frame has";
        return Err(invalid("config.json", reason.into()));
    }
    let file = "preprocessor_config.json";
    let extractor = if package.path(file).is_file() { layout::read_json(&package.path(file))? } else { Value::Null };
    if let Some(rate) = extractor["sampling_rate"].as_u64().filter(|rate| *rate != 16_000) {
        return Err(invalid(file, format!("sampling_rate is {rate}, but must be 16000")));
    }
    let (mut input, mut mask) = (None, None);
    for port in model.inputs() {
        match port.name.as_str() {
            "input_values" => input = Some(port.name.clone()),
            "attention_mask" => mask = Some((port.name.clone(), port.datum)),
            other => {
                let reason = format!("the graph takes `{other}`, which no CTC export on samples does");
                return Err(PackageError::invalid(&package.dir, reason));
            }
        }
    }
    let input = input.ok_or_else(|| {
        PackageError::invalid(&package.dir, "the graph takes no `input_values`; it does not hear samples")
    })?;
    Ok(Front::Waveform {
        input,
        mask,
        normalizes: extractor["do_normalize"].as_bool().unwrap_or(true),
        layers: kernels.into_iter().zip(strides).collect(),
    })
}

/// Names of all units by id as [`Units`] takes them: the blank and the mark of a word's beginning have its names, what stands for no text
/// is in angle brackets.
fn names(package: &Package, units: usize, blank: usize) -> Result<Vec<String>, PackageError> {
    let path = package.path("vocab.json");
    if !path.is_file() {
        let reason =
            "it is missing; export the model with its tokenizer, or copy the file of the model it was made from";
        return Err(PackageError::invalid(&path, reason));
    }
    let optional = |file: &str| -> Result<Value, PackageError> {
        if package.path(file).is_file() { layout::read_json(&package.path(file)) } else { Ok(Value::Null) }
    };
    let (vocabulary, tokenizer) = (layout::read_json(&path)?, optional("tokenizer_config.json")?);
    let (added, special) = (optional("added_tokens.json")?, optional("special_tokens_map.json")?);
    named(&vocabulary, &added, &tokenizer, &special, units, blank)
        .map_err(|reason| PackageError::invalid(&path, reason))
}

fn named(
    vocabulary: &Value,
    added: &Value,
    tokenizer: &Value,
    special: &Value,
    units: usize,
    blank: usize,
) -> Result<Vec<String>, String> {
    let vocabulary = of_language(vocabulary, tokenizer)?;
    let delimiter = tokenizer["word_delimiter_token"].as_str().unwrap_or("|");
    let lowers = tokenizer["do_lower_case"].as_bool().unwrap_or(false);
    // The names of tokens that have a role: they are no text.
    let roles = ["bos_token", "eos_token", "unk_token", "pad_token"];
    let role = |of: &Value| of.as_str().or(of["content"].as_str()).map(str::to_owned);
    let silent: Vec<String> =
        roles.iter().flat_map(|key| [&tokenizer[*key], &special[*key]]).filter_map(role).collect();
    let mut by_id = BTreeMap::new();
    for (name, id) in vocabulary.iter().chain(added.as_object().into_iter().flatten()) {
        let id = id.as_u64().ok_or_else(|| format!("the id of `{}` is {id}, which is no id", name.escape_debug()))?;
        by_id.insert(id as usize, name.as_str());
    }
    let is_listed = |name: &str| vocabulary.contains_key(name);
    if let Some((id, name)) = by_id.iter().find(|(id, name)| **id >= units && is_listed(name)) {
        let name = name.escape_debug();
        return Err(format!(
            "`{name}` has the id {id}, but config.json says vocab_size is {units}; both must come from one export"
        ));
    }
    (0..units)
        .map(|id| {
            if id == blank {
                return Ok(BLANK.to_owned());
            }
            let name = by_id.get(&id).ok_or_else(|| {
                format!("no unit has the id {id}, but config.json says vocab_size is {units}; both must come from one export")
            })?;
            Ok(match *name {
                name if name == delimiter => WORD_START.to_string(),
                name if silent.iter().any(|silent| silent == name) => format!("<{name}>"),
                name if lowers => name.to_lowercase(),
                name => name.to_owned(),
            })
        })
        .collect()
}

/// The vocabulary; of a file with one for each language (MMS) that of `target_lang`.
fn of_language<'a>(vocabulary: &'a Value, tokenizer: &Value) -> Result<&'a Map<String, Value>, String> {
    let whole = vocabulary.as_object().ok_or("it is not a JSON object")?;
    if !whole.values().any(Value::is_object) {
        return Ok(whole);
    }
    let language = tokenizer["target_lang"].as_str().unwrap_or_default();
    whole.get(language).and_then(Value::as_object).ok_or_else(|| {
        format!(
            "it has a vocabulary for each of {} languages; target_lang in tokenizer_config.json must name one",
            whole.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn units_are_what_the_tokenizers_files_say() {
        let vocabulary = json!({"<pad>": 0, "<s>": 1, "|": 2, "A": 3, "'": 4});
        let names =
            named(&vocabulary, &Value::Null, &json!({"do_lower_case": true, "bos_token": "<s>"}), &Value::Null, 5, 0);
        assert_eq!(names.expect("they agree"), ["<blank>", "<<s>>", "▁", "a", "'"]);
        // A fine-tuned model: its own names, tokens added behind, of which the graph knows none.
        let vocabulary = json!({"a": 0, " ": 1, "[UNK]": 2, "[PAD]": 3});
        let (added, special) =
            (json!({"<s>": 4, "</s>": 5}), json!({"unk_token": {"content": "[UNK]"}, "pad_token": "[PAD]"}));
        let names = named(&vocabulary, &added, &json!({"word_delimiter_token": " "}), &special, 4, 3);
        let names = names.expect("they agree");
        assert_eq!(names, ["a", "▁", "<[UNK]>", "<blank>"]);
        let units = Units::new(&names, 3, UnitKind::Bpe).expect("well formed");
        assert_eq!(units.spell(&[0, 2, 1, 0, 1]), "a a");
    }

    #[test]
    fn a_vocabulary_of_another_model_is_named() {
        let refused = |vocabulary: Value, units| {
            named(&vocabulary, &Value::Null, &Value::Null, &Value::Null, units, 0).expect_err("they do not agree")
        };
        assert!(refused(json!({"<pad>": 0, "a": 1}), 3).contains("no unit has the id 2"));
        assert!(refused(json!({"<pad>": 0, "a": 9}), 2).contains("`a` has the id 9"));
        assert!(refused(json!({"<pad>": 0, "a": "b"}), 2).contains("no id"));
        assert!(refused(json!({"deu": {"a": 1}, "eng": {"a": 1}}), 2).contains("target_lang"));
    }
}
