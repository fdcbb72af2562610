//! Where a package keeps its chat templates.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::DEFAULT;
use crate::limits::{MAX_CHAT_TEMPLATES, MAX_TOKENIZER_CONFIG_BYTES};

/// Templates by name. Files of their own win over `tokenizer_config.json`, as in `transformers`.
pub(super) fn find(dir: &Path) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    for name in ["chat_template.json", "tokenizer_config.json"] {
        let path = dir.join(name);
        if !found.is_empty() || !path.is_file() {
            continue;
        }
        let config: Value = serde_json::from_str(&read(&path)?).map_err(|e| format!("{}: {e}", path.display()))?;
        if let Some(templates) = config.get("chat_template") {
            let broken = || format!("{}: chat_template is neither a text nor a list of named ones", path.display());
            found = of_value(templates).ok_or_else(broken)?;
        }
    }
    let mut files = BTreeMap::new();
    let single = dir.join("chat_template.jinja");
    if single.is_file() {
        files.insert(DEFAULT.to_owned(), read(&single)?);
    }
    if let Ok(entries) = fs::read_dir(dir.join("additional_chat_templates")) {
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "jinja")).take(MAX_CHAT_TEMPLATES)
        {
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            files.insert(name.unwrap_or_default(), read(path)?);
        }
    }
    Ok(if files.is_empty() { found } else { files })
}

fn of_value(value: &Value) -> Option<BTreeMap<String, String>> {
    match value {
        Value::Null => Some(BTreeMap::new()),
        Value::String(text) => Some(BTreeMap::from([(DEFAULT.to_owned(), text.clone())])),
        Value::Array(list) => {
            let named = |entry: &Value| {
                Some((entry.get("name")?.as_str()?.to_owned(), entry.get("template")?.as_str()?.to_owned()))
            };
            list.iter().take(MAX_CHAT_TEMPLATES).map(named).collect()
        }
        Value::Object(map) => map
            .iter()
            .take(MAX_CHAT_TEMPLATES)
            .map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned())))
            .collect(),
        _ => None,
    }
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = fs::File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let most = MAX_TOKENIZER_CONFIG_BYTES;
    file.take(most + 1).read_to_string(&mut text).map_err(|e| format!("{}: {e}", path.display()))?;
    if text.len() as u64 > most {
        return Err(format!("{} is larger than {most} bytes, the most that such a file may have", path.display()));
    }
    Ok(text)
}

/// `{% generation %}` marks what a model said, for training. Here it is a block that is always there.
pub(super) fn without_generation_marks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        let sign = tag.len() - tag.strip_prefix(['-', '+']).unwrap_or(tag).len();
        let inner = tag[sign..].trim_start();
        let word = ["endgeneration", "generation"].into_iter().find(|word| inner.starts_with(word));
        let ends = |word: &str| inner[word.len()..].trim_start().trim_start_matches(['-', '+']).starts_with("%}");
        match word.filter(|word| ends(word)) {
            Some(word) => {
                out.push_str(&tag[..sign]);
                out.push_str(if word == "generation" { " if true" } else { " endif" });
                rest = &inner[word.len()..];
            }
            None => rest = tag,
        }
    }
    out.push_str(rest);
    out
}
