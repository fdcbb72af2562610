//! Tokens to words, as `transformers`' `_combine_tokens_into_words`: cut where characters are whole, joined up to the next blank, with
//! punctuation at the word that it belongs to.

use std::ops::Range;

use crate::task::tokenizer::TextTokenizer;

/// Belongs to the word behind it.
const PREPENDED: &str = "\"'“¡¿([{-";
/// Belongs to the word before it.
const APPENDED: &str = "\"'.。,，!！?？:：”)]}、";
/// Stands alone, until the rules above join it.
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
/// Languages that are written without blanks between words.
const UNSPACED: [&str; 6] = ["zh", "ja", "th", "lo", "my", "yue"];

/// A word and the tokens that spell it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TokenWord {
    /// With the blank before it.
    pub(super) text: String,
    /// Places among the tokens.
    pub(super) tokens: Range<usize>,
}

/// Whether words of a language stand without blanks between them.
pub(super) fn is_unspaced(language: &str) -> bool {
    UNSPACED.contains(&language)
}

/// The words that `ids`, tokens of text alone, spell in `language`.
pub(super) fn split(tokens: &TextTokenizer, ids: &[u32], language: &str) -> Vec<TokenWord> {
    let mut words = characters(tokens, ids);
    if !is_unspaced(language) {
        words = at_blanks(words);
    }
    join_punctuation(words)
}

/// The smallest runs of tokens that spell whole characters.
fn characters(tokens: &TextTokenizer, ids: &[u32]) -> Vec<TokenWord> {
    const BROKEN: char = '\u{fffd}';
    let whole: Vec<char> = tokens.decode(ids, true).chars().collect();
    let mut words = Vec::new();
    let (mut from, mut spelled) = (0, 0);
    for to in 1..=ids.len() {
        let text = tokens.decode(&ids[from..to], true);
        // A broken character that is in the whole text, too, is not mended by what follows.
        let broken = text.chars().position(|c| c == BROKEN);
        if broken.is_none_or(|at| whole.get(spelled + at) == Some(&BROKEN)) {
            spelled += text.chars().count();
            words.push(TokenWord { text, tokens: from..to });
            from = to;
        }
    }
    words
}

fn at_blanks(parts: Vec<TokenWord>) -> Vec<TokenWord> {
    let mut words: Vec<TokenWord> = Vec::new();
    for part in parts {
        let alone = part.text.starts_with(' ') || PUNCTUATION.contains(part.text.trim());
        match words.last_mut() {
            Some(word) if !alone => {
                word.text.push_str(&part.text);
                word.tokens.end = part.tokens.end;
            }
            _ => words.push(part),
        }
    }
    words
}

fn join_punctuation(words: Vec<TokenWord>) -> Vec<TokenWord> {
    let mut joined: Vec<TokenWord> = Vec::new();
    for word in words.into_iter().rev() {
        match joined.last_mut() {
            Some(next) if word.text.starts_with(' ') && PREPENDED.contains(word.text.trim()) => {
                next.text.insert_str(0, &word.text);
                next.tokens.start = word.tokens.start;
            }
            _ => joined.push(word),
        }
    }
    let mut words: Vec<TokenWord> = Vec::new();
    for word in joined.into_iter().rev() {
        match words.last_mut() {
            Some(last) if !last.text.ends_with(' ') && APPENDED.contains(word.text.as_str()) => {
                last.text.push_str(&word.text);
                last.tokens.end = word.tokens.end;
            }
            _ => words.push(word),
        }
    }
    words.retain(|word| !word.text.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(texts: &[&str]) -> Vec<String> {
        let parts = texts.iter().enumerate().map(|(i, text)| TokenWord { text: (*text).into(), tokens: i..i + 1 });
        join_punctuation(at_blanks(parts.collect())).into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn words_keep_their_punctuation() {
        assert_eq!(joined(&[" lin", "net", ",", " (", "so", ")", "."]), [" linnet,", " (so)."]);
        assert_eq!(joined(&[" can", "'t"]), [" can't"]);
        assert_eq!(joined(&[" \"", "a", "\"", " b"]), [" \"a\"", " b"]);
        assert_eq!(joined(&["a", "!"]), ["a!"]);
    }

    #[test]
    fn no_token_is_lost() {
        let parts = [" a", " (", "b", ")", "c", "!", "!"];
        let parts: Vec<_> =
            parts.iter().enumerate().map(|(i, t)| TokenWord { text: (*t).into(), tokens: i..i + 1 }).collect();
        let words = join_punctuation(at_blanks(parts));
        let covered: Vec<usize> = words.iter().flat_map(|word| word.tokens.clone()).collect();
        assert_eq!(covered, (0..7).collect::<Vec<_>>());
    }
}
