//! Directories in other people's layouts: what Optimum and transformers.js write.
//!
//! `config.json` names the family (`model_type`, `architectures`); the graphs lie beside it or in `onnx/`, one file for each part and type
//! of weights: `encoder_model`, `decoder_model`, `decoder_with_past_model`, `decoder_model_merged`, `model`, each with a suffix
//! (`_fp16`, `_quantized`, `_int8`, `_uint8`, `_q4`, `_q4f16`) or none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use linnet_proto::manifest::{MANIFEST_VERSION, Manifest};
use serde_json::Value;

use super::languages::{M2M100, MBART, MBART50, NLLB, WMT21, tags};
use super::{CONFIG, MAX_CONFIG_BYTES, PackageError, read_text, transducer};

/// Family of graphs that nothing else is known of.
pub const RAW_FAMILY: &str = "raw";
/// Family of transducers in three graphs, as sherpa-onnx lays them out.
pub const TRANSDUCER_FAMILY: &str = "transducer";
/// Family of word vectors.
pub const WORDS_FAMILY: &str = "word-vectors";
/// Types of weights by the suffix of their files, the most precise first.
pub const DTYPES: [(&str, &str); 7] = [
    ("f32", ""),
    ("f16", "_fp16"),
    ("int8", "_quantized"),
    ("int8", "_int8"),
    ("uint8", "_uint8"),
    ("q4", "_q4"),
    ("q4f16", "_q4f16"),
];
/// Parts of models by the names of their files.
pub const PARTS: [&str; 5] =
    ["model", "encoder_model", "decoder_model", "decoder_with_past_model", "decoder_model_merged"];
/// Deepest sub-directory that is looked into for graphs.
const GRAPH_DIRS: [&str; 2] = ["onnx", ""];
/// Share of the available memory that a variant chosen by itself may take.
const MEMORY_SHARE: f64 = 0.5;

/// The graphs of one type of weights, by part, relative to the package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graphs {
    /// `f32`, `f16`, `int8`, `uint8`, `q4`, `q4f16`.
    pub dtype: String,
    /// Files by part (`decoder_model_merged` → `onnx/decoder_model_merged_q4.onnx`).
    pub files: BTreeMap<String, PathBuf>,
    /// Bytes of all of them, external data included.
    pub bytes: u64,
}

impl Graphs {
    /// The file of a part.
    pub fn part(&self, part: &str) -> Option<&Path> {
        self.files.get(part).map(PathBuf::as_path)
    }
}

/// Every variant that `dir` holds, the most precise first.
pub fn variants(dir: &Path) -> Result<Vec<Graphs>, PackageError> {
    let mut found: Vec<Graphs> = Vec::new();
    for sub in GRAPH_DIRS {
        let place = dir.join(sub);
        let Ok(entries) = std::fs::read_dir(&place) else { continue };
        let mut sizes = BTreeMap::new();
        for entry in entries {
            let entry = entry.map_err(|e| PackageError::read(&place, e))?;
            let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), std::fs::metadata(entry.path())) else {
                continue;
            };
            if metadata.is_file() {
                sizes.insert(name, metadata.len());
            }
        }
        for (dtype, suffix) in DTYPES {
            for part in PARTS {
                let file = format!("{part}{suffix}.onnx");
                let Some(bytes) = sizes.get(&file) else { continue };
                // External data stands beside its graph under a name that begins like it.
                let data: u64 = sizes
                    .iter()
                    .filter(|(n, _)| n.starts_with(&format!("{file}_data")) || **n == format!("{file}.data"))
                    .map(|(_, b)| b)
                    .sum();
                let path = if sub.is_empty() { PathBuf::from(&file) } else { Path::new(sub).join(&file) };
                let place = match found.iter().position(|graphs| graphs.dtype == dtype) {
                    Some(place) => place,
                    None => {
                        found.push(Graphs { dtype: dtype.to_owned(), ..Graphs::default() });
                        found.len() - 1
                    }
                };
                if let std::collections::btree_map::Entry::Vacant(slot) = found[place].files.entry((*part).to_owned()) {
                    slot.insert(path);
                    found[place].bytes += bytes + data;
                }
            }
        }
    }
    let rank = |graphs: &Graphs| DTYPES.iter().position(|(dtype, _)| *dtype == graphs.dtype);
    found.sort_by_key(rank);
    Ok(found)
}

