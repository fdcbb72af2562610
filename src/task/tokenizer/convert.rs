//! `vocab.json` with `merges.txt`, and `vocab.txt`, made into what `tokenizer.json` would be.

use serde_json::{Value, json};

use super::class::Class;
use super::package::Package;

/// How Qwen2 cuts a text into words.
const QWEN2_SPLIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Byte-level BPE: GPT-2, RoBERTa, BART, Whisper, Qwen2.
pub(super) fn byte_level_bpe(package: &Package) -> Result<Vec<u8>, String> {
    let vocabulary = package.vocabulary("vocab.json")?;
    let merges_text = package.text("merges.txt")?;
    let merges = merges(&merges_text);
    let special = special_ids(package, &vocabulary)?;
    let prefix = package.flag("add_prefix_space").unwrap_or(false);
    let byte_level = |use_regex: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": use_regex,
        })
    };
    let nothing = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true});
    let (mut normalizer, mut pre_tokenizer, mut post_processor) = (Value::Null, byte_level(true), nothing);
    match package.class {
        Class::Qwen2 => {
            let split =
                json!({"type": "Split", "pattern": {"Regex": QWEN2_SPLIT}, "behavior": "Isolated", "invert": false});
            normalizer = json!({"type": "NFC"});
            pre_tokenizer = json!({"type": "Sequence", "pretokenizers": [split, byte_level(false)]});
        }
        Class::Roberta => {
            let (cls, sep) = (special.role(5)?, special.role(3)?);
            post_processor = json!({
                "type": "RobertaProcessing", "sep": sep, "cls": cls, "trim_offsets": true, "add_prefix_space": prefix,
            });
        }
        Class::Whisper => {
            let start = special.named(package, "<|startoftranscript|>")?;
            let mut before = vec![start];
            if package.flag("predict_timestamps") != Some(true) {
                before.push(special.named(package, "<|notimestamps|>")?);
            }
            post_processor = template(&before, &[], &[special.role(1)?]);
        }
        _ if package.flag("add_bos_token") == Some(true) => {
            post_processor = template(&[special.role(0)?], &[], &[]);
        }
        _ => {}
    }
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
        "fuse_unk": false, "byte_fallback": false, "vocab": object(vocabulary), "merges": merges,
    });
    let decoder = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    whole(&special, normalizer, pre_tokenizer, post_processor, decoder, model)
}

/// WordPiece: BERT and its kin.
pub(super) fn word_piece(package: &Package) -> Result<Vec<u8>, String> {
    let text = package.text("vocab.txt")?;
    let words = text.strip_suffix('\n').unwrap_or(&text).split('\n');
    let vocabulary: Vec<_> = words.zip(0..).map(|(word, id)| (word.trim_end_matches('\r').to_owned(), id)).collect();
    let special = special_ids(package, &vocabulary)?;
    let (cls, sep) = (special.role(5)?, special.role(3)?);
    let post_processor = match package.class {
        Class::Mpnet => template(&[cls], &[sep.clone(), sep.clone()], &[sep]),
        _ => template(&[cls], std::slice::from_ref(&sep), std::slice::from_ref(&sep)),
    };
    let lowercase = package.flag("do_lower_case").unwrap_or(true);
    let strips = package.flag("strip_accents").unwrap_or(lowercase);
    let chinese = package.flag("tokenize_chinese_chars").unwrap_or(true);
    let bert = |clean_text: bool, chinese: bool, strip_accents: bool, lowercase: bool| {
        json!({
            "type": "BertNormalizer", "clean_text": clean_text, "handle_chinese_chars": chinese,
            "strip_accents": strip_accents, "lowercase": lowercase,
        })
    };
    // The Python class composes characters between the two halves of what its Rust kin does at once.
    let halves = [bert(true, chinese, false, false), json!({"type": "NFC"}), bert(false, false, strips, lowercase)];
    let normalizer = json!({"type": "Sequence", "normalizers": halves});
    let model = json!({
        "type": "WordPiece", "unk_token": special.role(2)?.0, "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": object(vocabulary),
    });
    let decoder = json!({"type": "WordPiece", "prefix": "##", "cleanup": false});
    whole(&special, normalizer, json!({"type": "BertPreTokenizer"}), post_processor, decoder, model)
}

