//! Building the tokenizers of SentencePiece families from their files.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::added::{Added, AddedToken};
use super::class::Class;
use super::languages::{self, Languages, Scheme};
use super::layout::Layout;
use super::package::{Package, SpecialTokens};
use super::sentencepiece::SentencePiece;
use super::slow::{Slow, Style};
use super::special::SpecialIds;
use super::vocabulary::{Listed, Vocabulary};

/// The file of the one model of a family, in the order of preference.
const MODEL_FILES: [&str; 5] =
    ["spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "source.spm", "spm.model"];

/// From a package without `tokenizer.json`.
pub(super) fn load(package: &Package) -> Result<Slow, String> {
    let Some(file) = MODEL_FILES.into_iter().find(|name| package.has(name)) else {
        return Err(format!("none of {} is there", MODEL_FILES.join(", ")));
    };
    let read = |file: &str| {
        SentencePiece::parse(&package.bytes(file)?).map_err(|why| format!("{}: {why}", package.path(file)))
    };
    let source = read(file)?;
    let mut special = package.special_tokens();
    let mut added = package.added_tokens()?;
    let is_saved = !added.is_empty();
    let class = package.class;

    let unknown = special.roles[2].as_ref().map_or("<unk>", |t| t.content.as_str()).to_owned();
    let listed = |file: &str, model: &SentencePiece| {
        Listed::new(package.vocabulary(file)?, &unknown, model).map_err(|why| format!("{} {why}", package.path(file)))
    };
    let mut target = None;
    let mut target_vocabulary = None;
    let vocabulary = match class {
        Class::T5 | Class::Llama | Class::Gemma => Vocabulary::Same,
        Class::Nllb => Vocabulary::Fairseq { tail: Vec::new() },
        Class::XlmRoberta => Vocabulary::Fairseq { tail: vec!["<mask>".to_owned()] },
        Class::Mbart => Vocabulary::Fairseq { tail: codes_and_mask(&languages::MBART) },
        Class::Mbart50 => Vocabulary::Fairseq { tail: codes_and_mask(&languages::MBART50) },
        Class::M2m100 => Vocabulary::Listed(listed("vocab.json", &source)?),
        Class::Marian => {
            let model = read("target.spm")?;
            if package.flag("separate_vocabs") == Some(true) {
                target_vocabulary = Some(listed("target_vocab.json", &model)?);
            }
            target = Some(model);
            Vocabulary::Listed(listed("vocab.json", &source)?)
        }
        _ => return Err(format!("{} is of a family whose SentencePiece files are not read", package.path(file))),
    };
    first_additions(package, &source, &mut special, &mut added, is_saved);
    add_special(&special, &mut added, &vocabulary, &source);

    let id = |token: &AddedToken| added.iter().find(|(_, t)| t.content == token.content).map(|(&id, _)| id);
    let ids = special.roles.each_ref().map(|role| role.as_ref().and_then(id));
    let special_ids = SpecialIds::from_roles(ids);
    let base = vocabulary.len(&source);
    let all_special = special.all().chain(added.values().filter(|t| t.special)).map(|t| t.content.clone());
    let all_special: HashSet<String> = all_special.collect();
    let additional: BTreeSet<u32> = special.additional.iter().filter_map(id).collect();
    let apart = added.iter().filter(|(id, token)| {
        let is_beyond = additional.contains(id) && **id >= base;
        is_beyond || !all_special.contains(&token.content)
    });
    let apart = apart.map(|(&id, _)| id).collect();

    let eos = special_ids.eos.ok_or_else(|| format!("{}: there is no end-of-text token", package.path(file)))?;
    let languages = languages_of(package, &vocabulary, &added, &source, eos)?;
    let is_legacy = !matches!(class, Class::T5 | Class::Llama) || package.flag("legacy") != Some(false);
    let codes = languages.iter().flat_map(Languages::ids);
    Ok(Slow {
        layout: layout_of(package, &special_ids, eos),
        added: Added::new(added, &package.templates, codes),
        source: if is_legacy { source } else { source.without_dummy_prefix() },
        target,
        vocabulary,
        target_vocabulary,
        special: special_ids,
        all_special,
        apart,
        languages,
        style: style_of(class),
        is_legacy,
        add_prefix_space: package.flag("add_prefix_space").unwrap_or(true),
    })
}

fn codes_and_mask(codes: &[&str]) -> Vec<String> {
    codes.iter().copied().chain(["<mask>"]).map(str::to_owned).collect()
}

/// What a class adds before the files have a say.
fn first_additions(
    package: &Package,
    source: &SentencePiece,
    special: &mut SpecialTokens,
    added: &mut BTreeMap<u32, AddedToken>,
    is_saved: bool,
) {
    let mut own = BTreeMap::new();
    match package.class {
        Class::T5 => {
            let given = special.additional.iter().filter(|t| t.content.contains("<extra_id_")).count() as u32;
            let wanted = package.config.get("extra_ids").and_then(serde_json::Value::as_u64).unwrap_or(100) as u32;
            let count = if given > 0 { given } else { wanted };
            for index in 0..count {
                let content = format!("<extra_id_{index}>");
                let token = AddedToken { lstrip: true, rstrip: true, ..AddedToken::special(&content) };
                own.insert(source.len() - 1 + count - index, token.clone());
                if given == 0 {
                    special.additional.push(token);
                }
            }
        }
        Class::Nllb => {
            let heads = [0, 4, 1, 2].map(|role| special.roles[role].clone());
            own.extend((0..4).zip(heads).filter_map(|(id, token)| Some((id, token?))));
            if !package.names_additional() {
                special.additional = languages::NLLB.map(AddedToken::special).to_vec();
            }
            if !is_saved {
                // The codes come first in the model's embedding, the mask last.
                let first = source.len() + 1;
                own.extend((first..).zip(special.additional.iter().cloned()));
            }
        }
        Class::Mbart | Class::Mbart50 => {
            let codes: &[&str] = if package.class == Class::Mbart { &languages::MBART } else { &languages::MBART50 };
            let missing = codes.iter().filter(|c| special.additional.iter().all(|t| t.content != **c));
            let missing: Vec<_> = missing.map(|code| AddedToken::special(code)).collect();
            special.additional.extend(missing);
        }
        Class::M2m100 => {
            let missing = m2m100_codes(package).iter().map(|code| AddedToken::special(&format!("__{code}__")));
            let missing: Vec<_> =
                missing.filter(|t| special.additional.iter().all(|s| s.content != t.content)).collect();
            special.additional.extend(missing);
        }
        _ => {}
    }
    for (id, token) in own {
        added.entry(id).or_insert(token);
    }
}

fn m2m100_codes(package: &Package) -> &'static [&'static str] {
    if package.string("language_codes") == Some("wmt21") { &languages::WMT21 } else { &languages::M2M100 }
}