/// The variant that is meant: the one that `dtype` names, else the most precise one that has every part that another has and
/// takes no more than half of the memory that is available.
pub fn choose(dir: &Path, dtype: Option<&str>, available_bytes: Option<u64>) -> Result<Graphs, PackageError> {
    let found = variants(dir)?;
    let names = || found.iter().map(|graphs| graphs.dtype.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(dtype) = dtype {
        return found.iter().find(|graphs| graphs.dtype == dtype).cloned().ok_or_else(|| {
            let reason = if DTYPES.iter().any(|(known, _)| *known == dtype) {
                format!("it has no graphs of dtype {dtype}; it has {}", names())
            } else {
                let known: BTreeSet<_> = DTYPES.iter().map(|(known, _)| *known).collect();
                format!("dtype is {dtype:?}; it must be one of {}", known.into_iter().collect::<Vec<_>>().join(", "))
            };
            PackageError::invalid(dir, reason)
        });
    }
    let whole = found.iter().filter(|graphs| {
        let merged = graphs.files.contains_key("decoder_model_merged");
        found
            .iter()
            .flat_map(|other| other.files.keys())
            .all(|part| graphs.files.contains_key(part) || (merged && part.starts_with("decoder_")))
    });
    let whole: Vec<&Graphs> = whole.collect();
    let fits = |graphs: &&&Graphs| available_bytes.is_none_or(|most| graphs.bytes as f64 <= most as f64 * MEMORY_SHARE);
    let chosen = whole.iter().find(fits).or_else(|| whole.iter().min_by_key(|graphs| graphs.bytes));
    chosen.map(|graphs| (*graphs).clone()).or_else(|| found.first().cloned()).ok_or_else(|| {
        PackageError::invalid(dir, "it holds no graph: model.onnx, encoder_model.onnx, … here or in onnx/")
    })
}

/// `config.json` of `dir` as JSON.
pub fn read_config(dir: &Path) -> Result<Value, PackageError> {
    read_json(&dir.join(CONFIG))
}

/// The JSON object in the file at `path`.
pub fn read_json(path: &Path) -> Result<Value, PackageError> {
    let text = read_text(path, MAX_CONFIG_BYTES)?;
    let value: Value = serde_json::from_str(&text).map_err(|e| PackageError::invalid(path, e.to_string()))?;
    if !value.is_object() {
        return Err(PackageError::invalid(path, "it is not a JSON object"));
    }
    Ok(value)
}

/// Whether a directory without a manifest looks like a model of somebody's.
pub fn is_foreign(dir: &Path) -> bool {
    dir.join(CONFIG).is_file() || variants(dir).is_ok_and(|found| !found.is_empty()) || has_onnx(dir)
}

/// Whether it is of one of Linnet's own families, which come with a manifest or not at all.
pub fn is_own(dir: &Path) -> bool {
    read_config(dir)
        .is_ok_and(|config| config["model_type"].as_str().is_some_and(|family| family.starts_with("linnet-")))
}

fn has_onnx(dir: &Path) -> bool {
    !onnx_files(dir).is_empty()
}

/// Every `.onnx` file of `dir` and of its `onnx/`, relative to it, in order.
pub fn onnx_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for sub in GRAPH_DIRS {
        let entries = std::fs::read_dir(dir.join(sub)).into_iter().flatten().flatten();
        found.extend(
            entries
                .map(|e| PathBuf::from(sub).join(e.file_name()))
                .filter(|p| p.extension().is_some_and(|e| e == "onnx")),
        );
    }
    found.sort();
    found
}

/// The manifest that a directory without one would have: name from the directory, family and tasks from its `config.json`, no digests and
/// no canary.
pub fn describe(dir: &Path) -> Result<Manifest, PackageError> {
    let config = if dir.join(CONFIG).is_file() { Some(read_config(dir)?) } else { None };
    let (family, tasks) = match &config {
        Some(config) => family_and_tasks(dir, config)?,
        None if transducer::is_there(dir) => (TRANSDUCER_FAMILY.to_owned(), vec!["transcribe"]),
        None => (RAW_FAMILY.to_owned(), vec!["raw"]),
    };
    let bytes = match variants(dir)?.iter().map(|graphs| graphs.bytes).min() {
        Some(bytes) if family != TRANSDUCER_FAMILY => bytes,
        _ => transducer::least_bytes(dir),
    };
    let (languages, pairs) = config.as_ref().map(|c| languages(dir, &family, c)).unwrap_or_default();
    Ok(Manifest {
        manifest_version: MANIFEST_VERSION,
        name: name_of(dir),
        version: "0.0.0".to_owned(),
        aliases: Vec::new(),
        tasks: tasks.into_iter().map(str::to_owned).collect(),
        languages,
        pairs,
        license: "unknown".to_owned(),
        description: format!("a {family} model in the layout of its export"),
        family,
        memory_mib: (bytes >> 20) + 1,
        files: BTreeMap::new(),
        dtype: None,
        canary: None,
    })
}

