//! Sentences of a text. What lies between them (blanks, line ends) is not part of any.

/// Marks that end a sentence where a blank follows.
const ENDS: [char; 5] = ['.', '!', '?', '…', '‽'];
/// Marks that end a sentence wherever they stand.
const FULL_ENDS: [char; 5] = ['。', '！', '？', '｡', '۔'];
/// What may close behind an end.
const CLOSERS: [char; 11] = ['"', '\'', ')', ']', '}', '»', '”', '’', '」', '』', '）'];
/// Words with a full stop that end no sentence.
const ABBREVIATIONS: [&str; 34] = [
    "mr.", "mrs.", "ms.", "dr.", "prof.", "st.", "vs.", "e.g.", "i.e.", "etc.", "no.", "fig.", "approx.", "inc.",
    "ltd.", "jr.", "sr.", "z.b.", "d.h.", "u.a.", "usw.", "bzw.", "ca.", "nr.", "str.", "hr.", "fr.", "sog.", "evtl.",
    "m.", "mme.", "av.", "sra.", "p.",
];
/// Longest sentence, bytes; a longer one is cut at a blank.
const MAX_SENTENCE_BYTES: usize = 1500;

/// The sentences of `text` in order, each a part of it.
pub(in crate::task::generate) fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(in_line).flat_map(Shortened)
}

fn in_line(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut chars = line.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let full = FULL_ENDS.contains(&c);
        if !full && !ENDS.contains(&c) {
            continue;
        }
        let mut end = at + c.len_utf8();
        while let Some((next, closer)) = chars.peek().copied() {
            if !(CLOSERS.contains(&closer) || ENDS.contains(&closer) || FULL_ENDS.contains(&closer)) {
                break;
            }
            end = next + closer.len_utf8();
            chars.next();
        }
        let after = chars.peek().map(|(_, next)| *next);
        let ends = full || after.is_none_or(char::is_whitespace);
        if ends && !(c == '.' && is_abbreviation(&line[start..end], &line[end..])) {
            push(&line[start..end], &mut found);
            start = end;
        }
    }
    push(&line[start..], &mut found);
    found
}

/// Whether the full stop at the end of `before` belongs to its word.
fn is_abbreviation(before: &str, after: &str) -> bool {
    let last = before.split_whitespace().next_back().unwrap_or_default().to_lowercase();
    let last = last.trim_start_matches(['(', '"', '„', '“', '«']);
    let initial = last.chars().count() == 2 && last.chars().next().is_some_and(char::is_alphabetic);
    // A number's full stop is an ordinal's in front of a small letter.
    let ordinal = last.trim_end_matches('.').chars().all(|c| c.is_ascii_digit())
        && after.trim_start().chars().next().is_some_and(char::is_lowercase);
    ABBREVIATIONS.contains(&last) || initial || ordinal
}

fn push<'a>(part: &'a str, found: &mut Vec<&'a str>) {
    let part = part.trim();
    if !part.is_empty() {
        found.push(part);
    }
}

/// Cuts what is too long for any model at blanks.
struct Shortened<'a>(&'a str);

impl<'a> Iterator for Shortened<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let all = self.0;
        if all.is_empty() {
            return None;
        }
        if all.len() <= MAX_SENTENCE_BYTES {
            self.0 = "";
            return Some(all);
        }
        let mut most = MAX_SENTENCE_BYTES;
        while !all.is_char_boundary(most) {
            most -= 1;
        }
        let at = all[..most].rfind(char::is_whitespace).filter(|at| *at > 0).unwrap_or(most);
        self.0 = all[at..].trim_start();
        Some(all[..at].trim_end())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Vec<&str> {
        sentences(text).collect()
    }

    #[test]
    fn sentences_end_where_people_end_them() {
        assert_eq!(of("Hello there. How are you?  Fine!"), ["Hello there.", "How are you?", "Fine!"]);
        assert_eq!(of("He said \"Go.\" Then he left."), ["He said \"Go.\"", "Then he left."]);
        assert_eq!(
            of("Dr. Smith paid 3.50 at approx. 5 p.m. today."),
            ["Dr. Smith paid 3.50 at approx. 5 p.m.", "today."]
        );
        assert_eq!(of("Am 3. Mai z.B. kam J. S. Bach."), ["Am 3.", "Mai z.B. kam J. S. Bach."]);
        assert_eq!(of("你好。你好吗？很好"), ["你好。", "你好吗？", "很好"]);
        assert_eq!(of("one line\n\ntwo lines\n"), ["one line", "two lines"]);
        assert_eq!(of(" \n "), Vec::<&str>::new());
    }

    #[test]
    fn what_is_too_long_is_cut_at_a_blank() {
        let long = "word ".repeat(1000);
        let parts = of(&long);
        assert!(parts.len() > 2 && parts.iter().all(|part| part.len() <= MAX_SENTENCE_BYTES && !part.is_empty()));
        assert_eq!(parts.join(" "), long.trim());
        assert_eq!(of(&"x".repeat(4000)).concat().len(), 4000);
    }

    proptest! {
        #[test]
        fn no_letter_is_lost_and_parts_are_in_order(text in "\\PC{0,200}") {
            let mut at = 0;
            for sentence in sentences(&text) {
                let start = sentence.as_ptr() as usize - text.as_ptr() as usize;
                prop_assert!(start >= at && text[at..start].chars().all(char::is_whitespace));
                at = start + sentence.len();
            }
            prop_assert!(text[at..].chars().all(char::is_whitespace));
        }
    }
}
