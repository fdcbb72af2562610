//! Tokenizers from `tokenizer.json`, or from the files that such a one can be made of, by the `tokenizers` crate.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Deserialize;
use serde_json::Value;
use tokenizers::normalizers::{BertNormalizer, NormalizerWrapper};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{Model, NormalizedString, Normalizer, Tokenizer};

use super::added::{Added, AddedToken};
use super::class::Class;
use super::family;
use super::fast_decode::Steps;
use super::languages::{self, Languages, Scheme};
use super::layout::{Layout, Part, Slot};
use super::package::Package;
use super::special::SpecialIds;
use super::trie::Trie;

/// A tokenizer of the `tokenizers` crate with what `transformers` puts around it.
#[derive(Debug)]
pub(super) struct Fast {
    pub(super) tokenizer: Tokenizer,
    pub(super) added: Added,
    /// Added tokens that are looked for in the text as it came.
    pub(super) plain: Trie,
    /// Those that are looked for once it is normalised, in that form.
    pub(super) normalized: Trie,
    pub(super) special: SpecialIds,
    pub(super) layout: Layout,
    pub(super) languages: Option<Languages>,
    pub(super) steps: Steps,
}

/// Of `tokenizer.json` what must be known beside what the crate makes of it.
#[derive(Deserialize)]
struct Shape {
    decoder: Option<Value>,
}

/// Reads `tokenizer.json`.
pub(super) fn load(package: &Package) -> Result<Fast, String> {
    build(package, "tokenizer.json", &package.bytes("tokenizer.json")?)
}

/// From the bytes of a `tokenizer.json`, which `name` is called in errors.
pub(super) fn build(package: &Package, name: &str, bytes: &[u8]) -> Result<Fast, String> {
    let file = package.path(name);
    let shape: Shape = serde_json::from_slice(bytes).map_err(|e| format!("{file}: {e}"))?;
    // The crate has places where a malformed file makes it panic.
    let tokenizer = catch_unwind(AssertUnwindSafe(|| Tokenizer::from_bytes(bytes)))
        .map_err(|_| format!("{file} is malformed: reading it failed"))?
        .map_err(|e| format!("{file}: {e}"))?;
    let steps = Steps::parse(shape.decoder.as_ref());
    let failed = |e: tokenizers::Error| format!("{file}: {e}");
    let mut tokenizer = tokenizer;
    tokenizer.with_truncation(None).map_err(failed)?;
    tokenizer.with_padding(None);
    correct_pre_tokenizer(package, &mut tokenizer);
    correct_normalizer(package, &mut tokenizer).map_err(failed)?;
    add_tokens(package, &mut tokenizer)?;

    let tokens = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
    let added: std::collections::BTreeMap<u32, AddedToken> = tokens.iter().map(|(&id, t)| (id, own(t))).collect();
    let normal = |token: &AddedToken| -> tokenizers::Result<String> {
        let mut text = NormalizedString::from(token.content.as_str());
        if let Some(normalizer) = tokenizer.get_normalizer() {
            normalizer.normalize(&mut text)?;
        }
        Ok(text.get().to_owned())
    };
    let plain = Trie::new(added.iter().filter(|(_, t)| !t.normalized).map(|(&id, t)| (t.content.as_str(), id)));
    let normalized = added.iter().filter(|(_, t)| t.normalized);
    let normalized: Vec<(String, u32)> =
        normalized.map(|(&id, t)| Ok((normal(t)?, id))).collect::<tokenizers::Result<_>>().map_err(failed)?;
    let normalized = Trie::new(normalized.iter().map(|(text, id)| (text.as_str(), *id)));

    let roles = package.special_tokens().roles;
    let special = roles.map(|role| role.and_then(|token| tokenizer.token_to_id(&token.content)));
    let special = SpecialIds::from_roles(special);
    let layout = match package.class {
        Class::Llama | Class::Gemma => family::bos_and_eos(package, &special),
        _ => probe(&tokenizer).map_err(failed)?,
    };
    let languages = languages_of(package, &tokenizer, &special);
    let codes: Vec<u32> = languages.iter().flat_map(Languages::ids).collect();
    let added = Added::new(added, &package.templates, codes);
    Ok(Fast { tokenizer, added, plain, normalized, special, layout, languages, steps })
}

fn own(token: &tokenizers::AddedToken) -> AddedToken {
    AddedToken {
        content: token.content.clone(),
        single_word: token.single_word,
        lstrip: token.lstrip,
        rstrip: token.rstrip,
        normalized: token.normalized,
        special: token.special,
    }
}

fn theirs(token: &AddedToken) -> tokenizers::AddedToken {
    tokenizers::AddedToken::from(token.content.clone(), token.special)
        .single_word(token.single_word)
        .lstrip(token.lstrip)
        .rstrip(token.rstrip)
        .normalized(token.normalized)
}