/// Special tokens with their ids, and what else the package adds.
struct Special {
    roles: [Option<(String, u32)>; 7],
    vocabulary_file: String,
    added: Vec<Value>,
}

fn special_ids(package: &Package, vocabulary: &[(String, u32)]) -> Result<Special, String> {
    let mut added = package.added_tokens()?;
    let special = package.special_tokens();
    let in_vocabulary: std::collections::HashMap<&str, u32> =
        vocabulary.iter().map(|(t, id)| (t.as_str(), *id)).collect();
    let is_new = |content: &str| !in_vocabulary.contains_key(content);
    let mut next = in_vocabulary.len() as u32 + added.values().filter(|t| is_new(&t.content)).count() as u32;
    for token in special.all() {
        if added.values().all(|t| t.content != token.content) {
            let id = in_vocabulary.get(token.content.as_str()).copied().unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            added.insert(id, token.clone());
        }
    }
    let id = |content: &str| added.iter().find(|(_, t)| t.content == content).map(|(id, _)| *id);
    let roles = special.roles.map(|role| role.and_then(|t| Some((t.content.clone(), id(&t.content)?))));
    let added = added.iter().map(|(id, t)| {
        json!({
            "id": id, "content": t.content, "single_word": t.single_word, "lstrip": t.lstrip, "rstrip": t.rstrip,
            "normalized": t.normalized, "special": t.special,
        })
    });
    Ok(Special { roles, vocabulary_file: package.path("vocab"), added: added.collect() })
}

impl Special {
    fn role(&self, role: usize) -> Result<(String, u32), String> {
        self.roles[role]
            .clone()
            .ok_or_else(|| format!("{}: a special token that its family needs is missing", self.vocabulary_file))
    }

    fn named(&self, package: &Package, content: &str) -> Result<(String, u32), String> {
        let found = self.added.iter().find(|t| t["content"] == content).and_then(|t| t["id"].as_u64());
        let id =
            found.ok_or_else(|| format!("{}: the token {content} is missing", package.path("added_tokens.json")))?;
        Ok((content.to_owned(), id as u32))
    }
}

fn merges(text: &str) -> Vec<[&str; 2]> {
    let lines = text.lines().filter(|line| !line.starts_with("#version"));
    lines.filter_map(|line| line.split_once(' ')).map(|(a, b)| [a, b]).collect()
}

fn object(vocabulary: Vec<(String, u32)>) -> Value {
    Value::Object(vocabulary.into_iter().map(|(token, id)| (token, Value::from(id))).collect())
}

fn template(before: &[(String, u32)], between: &[(String, u32)], after: &[(String, u32)]) -> Value {
    let tokens = |list: &[(String, u32)], type_id: u32| -> Vec<Value> {
        list.iter().map(|(token, _)| json!({"SpecialToken": {"id": token, "type_id": type_id}})).collect()
    };
    let text = |id: &str, type_id: u32| vec![json!({"Sequence": {"id": id, "type_id": type_id}})];
    let all = before.iter().chain(between).chain(after);
    let special: serde_json::Map<String, Value> =
        all.map(|(token, id)| (token.clone(), json!({"id": token, "ids": [id], "tokens": [token]}))).collect();
    let single = [tokens(before, 0), text("A", 0), tokens(after, 0)].concat();
    let pair = [tokens(before, 0), text("A", 0), tokens(between, 0), text("B", 1), tokens(after, 1)].concat();
    json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special})
}

fn whole(
    special: &Special,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: Value,
) -> Result<Vec<u8>, String> {
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": special.added, "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": decoder, "model": model,
    });
    serde_json::to_vec(&file).map_err(|e| e.to_string())
}
