//! What a Whisper package's JSON files say: `config.json`, `generation_config.json`, `preprocessor_config.json`.
//!
//! As `transformers` reads them: `generation_config.json` decides how text is written; a package without one has the same keys in
//! `config.json`, as exports of 2022 do.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::store::{Package, PackageError, layout};
use crate::task::tokenizer::TextTokenizer;

/// Largest number of positions, mel bins or layers that is believable: a lying configuration must not make anybody allocate more.
const MAX_SIZE: u64 = 65_536;
/// Mel frames for one position of the encoder.
pub(super) const FRAMES_PER_POSITION: usize = 2;
/// Seconds between two timestamps.
pub(super) const TIME_PRECISION: f64 = 0.02;

/// When a window is written again at a higher temperature, or passed over.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Thresholds {
    /// Text repeats itself when its tokens' bytes by their bytes compressed are above.
    pub(super) compression_ratio: Option<f32>,
    /// Text is doubtful when the mean log-probability of its tokens is below.
    pub(super) logprob: Option<f32>,
    /// Doubtful text is silence when the probability of no speech is above.
    pub(super) no_speech: Option<f32>,
}

/// A model's shape and its rules of writing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    /// Logits of a position.
    pub(super) vocabulary: usize,
    /// Bins of a mel frame.
    pub(super) mel_bins: usize,
    /// Positions of the encoder.
    pub(super) positions: usize,
    /// Most positions of the decoder.
    pub(super) context: usize,
    /// Layers of the decoder.
    pub(super) layers: usize,
    /// Whether it takes a language and a task.
    pub(super) multilingual: bool,
    /// First id of the decoder.
    pub(super) start: u32,
    /// Id of the end.
    pub(super) end: u32,
    /// Languages by tag, with their ids.
    pub(super) languages: BTreeMap<String, u32>,
    /// The language that the package itself asks for.
    pub(super) language: Option<String>,
    /// Id of the task of writing down.
    pub(super) transcribe: Option<u32>,
    /// Id of the task of translation to English.
    pub(super) translate: Option<u32>,
    /// Id of the mark that no timestamps follow; timestamps come right behind it. None for a model without timestamps.
    pub(super) no_timestamps: Option<u32>,
    /// Id of silence.
    pub(super) no_speech: Option<u32>,
    /// Id of the mark that text of before follows.
    pub(super) previous: Option<u32>,
    /// Never written.
    pub(super) suppress: Vec<u32>,
    /// Not written first.
    pub(super) begin_suppress: Vec<u32>,
    /// Highest first timestamp, counted in [`TIME_PRECISION`].
    pub(super) max_initial_timestamp: Option<usize>,
    /// Most ids of a window, what stands before them included.
    pub(super) max_length: usize,
    /// Layer and head of the attention that follows the sound.
    pub(super) alignment_heads: Option<Vec<(usize, usize)>>,
    /// Width of the median that smooths it.
    pub(super) median_width: usize,
    /// Whether windows are written with the text before in mind, unless a request says otherwise.
    pub(super) condition_on_previous: bool,
    /// When to write again.
    pub(super) thresholds: Thresholds,
    /// Most tokens that are sampled from.
    pub(super) top_k: usize,
}

impl Settings {
    /// Mel frames of a window.
    pub(super) fn window(&self) -> usize {
        self.positions * FRAMES_PER_POSITION
    }

    /// Most ids of text before a window.
    pub(super) fn most_before(&self) -> usize {
        (self.context / 2).saturating_sub(1)
    }

    /// Id of the timestamp 0.
    pub(super) fn first_time(&self) -> Option<u32> {
        self.no_timestamps.map(|id| id + 1)
    }

    /// Reads the files and checks them against the tokenizer.
    pub(super) fn read(package: &Package, tokens: &TextTokenizer) -> Result<Self, PackageError> {
        let config = layout::read_config(&package.dir)?;
        let generation = optional(package, "generation_config.json")?.unwrap_or_else(|| config.clone());
        let extractor = optional(package, "preprocessor_config.json")?;
        of_values(&config, &generation, extractor.as_ref(), tokens)
            .map_err(|reason| PackageError::invalid(&package.dir, reason))
    }
}

