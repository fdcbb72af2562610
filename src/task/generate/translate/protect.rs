//! What a translation must not touch: addresses, placeholders, and the digits of numbers.

use std::ops::Range;

/// Addresses and placeholders in a sentence, in order.
pub(super) fn spans(sentence: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < sentence.len() {
        let rest = &sentence[at..];
        let length = placeholder(rest).or_else(|| starts_word(sentence, at).then(|| address(rest)).flatten());
        match length {
            Some(length) => {
                found.push(at..at + length);
                at += length;
            }
            None => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    found
}

fn starts_word(sentence: &str, at: usize) -> bool {
    sentence[..at].chars().next_back().is_none_or(|c| c.is_whitespace() || "(<[\"'«„“".contains(c))
}

/// Bytes of an address that begins here.
fn address(rest: &str) -> Option<usize> {
    let end = rest.find(|c: char| c.is_whitespace() || "<>\"«»“”".contains(c)).unwrap_or(rest.len());
    let word = rest[..end].trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '\'']);
    let is_url = ["http://", "https://", "ftp://", "mailto:", "www."].iter().any(|start| word.starts_with(start));
    let is_mail =
        word.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.') && !host.ends_with('.'));
    (!word.is_empty() && (is_url || is_mail)).then_some(word.len())
}

/// Bytes of a placeholder that begins here: `{name}`, `${name}`, `%s`, `%(name)s`, `%1$d`, `{{name}}`.
fn placeholder(rest: &str) -> Option<usize> {
    let braces = |from: usize| {
        let inner = rest.get(from..)?;
        let end = inner.find('}')?;
        let name = &inner[1..end];
        let plain = name.chars().all(|c| c.is_alphanumeric() || "_.:-{ ".contains(c)) && name.len() <= 64;
        let doubled = name.starts_with('{') && inner[end..].starts_with("}}");
        (plain && !name.trim().is_empty()).then_some(from + end + if doubled { 2 } else { 1 })
    };
    match rest.as_bytes() {
        [b'{', ..] => braces(0),
        [b'$', b'{', ..] => braces(1),
        [b'%', tail @ ..] => {
            let tail = std::str::from_utf8(tail).ok()?;
            let name = tail.strip_prefix('(').and_then(|inner| inner.find(')').map(|end| end + 2)).unwrap_or(0);
            let flags = tail[name..].find(|c: char| !(c.is_ascii_digit() || ".$-+ #".contains(c)))?;
            let kind = tail[name + flags..].chars().next()?;
            let spaced = tail[name..name + flags].contains(' ');
            ("sdifuxXeEgG@".contains(kind) && !spaced && ends_there(&tail[name + flags + 1..]))
                .then_some(1 + name + flags + 1)
        }
        _ => None,
    }
}

fn ends_there(rest: &str) -> bool {
    rest.chars().next().is_none_or(|c| !c.is_alphanumeric())
}

/// The runs of digits of a text, sorted: what both sides of a translation must share. Marks between digits are a language's own.
pub(super) fn numbers(text: &str) -> Vec<String> {
    let mut found: Vec<String> =
        text.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty()).map(str::to_owned).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(sentence: &str) -> Vec<&str> {
        spans(sentence).into_iter().map(|span| &sentence[span]).collect()
    }

    #[test]
    fn addresses_and_placeholders_are_found_whole() {
        assert_eq!(
            kept("See https://example.org/a?b=1, or mail a.b@example.org."),
            ["https://example.org/a?b=1", "a.b@example.org"]
        );
        assert_eq!(
            kept("Hello {name}, ${count} of {{total}} for %s at %(place)s and %1$d."),
            ["{name}", "${count}", "{{total}}", "%s", "%(place)s", "%1$d"]
        );
        assert_eq!(kept("100 % sure, {}, a@b, { x }"), ["{ x }"]);
        assert!(kept("Nothing to keep here.").is_empty());
    }

    #[test]
    fn numbers_are_compared_by_their_digits() {
        assert_eq!(numbers("1,234.5 and 7"), numbers("7 und 1.234,5"));
        assert_ne!(numbers("12"), numbers("21"));
    }

    proptest! {
        #[test]
        fn spans_are_in_order_and_within_the_text(text in "[a-z{}%$@./: (]{0,60}|\\PC{0,40}") {
            let mut at = 0;
            for span in spans(&text) {
                prop_assert!(span.start >= at && span.end <= text.len() && text.is_char_boundary(span.start) && text.is_char_boundary(span.end));
                at = span.end;
            }
        }
    }
}