/// A name that requests can use, made from the directory's own.
pub fn name_of(dir: &Path) -> String {
    let own = dir.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let lower: String = own
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c) { c } else { '-' })
        .collect();
    let name = lower.trim_start_matches(['.', '_', '-']);
    if name.is_empty() { "model".to_owned() } else { name.chars().take(64).collect() }
}

/// Family and tasks by `model_type` and the head that `architectures` names.
fn family_and_tasks(dir: &Path, config: &Value) -> Result<(String, Vec<&'static str>), PackageError> {
    let family = match config["model_type"].as_str() {
        Some(family) if !family.is_empty() && family.len() <= 64 => family.to_owned(),
        _ => {
            let reason = "model_type is missing; it is the family's name, as transformers writes it";
            return Err(PackageError::invalid(&dir.join(CONFIG), reason));
        }
    };
    let head = config["architectures"].get(0).and_then(Value::as_str).unwrap_or_default();
    let speaks = chat_template(dir);
    let tasks = match family.as_str() {
        "whisper" => {
            let generation = read_json(&dir.join("generation_config.json")).unwrap_or_default();
            let by_size = config["vocab_size"].as_u64().is_some_and(|size| size >= 51_865);
            let multilingual = generation["is_multilingual"].as_bool().unwrap_or(by_size);
            if multilingual { vec!["transcribe", "translate-speech"] } else { vec!["transcribe"] }
        }
        "moonshine" | "moonshine_streaming" => vec!["transcribe"],
        "wav2vec2" | "wav2vec2-conformer" | "hubert" | "wavlm" | "data2vec-audio" | "unispeech" | "unispeech-sat"
            if head.is_empty() || head.ends_with("ForCTC") =>
        {
            vec!["transcribe"]
        }
        "marian" | "m2m_100" | "nllb" | "mbart" => vec!["translate", "generate"],
        "t5" | "mt5" => vec!["generate", "translate", "summarize"],
        "bart" if head.ends_with("ForSequenceClassification") => vec!["classify"],
        "bart" | "pegasus" => vec!["generate", "summarize"],
        WORDS_FAMILY => vec!["words", "embed"],
        _ if head.ends_with("ForCausalLM") || head.ends_with("LMHeadModel") || is_decoder(&family) => {
            if speaks {
                vec!["generate", "chat"]
            } else {
                vec!["generate"]
            }
        }
        _ if head.ends_with("ForMaskedLM") => vec!["fill"],
        _ if head.ends_with("ForSequenceClassification") => vec!["classify", "intent"],
        _ if head.ends_with("ForTokenClassification") => vec!["tag"],
        _ if head.ends_with("ForQuestionAnswering") => vec!["answer"],
        _ if is_encoder(&family) => vec!["embed", "intent"],
        _ => vec!["raw"],
    };
    Ok((family, tasks))
}

/// Families of encoders alone.
pub const ENCODERS: &[&str] = &[
    "bert",
    "distilbert",
    "roberta",
    "xlm-roberta",
    "mpnet",
    "modernbert",
    "camembert",
    "electra",
    "albert",
    "deberta-v2",
    "nomic_bert",
    "bert-generation",
    "xlm",
];

/// Families that write: decoders alone, and encoder-decoders.
pub const WRITERS: &[&str] = &[
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "gemma3",
    "phi",
    "phi3",
    "gpt2",
    "starcoder2",
    "gpt_neox",
    "gpt_neo",
    "opt",
    "granite",
    "olmo",
    "olmo2",
    "stablelm",
    "cohere",
    "smollm3",
    "codegen",
    "bloom",
    "falcon",
    "gpt_bigcode",
    "marian",
    "m2m_100",
    "nllb",
    "mbart",
    "t5",
    "mt5",
    "umt5",
    "bart",
    "pegasus",
    "blenderbot",
    "longt5",
];

