//! The tokenizer's files of a package: what is there, and what `tokenizer_config.json` and its companions say.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::added::AddedToken;
use super::class::Class;
use crate::limits::{MAX_TOKENIZER_CONFIG_BYTES, MAX_TOKENIZER_FILE_BYTES};

/// The keys of the special tokens that have a role, in the order in which `transformers` adds them.
pub(super) const ROLES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// An opened package.
#[derive(Debug)]
pub(super) struct Package {
    dir: PathBuf,
    /// `tokenizer_config.json`; empty without one.
    pub(super) config: Map<String, Value>,
    /// `special_tokens_map.json`, where it has a say: a configuration that lists `added_tokens_decoder` is complete.
    special_map: Map<String, Value>,
    pub(super) class: Class,
    /// The text of the chat templates, for the tokens that they name.
    pub(super) templates: String,
}

/// The special tokens of a package.
#[derive(Debug, Clone, Default)]
pub(super) struct SpecialTokens {
    /// In the order beginning, end, unknown, separator, padding, class, mask.
    pub(super) roles: [Option<AddedToken>; 7],
    pub(super) additional: Vec<AddedToken>,
}

impl Package {
    pub(super) fn open(dir: &Path) -> Result<Self, String> {
        let mut package = Self {
            dir: dir.to_owned(),
            config: Map::new(),
            special_map: Map::new(),
            class: Class::Other,
            templates: String::new(),
        };
        package.config = package.object("tokenizer_config.json")?;
        if !package.config.contains_key("added_tokens_decoder") {
            package.special_map = package.object("special_tokens_map.json")?;
        }
        let model = package.object("config.json")?;
        let text = |object: &Map<String, Value>, key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
        let class = text(&package.config, "tokenizer_class").or_else(|| text(&model, "tokenizer_class"));
        let class = class.and_then(|name| Class::from_tokenizer_class(&name));
        let by_type = || text(&model, "model_type").and_then(|name| Class::from_model_type(&name));
        package.class = class.or_else(by_type).unwrap_or_else(|| Class::from_files(|name| package.has(name)));
        package.templates = package.config.get("chat_template").map(Value::to_string).unwrap_or_default();
        if package.has("chat_template.jinja") {
            package.templates.push_str(&package.text("chat_template.jinja")?);
        }
        Ok(package)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.dir.join(name).is_file()
    }

    /// A whole file.
    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        self.bounded(name, MAX_TOKENIZER_FILE_BYTES)
    }

    /// A whole file of text.
    pub(super) fn text(&self, name: &str) -> Result<String, String> {
        String::from_utf8(self.bytes(name)?).map_err(|_| format!("{} is not UTF-8", self.path(name)))
    }

    fn bounded(&self, name: &str, most: u64) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let file = File::open(self.dir.join(name)).map_err(|e| format!("{}: {e}", self.path(name)))?;
        file.take(most + 1).read_to_end(&mut bytes).map_err(|e| format!("{}: {e}", self.path(name)))?;
        if bytes.len() as u64 > most {
            return Err(format!("{} is larger than {most} bytes, the most that such a file may have", self.path(name)));
        }
        Ok(bytes)
    }

    /// A file as it is named in errors.
    pub(super) fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// A JSON object; empty where there is no such file.
    pub(super) fn object(&self, name: &str) -> Result<Map<String, Value>, String> {
        if !self.has(name) {
            return Ok(Map::new());
        }
        let bytes = self.bounded(name, MAX_TOKENIZER_CONFIG_BYTES)?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(format!("{} holds no JSON object", self.path(name))),
            Err(error) => Err(format!("{}: {error}", self.path(name))),
        }
    }

    /// `vocab.json` and the like: each token with its id.
    pub(super) fn vocabulary(&self, name: &str) -> Result<Vec<(String, u32)>, String> {
        let bytes = self.bytes(name)?;
        let vocabulary: BTreeMap<String, u32> =
            serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", self.path(name)))?;
        Ok(vocabulary.into_iter().collect())
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.config.get(key).and_then(Value::as_bool)
    }

    pub(super) fn string(&self, key: &str) -> Option<&str> {
        self.config.get(key).and_then(Value::as_str)
    }

    /// Tokens that the package adds to the vocabulary, with their ids.
    pub(super) fn added_tokens(&self) -> Result<BTreeMap<u32, AddedToken>, String> {
        if let Some(decoder) = self.config.get("added_tokens_decoder") {
            let file = self.path("tokenizer_config.json");
            let entries = decoder.as_object().ok_or_else(|| format!("{file}: added_tokens_decoder is no object"))?;
            return entries
                .iter()
                .map(|(id, value)| {
                    let token = AddedToken::parse(value).filter(|t| !t.content.is_empty());
                    id.parse().ok().zip(token).ok_or_else(|| format!("{file}: added_tokens_decoder.{id} is no token"))
                })
                .collect();
        }
        let special = self.special_tokens();
        let is_special = |content: &str| special.all().any(|t| t.content == content);
        let read = |(content, id): (&String, &Value)| {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let id =
                id.ok_or_else(|| format!("{}: the id of {content:?} is no number", self.path("added_tokens.json")))?;
            let special = is_special(content);
            Ok((id, AddedToken { content: content.clone(), special, normalized: !special, ..AddedToken::default() }))
        };
        self.object("added_tokens.json")?.iter().map(read).collect()
    }

    /// Special tokens, from the files or as the class has them.
    pub(super) fn special_tokens(&self) -> SpecialTokens {
        let mut special = SpecialTokens::default();
        for ((role, key), default) in special.roles.iter_mut().zip(ROLES).zip(self.class.special_tokens()) {
            let given = self.special_map.get(key).or_else(|| self.config.get(key));
            *role = match given {
                None => default.map(AddedToken::special),
                Some(value) => AddedToken::parse(value),
            };
            if let Some(token) = role {
                token.special = true;
                let is_plain = given.is_none_or(Value::is_string);
                token.lstrip |= is_plain && key == "mask_token" && self.class.mask_strips_left();
                token.normalized &= !is_plain;
            }
        }
        let lists = [&self.config, &self.special_map].map(|map| map.get("additional_special_tokens"));
        for token in lists.into_iter().flatten().filter_map(Value::as_array).flatten().filter_map(AddedToken::parse) {
            if special.additional.iter().all(|t| t.content != token.content) {
                special.additional.push(AddedToken { special: true, ..token });
            }
        }
        special
    }

    /// Whether the files, and not the class alone, name a special token.
    pub(super) fn names_token(&self, content: &str) -> bool {
        let keys = ROLES.iter().chain(&["additional_special_tokens"]);
        let values = keys.flat_map(|key| [self.config.get(*key), self.special_map.get(*key)]).flatten();
        let is_it = |value: &Value| AddedToken::parse(value).is_some_and(|t| t.content == content);
        values.into_iter().any(|value| value.as_array().map_or(is_it(value), |list| list.iter().any(is_it)))
    }

    /// Whether `additional_special_tokens` are named at all.
    pub(super) fn names_additional(&self) -> bool {
        [&self.config, &self.special_map]
            .iter()
            .any(|map| map.get("additional_special_tokens").is_some_and(Value::is_array))
    }
}

impl SpecialTokens {
    /// Those with a role first, then the others.
    pub(super) fn all(&self) -> impl Iterator<Item = &AddedToken> {
        self.roles.iter().flatten().chain(&self.additional)
    }
}