/// A JSON file that may be absent.
fn optional(package: &Package, file: &str) -> Result<Option<Value>, PackageError> {
    if package.path(file).is_file() { layout::read_json(&package.path(file)).map(Some) } else { Ok(None) }
}

fn of_values(
    config: &Value,
    generation: &Value,
    extractor: Option<&Value>,
    tokens: &TextTokenizer,
) -> Result<Settings, String> {
    let size = |key: &str| match config[key].as_u64() {
        Some(size @ 1..=MAX_SIZE) => Ok(size as usize),
        Some(size) => Err(format!("config.json: {key} is {size}, but must be 1 to {MAX_SIZE}")),
        None => Err(format!("config.json has no {key}; it is not a Whisper model's")),
    };
    let vocabulary = match config["vocab_size"].as_u64() {
        Some(size @ 2..=1_048_576) => size as usize,
        _ => return Err("config.json: vocab_size must be 2 to 1048576".into()),
    };
    let (mel_bins, positions, context) =
        (size("num_mel_bins")?, size("max_source_positions")?, size("max_target_positions")?);
    if let Some(extractor) = extractor {
        check_extractor(extractor, mel_bins, positions)?;
    }
    if tokens.vocab_size() as usize > vocabulary {
        return Err(format!(
            "the tokenizer has {} tokens, but config.json says vocab_size is {vocabulary}; both must come from one export",
            tokens.vocab_size()
        ));
    }
    let id =
        |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok()).filter(|id| (*id as usize) < vocabulary);
    let first = |value: &Value| id(value.get(0).unwrap_or(value));
    let agreed = |key: &str, value: Option<u32>, token: &str| match (value, tokens.token_to_id(token)) {
        (Some(value), Some(own)) if value != own => Err(format!(
            "{key} is {value}, but the tokenizer calls {value} `{}` and {own} `{token}`; both must come from one export",
            tokens.id_to_token(value).unwrap_or_default()
        )),
        (value, own) => Ok(value.or(own)),
    };
    let missing = |token: &str| format!("the tokenizer has no `{token}`; it is not a Whisper model's");
    let start =
        agreed("decoder_start_token_id", first(&generation["decoder_start_token_id"]), "<|startoftranscript|>")?
            .ok_or_else(|| missing("<|startoftranscript|>"))?;
    let end = agreed("eos_token_id", first(&generation["eos_token_id"]), "<|endoftext|>")?
        .ok_or_else(|| missing("<|endoftext|>"))?;
    let no_timestamps =
        agreed("no_timestamps_token_id", id(&generation["no_timestamps_token_id"]), "<|notimestamps|>")?
            // A model that was taught without timestamps may lack the tokens behind the mark.
            .filter(|id| (*id as usize) + 1 < vocabulary);
    let transcribe = agreed("task_to_id", id(&generation["task_to_id"]["transcribe"]), "<|transcribe|>")?;
    let translate = agreed("task_to_id", id(&generation["task_to_id"]["translate"]), "<|translate|>")?;
    let languages = languages(generation, tokens, vocabulary);
    let multilingual = match generation["is_multilingual"].as_bool() {
        Some(multilingual) => multilingual,
        // OpenAI's own English models have one token less than the multilingual ones.
        None => vocabulary != 51_864 && transcribe.is_some() && !languages.is_empty(),
    };
    if multilingual && (transcribe.is_none() || languages.is_empty()) {
        return Err(
            "generation_config.json says is_multilingual, but there are no tokens for languages or tasks".into()
        );
    }
    let forced = generation["forced_decoder_ids"].as_array().into_iter().flatten();
    let forced = forced.filter(|pair| pair[0] == 1).find_map(|pair| id(&pair[1]));
    let named = generation["language"].as_str().map(|name| name.trim_matches(['<', '|', '>']).to_lowercase());
    let language = named.or_else(|| languages.iter().find(|(_, id)| Some(**id) == forced).map(|(tag, _)| tag.clone()));
    let number = |key: &str, default: f64| match &generation[key] {
        Value::Null => Some(default as f32),
        value => value.as_f64().map(|v| v as f32),
    };
    let max_length = generation["max_length"].as_u64().map_or(context, |most| (most as usize).min(context));
    let layers = size("decoder_layers")?;
    let heads = alignment_heads(&generation["alignment_heads"], layers, size("decoder_attention_heads")?)?;
    Ok(Settings {
        vocabulary,
        mel_bins,
        positions,
        context,
        layers,
        multilingual,
        start,
        end,
        language: language.filter(|tag| multilingual && languages.contains_key(tag)),
        languages: if multilingual { languages } else { BTreeMap::new() },
        transcribe,
        translate,
        no_timestamps,
        // As `transformers`: it stands right before the mark, whatever it is called.
        no_speech: no_timestamps.and_then(|id| id.checked_sub(1)).or(tokens.token_to_id("<|nospeech|>")),
        previous: id(&generation["prev_sot_token_id"]).or(tokens.token_to_id("<|startofprev|>")),
        suppress: ids(&generation["suppress_tokens"], vocabulary),
        begin_suppress: ids(&generation["begin_suppress_tokens"], vocabulary),
        max_initial_timestamp: generation["max_initial_timestamp_index"].as_u64().map(|index| index as usize),
        max_length,
        alignment_heads: heads,
        median_width: config["median_filter_width"].as_u64().filter(|w| w % 2 == 1 && *w < 100).unwrap_or(7) as usize,
        condition_on_previous: generation["condition_on_prev_tokens"].as_bool().unwrap_or(false),
        thresholds: Thresholds {
            compression_ratio: number("compression_ratio_threshold", 1.35),
            logprob: number("logprob_threshold", -1.0),
            no_speech: number("no_speech_threshold", 0.6),
        },
        top_k: generation["top_k"].as_u64().map_or(50, |k| k as usize),
    })
}