/// Whether a family is one of encoders alone.
pub fn is_encoder(family: &str) -> bool {
    ENCODERS.contains(&family)
}

/// Whether a family is one of decoders alone.
fn is_decoder(family: &str) -> bool {
    // The encoder-decoders among the writers have been told apart before.
    WRITERS.contains(&family)
}

fn chat_template(dir: &Path) -> bool {
    dir.join("chat_template.jinja").is_file()
        || dir.join("chat_template.json").is_file()
        || read_text(&dir.join("tokenizer_config.json"), MAX_CONFIG_BYTES)
            .is_ok_and(|text| text.contains("\"chat_template\""))
}

/// Languages, and pairs of translation, as far as the files tell.
fn languages(dir: &Path, family: &str, config: &Value) -> (Vec<String>, Vec<String>) {
    let tokenizer: Value = read_text(&dir.join("tokenizer_config.json"), MAX_CONFIG_BYTES)
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let tag = |value: &Value| value.as_str().filter(|t| (2..=3).contains(&t.len())).map(str::to_lowercase);
    match family {
        "marian" => match (tag(&tokenizer["source_lang"]), tag(&tokenizer["target_lang"])) {
            (Some(source), Some(target)) => {
                let pair = format!("{source}-{target}");
                (vec![source, target], vec![pair])
            }
            _ => of_name(dir),
        },
        "whisper" => whisper_languages(dir),
        // The class of the tokenizer says which languages there are; the files list them seldom.
        "m2m_100" | "nllb" | "mbart" => {
            let class = tokenizer["tokenizer_class"].as_str().unwrap_or_default();
            let codes: &[&str] = match family {
                "nllb" => &NLLB,
                _ if class.starts_with("Nllb") => &NLLB,
                _ if class.starts_with("MBart50") => &MBART50,
                "mbart" => &MBART,
                _ if tokenizer["language_codes"] == "wmt21" => &WMT21,
                _ => &M2M100,
            };
            (tags(codes), Vec::new())
        }
        "t5" | "mt5" => t5_languages(config),
        _ => {
            let listed = config["languages"].as_array().into_iter().flatten().filter_map(tag);
            (listed.collect(), Vec::new())
        }
    }
}

/// T5 names the pairs that it was taught: `translation_en_to_de`.
fn t5_languages(config: &Value) -> (Vec<String>, Vec<String>) {
    let tasks = config["task_specific_params"].as_object().into_iter().flatten();
    let pairs: Vec<(&str, &str)> =
        tasks.filter_map(|(task, _)| task.strip_prefix("translation_")?.split_once("_to_")).collect();
    let languages: BTreeSet<&str> = pairs.iter().flat_map(|(source, target)| [*source, *target]).collect();
    (languages.into_iter().map(str::to_owned).collect(), pairs.iter().map(|(s, t)| format!("{s}-{t}")).collect())
}

/// Those that a multilingual Whisper has a token for; English alone for the others.
fn whisper_languages(dir: &Path) -> (Vec<String>, Vec<String>) {
    let generation = read_json(&dir.join("generation_config.json")).unwrap_or_default();
    let tokens = generation["lang_to_id"].as_object().into_iter().flatten();
    let tag = |token: &str| token.trim_start_matches("<|").trim_end_matches("|>").to_owned();
    let spoken = |tag: &String| (2..=3).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_lowercase());
    let mut languages: Vec<String> = tokens.map(|(token, _)| tag(token)).filter(spoken).collect();
    if languages.is_empty() || generation["is_multilingual"] == false {
        languages = vec!["en".to_owned()];
    }
    languages.sort();
    (languages, Vec::new())
}

/// `opus-mt-en-de` says its pair.
fn of_name(dir: &Path) -> (Vec<String>, Vec<String>) {
    let name = name_of(dir);
    let words: Vec<&str> = name.split('-').collect();
    let is_tag = |word: &&str| (2..=3).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase());
    match words.windows(2).rev().find(|pair| pair.iter().all(is_tag) && pair[0] != "mt") {
        Some(pair) => (vec![pair[0].to_owned(), pair[1].to_owned()], vec![format!("{}-{}", pair[0], pair[1])]),
        None => (Vec::new(), Vec::new()),
    }
}

#[cfg(test)]
mod tests;
