//! What a `linnet-ctc` package's files must agree on.

use std::path::Path;

use linnet_proto::manifest::Manifest;
use linnet_proto::model_config::CtcConfig;
use tokenizers::Tokenizer;

use super::{CONFIG, CTC_FAMILY, MAX_CONFIG_BYTES, PackageError, TOKENIZER, paths, read_text};
use crate::engine::{Model, Tensor, TensorData};

/// Name of the graph's input.
pub(crate) const FEATURES: &str = "features";
/// Name of the graph's output.
pub(crate) const LOG_PROBS: &str = "log_probs";
/// Token of the blank.
const BLANK: &str = "<blank>";
/// Most units that are believable; a lying configuration must not make anybody allocate more.
const MAX_UNITS: usize = 65_536;
/// Longest segment that a configuration may ask for, seconds.
const MAX_SEGMENT_SECS: f64 = 120.0;

/// Reads `config.json` and checks it against itself and against the manifest's list of files.
pub(super) fn read_config(dir: &Path, manifest: &Manifest) -> Result<CtcConfig, PackageError> {
    let path = dir.join(CONFIG);
    let text = read_text(&path, MAX_CONFIG_BYTES)?;
    let config: CtcConfig = serde_json::from_str(&text).map_err(|e| PackageError::invalid(&path, e.to_string()))?;
    check_config(&config, manifest).map_err(|reason| PackageError::invalid(&path, reason))?;
    Ok(config)
}

fn check_config(config: &CtcConfig, manifest: &Manifest) -> Result<(), String> {
    if config.model_type != CTC_FAMILY {
        return Err(format!("model_type is \"{}\", but the manifest says \"{CTC_FAMILY}\"", config.model_type));
    }
    if config.sample_rate != linnet_features::audio::SAMPLE_RATE {
        return Err(format!("sample_rate is {}, but must be 16000", config.sample_rate));
    }
    if config.mel_bins != 80 {
        return Err(format!("mel_bins is {}, but must be 80", config.mel_bins));
    }
    if config.frame_shift_ms != 10.0 {
        return Err(format!("frame_shift_ms is {}, but must be 10", config.frame_shift_ms));
    }
    if !(1..=16).contains(&config.subsampling) {
        return Err(format!("subsampling is {}, but must be 1 to 16", config.subsampling));
    }
    if !(2..=MAX_UNITS).contains(&config.units) {
        return Err(format!("units is {}, but must be 2 to {MAX_UNITS}", config.units));
    }
    if config.blank_id >= config.units {
        return Err(format!("blank_id is {}, but there are only {} units", config.blank_id, config.units));
    }
    if !(1.0..=MAX_SEGMENT_SECS).contains(&config.max_segment_secs) {
        return Err(format!("max_segment_secs is {}, but must be 1 to {MAX_SEGMENT_SECS}", config.max_segment_secs));
    }
    let decoding = &config.decoding;
    if !(1..=1024).contains(&decoding.beam_width) {
        return Err(format!("decoding.beam_width is {}, but must be 1 to 1024", decoding.beam_width));
    }
    let weights = [decoding.lm_weight, decoding.word_bonus, decoding.hot_word_boost];
    if weights.iter().any(|w| !w.is_finite()) {
        return Err("decoding has a weight that is not a finite number".into());
    }
    for (key, file) in [("onnx", Some(&config.onnx)), ("language_model", config.language_model.as_ref())] {
        let Some(file) = file else { continue };
        paths::check(file).map_err(|rule| format!("{key} names `{}`, which {rule}", file.escape_debug()))?;
        if !manifest.files.contains_key(file) {
            return Err(format!("{key} names `{file}`, which the manifest does not list"));
        }
    }
    Ok(())
}

/// Reads `tokenizer.json` and gives the unit texts by id, when it has exactly the units of the configuration.
pub(super) fn read_units(dir: &Path, config: &CtcConfig) -> Result<Vec<String>, PackageError> {
    let path = dir.join(TOKENIZER);
    let text = read_text(&path, MAX_CONFIG_BYTES)?;
    let tokenizer = Tokenizer::from_bytes(text.as_bytes())
        .map_err(|e| PackageError::invalid(&path, format!("not a tokenizer that can be read: {e}")))?;
    let invalid = |reason| Err(PackageError::invalid(&path, reason));
    let vocabulary = tokenizer.get_vocab(true);
    if vocabulary.len() != config.units {
        return invalid(format!(
            "the tokenizer has {} units, but {CONFIG} says {}; both must come from one export",
            vocabulary.len(),
            config.units
        ));
    }
    let mut units = vec![None; config.units];
    for (unit, id) in vocabulary {
        match units.get_mut(id as usize) {
            Some(slot @ None) => *slot = Some(unit),
            _ => return invalid(format!("the ids must be 0 to {} without a gap, but there is {id}", config.units - 1)),
        }
    }
    let units: Vec<String> = units.into_iter().flatten().collect();
    if units.get(config.blank_id).map(String::as_str) != Some(BLANK) {
        return invalid(format!("the unit {} must be `{BLANK}`", config.blank_id));
    }
    Ok(units)
}

/// Runs the graph once on a tenth of a second of silence and refuses outputs that are not what the configuration says.
pub(super) fn check_outputs(onnx: &Path, config: &CtcConfig, model: &dyn Model) -> Result<(), PackageError> {
    // A number of frames that the subsampling does not divide: the last output frame is a partial one.
    let frames = 4 * config.subsampling + 1;
    let features = Tensor::f32([1, frames, config.mel_bins], vec![0.0; frames * config.mel_bins]);
    let outputs = model.session()?.run(&[(FEATURES, features)])?;
    let invalid = |reason| Err(PackageError::invalid(onnx, reason));
    let Some((_, output)) = outputs.iter().find(|(name, _)| name == LOG_PROBS) else {
        return invalid(format!("the graph has no output `{LOG_PROBS}`"));
    };
    let wanted = [1, frames.div_ceil(config.subsampling), config.units];
    if output.shape != wanted {
        return invalid(format!(
            "for {frames} frames the graph gives {:?}, but {CONFIG} says {wanted:?}; both must come from one export",
            output.shape
        ));
    }
    match &output.data {
        TensorData::F32(values) if values.iter().all(|v| !v.is_nan() && *v <= 1e-3) => Ok(()),
        TensorData::F32(_) => invalid(format!("`{LOG_PROBS}` holds values that are no log-probabilities")),
        _ => invalid(format!("`{LOG_PROBS}` does not hold floats")),
    }
}