/// Refuses features that Linnet does not make.
fn check_extractor(extractor: &Value, mel_bins: usize, positions: usize) -> Result<(), String> {
    let samples = (positions * FRAMES_PER_POSITION * 160) as u64;
    let wanted = [
        ("feature_size", mel_bins as u64),
        ("sampling_rate", 16_000),
        ("hop_length", 160),
        ("n_fft", 400),
        ("n_samples", samples),
    ];
    for (key, wanted) in wanted {
        if let Some(found) = extractor[key].as_u64().filter(|found| *found != wanted) {
            return Err(format!(
                "preprocessor_config.json: {key} is {found}, but config.json needs {wanted}; both must come from one export"
            ));
        }
    }
    Ok(())
}

/// Languages with their ids: what `lang_to_id` says, else the tokens that look like one between the start and the tasks.
fn languages(generation: &Value, tokens: &TextTokenizer, vocabulary: usize) -> BTreeMap<String, u32> {
    let bare = |token: &str| token.trim_start_matches("<|").trim_end_matches("|>").to_owned();
    if let Some(listed) = generation["lang_to_id"].as_object() {
        let of = |(token, id): (&String, &Value)| Some((bare(token), u32::try_from(id.as_u64()?).ok()?));
        return listed.iter().filter_map(of).filter(|(_, id)| (*id as usize) < vocabulary).collect();
    }
    let is_tag = |tag: &str| (2..=3).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_lowercase());
    let controls = tokens.control_tokens().filter_map(|(token, _)| Some((bare(token), tokens.token_to_id(token)?)));
    controls.filter(|(tag, _)| is_tag(tag)).collect()
}

fn ids(value: &Value, vocabulary: usize) -> Vec<u32> {
    let ids = value.as_array().into_iter().flatten().filter_map(Value::as_u64);
    ids.filter(|id| *id < vocabulary as u64).map(|id| id as u32).collect()
}

fn alignment_heads(value: &Value, layers: usize, heads: usize) -> Result<Option<Vec<(usize, usize)>>, String> {
    let Some(listed) = value.as_array() else { return Ok(None) };
    let pair = |pair: &Value| {
        let of = |i: usize| pair[i].as_u64().map(|n| n as usize);
        of(0).zip(of(1)).filter(|(layer, head)| *layer < layers && *head < heads)
    };
    let found = listed.iter().map(pair).collect::<Option<Vec<_>>>().ok_or_else(|| {
        format!(
            "generation_config.json: alignment_heads must be pairs of a layer below {layers} and a head below {heads}"
        )
    })?;
    Ok((!found.is_empty()).then_some(found))
}