/// `add_prefix_space` is the configuration's to say, and no when it is silent.
fn correct_pre_tokenizer(package: &Package, tokenizer: &mut Tokenizer) {
    let wanted = package.flag("add_prefix_space").unwrap_or(false);
    if let Some(PreTokenizerWrapper::ByteLevel(now)) = tokenizer.get_pre_tokenizer()
        && now.add_prefix_space != wanted
    {
        let corrected = ByteLevel::new(wanted, now.trim_offsets, now.use_regex);
        tokenizer.with_pre_tokenizer(Some(corrected));
    }
}

/// BERT's case, accents and Chinese characters are the configuration's to say.
fn correct_normalizer(package: &Package, tokenizer: &mut Tokenizer) -> tokenizers::Result<()> {
    let is_bert = matches!(package.class, Class::Bert | Class::Mpnet);
    if let Some(NormalizerWrapper::BertNormalizer(now)) = tokenizer.get_normalizer().filter(|_| is_bert) {
        let lowercase = package.flag("do_lower_case").unwrap_or(true);
        let chinese = package.flag("tokenize_chinese_chars").unwrap_or(true);
        let corrected = BertNormalizer::new(now.clean_text, chinese, package.flag("strip_accents"), lowercase);
        tokenizer.with_normalizer(Some(corrected))?;
    }
    Ok(())
}

/// Tokens that only the configuration has.
fn add_tokens(package: &Package, tokenizer: &mut Tokenizer) -> Result<(), String> {
    let mut wanted: Vec<AddedToken> = package.added_tokens()?.into_values().collect();
    for token in package.special_tokens().all() {
        // What the class has by default is no reason to enlarge a vocabulary.
        let is_there = tokenizer.token_to_id(&token.content).is_some();
        if wanted.iter().all(|t| t.content != token.content) && (is_there || package.names_token(&token.content)) {
            wanted.push(AddedToken { normalized: false, ..token.clone() });
        }
    }
    let known = tokenizer.get_added_tokens_decoder();
    let is_known = |token: &AddedToken| known.values().any(|t| t.content == token.content);
    let missing: Vec<_> = wanted.iter().filter(|t| !is_known(t)).map(theirs).collect();
    tokenizer.add_tokens(missing).map_err(|e| format!("{}: {e}", package.path("tokenizer_config.json")))?;
    Ok(())
}

/// Where the post-processor puts its tokens: seen from what it does to two texts of one token each.
fn probe(tokenizer: &Tokenizer) -> tokenizers::Result<Layout> {
    let marks = [u32::MAX - 1, u32::MAX];
    let text = |mark: u32, type_id: u32| {
        tokenizers::Encoding::from_tokens(vec![tokenizers::Token::new(mark, String::new(), (0, 0))], type_id)
    };
    let slots = |encoding: tokenizers::Encoding| {
        let slot = |(&id, &type_id): (&u32, &u32)| {
            let part = match marks.iter().position(|m| *m == id) {
                Some(0) => Part::First,
                Some(_) => Part::Second,
                None => Part::Token(id),
            };
            Slot { part, type_id }
        };
        encoding.get_ids().iter().zip(encoding.get_type_ids()).map(slot).collect()
    };
    let single = tokenizer.post_process(text(marks[0], 0), None, true)?;
    let pair = tokenizer.post_process(text(marks[0], 0), Some(text(marks[1], 1)), true)?;
    Ok(Layout { single: slots(single), pair: slots(pair), not_twice: None })
}

fn languages_of(package: &Package, tokenizer: &Tokenizer, special: &SpecialIds) -> Option<Languages> {
    let eos = special.eos?;
    let of = |codes: &[&str]| -> Vec<(String, u32)> {
        codes.iter().filter_map(|code| Some(((*code).to_owned(), tokenizer.token_to_id(code)?))).collect()
    };
    let default = Some(package.string("src_lang").unwrap_or("en_XX").to_owned());
    Some(match package.class {
        Class::Nllb => family::nllb(package, of(&languages::NLLB), eos),
        Class::Mbart => Languages::new(of(&languages::MBART), Scheme::SourceLast { eos }, default),
        Class::Mbart50 => Languages::new(of(&languages::MBART50), Scheme::SourceFirst { eos }, default),
        _ => return None,
    })
}

impl Fast {
    /// How many ids there are, the highest one of an added token counted.
    pub(super) fn len(&self) -> u32 {
        let beyond = self.added.iter().map(|(id, _)| id + 1).max().unwrap_or(0);
        beyond.max(self.tokenizer.get_model().get_vocab_size() as u32)
    }
}