/// Special tokens that are not yet added: at their place in the vocabulary, or behind its end.
fn add_special(
    special: &SpecialTokens,
    added: &mut BTreeMap<u32, AddedToken>,
    vocabulary: &Vocabulary,
    source: &SentencePiece,
) {
    let is_new = |token: &AddedToken| vocabulary.id(source, &token.content).is_none();
    let mut next = vocabulary.len(source) + added.values().filter(|t| is_new(t)).count() as u32;
    for token in special.all() {
        if token.content.is_empty() || added.values().any(|t| t.content == token.content) {
            continue;
        }
        let id = vocabulary.id(source, &token.content).unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        added.insert(id, token.clone());
    }
}

fn languages_of(
    package: &Package,
    vocabulary: &Vocabulary,
    added: &BTreeMap<u32, AddedToken>,
    source: &SentencePiece,
    eos: u32,
) -> Result<Option<Languages>, String> {
    let id = |token: &str| {
        let added = added.iter().find(|(_, t)| t.content == token).map(|(&id, _)| id);
        added.or_else(|| vocabulary.id(source, token))
    };
    let of = |codes: &[&str]| codes.iter().filter_map(|code| Some(((*code).to_owned(), id(code)?))).collect::<Vec<_>>();
    let default = |code: &str| Some(package.string("src_lang").unwrap_or(code).to_owned());
    let first = Scheme::SourceFirst { eos };
    let languages = match (package.class, vocabulary) {
        (Class::M2m100, _) => {
            let codes = m2m100_codes(package).iter();
            let tokens = codes.filter_map(|code| Some(((*code).to_owned(), id(&format!("__{code}__"))?))).collect();
            Languages::new(tokens, first, default("en"))
        }
        (Class::Nllb, _) => nllb(package, of(&languages::NLLB), eos),
        (Class::Mbart, _) => Languages::new(of(&languages::MBART), Scheme::SourceLast { eos }, default("en_XX")),
        (Class::Mbart50, _) => Languages::new(of(&languages::MBART50), first, default("en_XX")),
        (Class::Marian, Vocabulary::Listed(listed)) => {
            let code = |token: &str| Some(token.strip_prefix(">>")?.strip_suffix("<<")?.to_owned());
            let mut tokens: Vec<_> = listed.iter().filter_map(|(token, id)| Some((code(token)?, id))).collect();
            if tokens.is_empty() {
                return Ok(None);
            }
            tokens.sort_by_key(|(_, id)| *id);
            Languages::new(tokens, Scheme::TargetFirst { eos }, None)
        }
        _ => return Ok(None),
    };
    Ok(Some(languages))
}

/// Also for a package with `tokenizer.json`.
pub(super) fn nllb(package: &Package, tokens: Vec<(String, u32)>, eos: u32) -> Languages {
    let is_first_form = package.flag("legacy_behaviour") == Some(true);
    let scheme = if is_first_form { Scheme::SourceLast { eos } } else { Scheme::SourceFirst { eos } };
    Languages::new(tokens, scheme, Some(package.string("src_lang").unwrap_or("eng_Latn").to_owned()))
}

fn layout_of(package: &Package, special: &SpecialIds, eos: u32) -> Layout {
    let one = |id: Option<u32>| id.into_iter().collect::<Vec<_>>();
    match package.class {
        Class::T5 => Layout { not_twice: Some(eos), ..Layout::around(&[], &[eos], &[eos]) },
        Class::XlmRoberta => {
            let sep = special.sep.unwrap_or(eos);
            Layout::around(&one(special.cls), &[sep, sep], &[sep])
        }
        Class::Llama | Class::Gemma => bos_and_eos(package, special),
        _ => Layout::around(&[], &[], &[eos]),
    }
}

/// Llama and Gemma, also with `tokenizer.json`: what the configuration says, whatever that file has.
pub(super) fn bos_and_eos(package: &Package, special: &SpecialIds) -> Layout {
    let wanted = |key: &str, default: bool, id: Option<u32>| -> Vec<u32> {
        id.filter(|_| package.flag(key).unwrap_or(default)).into_iter().collect()
    };
    let bos = wanted("add_bos_token", true, special.bos);
    let eos = wanted("add_eos_token", false, special.eos);
    Layout::around(&bos, &[eos.as_slice(), &bos].concat(), &eos)
}

fn style_of(class: Class) -> Style {
    match class {
        Class::T5 => Style::T5,
        Class::Mbart50 => Style::Mbart50,
        Class::Llama => Style::Llama,
        Class::Gemma => Style::Gemma,
        Class::Marian => Style::Marian,
        Class::M2m100 => Style::M2m100,
        _ => Style::Joined,
    }
}
