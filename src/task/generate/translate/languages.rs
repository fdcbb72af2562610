//! What a model translates, and how it is told.

use linnet_proto::WireError;

use super::super::{Shared, refused};
use super::{Direction, unsupported};
use crate::store::languages::LANGUAGES;

/// How the model is told to translate `source` into `target`.
pub(super) fn direction(shared: &Shared, source: &str, target: &str) -> Result<Direction, WireError> {
    if source == target {
        return Err(unsupported(format!("source and target are both {target:?}; choose two languages"), "target"));
    }
    let pair = format!("{source}-{target}");
    if !shared.pairs.is_empty() && !shared.pairs.contains(&pair) {
        let message =
            format!("the model {} does not translate {pair}; it does: {}", shared.name, shared.pairs.join(", "));
        return Err(unsupported(message, "target"));
    }
    match shared.family.as_str() {
        "t5" | "mt5" => {
            let name = |tag: &str, param: &str| {
                let known = LANGUAGES.iter().find(|(own, ..)| *own == tag).map(|(_, _, name)| *name);
                known.ok_or_else(|| {
                    let tags = LANGUAGES.map(|(tag, ..)| tag).join(", ");
                    let message = format!(
                        "the model {} is told languages by name; {tag:?} has none here, but {tags}",
                        shared.name
                    );
                    unsupported(message, param)
                })
            };
            let prefix = format!("translate {} to {}: ", name(source, "source")?, name(target, "target")?);
            Ok(Direction { prefix, ..Direction::default() })
        }
        "marian" => {
            // A model of several targets is told which by a token before the text.
            let target =
                shared.tokenizer()?.languages().into_iter().find(|code| matches(code, target)).map(str::to_owned);
            Ok(Direction { target, ..Direction::default() })
        }
        _ => {
            let tokenizer = shared.tokenizer()?;
            let codes = tokenizer.languages();
            let code = |tag: &str, param: &str| {
                codes.iter().find(|code| matches(code, tag)).map(|code| (*code).to_owned()).ok_or_else(|| {
                    let known = codes.iter().take(12).copied().collect::<Vec<_>>().join(", ");
                    let more = codes.len().saturating_sub(12);
                    unsupported(
                        format!(
                            "the model {} does not know the language {tag:?}; it knows {known} and {more} more",
                            shared.name
                        ),
                        param,
                    )
                })
            };
            let (source, target) = (code(source, "source")?, code(target, "target")?);
            let id = tokenizer.language_id(&target).map_err(|e| refused(&e).with_param("target"))?;
            Ok(Direction { source: Some(source), target: Some(target), prefix: String::new(), forced: vec![id] })
        }
    }
}

/// Whether a model's code (`en`, `en_XX`, `eng_Latn`, `eng`) means the language of a tag.
fn matches(code: &str, tag: &str) -> bool {
    let base = code.split('_').next().unwrap_or(code);
    base == tag || LANGUAGES.iter().any(|(own, three, _)| *own == tag && *three == base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_by_every_models_code() {
        for code in ["de", "de_DE", "deu_Latn", "deu"] {
            assert!(matches(code, "de"), "{code}");
            assert!(!matches(code, "en"), "{code}");
        }
    }
}
