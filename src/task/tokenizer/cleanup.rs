//! `clean_up_tokenization_spaces`: blanks before English punctuation and short forms are taken out.

/// What goes, and what comes in its place, one after the other over the whole text.
const RULES: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

/// Longest of the rules, bytes.
const LONGEST: usize = 4;

/// The whole of a text.
pub(super) fn clean_up(text: &str) -> String {
    RULES
        .iter()
        .fold(text.to_owned(), |text, (from, to)| if text.contains(from) { text.replace(from, to) } else { text })
}

/// A text that comes in parts: cleaned as the whole would be.
#[derive(Debug, Clone, Default)]
pub(super) struct CleanUp {
    kept: String,
}

impl CleanUp {
    pub(super) fn push(&mut self, text: &str, out: &mut String) {
        self.kept.push_str(text);
        let cut = safe_cut(&self.kept);
        if cut > 0 {
            out.push_str(&clean_up(&self.kept[..cut]));
            self.kept.drain(..cut);
        }
    }

    pub(super) fn finish(&mut self, out: &mut String) {
        out.push_str(&clean_up(&std::mem::take(&mut self.kept)));
    }
}

/// The last place where `text` can be cut so that both sides are cleaned apart as they are together, whatever follows.
///
/// Rules begin with a blank and are short, so that none reaches over a place with no blank in the bytes before it. Before a
/// blank none reaches over either, unless what it left behind (`'`, or `n` of ` n't`) makes a rule with what it leads to.
fn safe_cut(text: &str) -> usize {
    let bytes = text.as_bytes();
    let is_safe = |at: usize| {
        let before = &bytes[at.saturating_sub(LONGEST + 1)..at];
        let is_far = before.len() > LONGEST && !before.contains(&b' ');
        let is_before_blank = bytes.get(at) == Some(&b' ') && !matches!(bytes[at - 1], b' ' | b'\'' | b'n');
        text.is_char_boundary(at) && (is_far || is_before_blank)
    };
    (1..=text.len()).rev().find(|&at| is_safe(at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn english_punctuation_moves_to_its_word() {
        assert_eq!(clean_up("do n't , it 's ' fine ' . we 've"), "don't, it's'fine '. we've");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]
        #[test]
        fn parts_are_cleaned_as_the_whole(parts in proptest::collection::vec("[ .,?'nntmsverea漢]{0,6}", 0..12)) {
            let mut state = CleanUp::default();
            let mut out = String::new();
            for part in &parts {
                state.push(part, &mut out);
            }
            state.finish(&mut out);
            proptest::prop_assert_eq!(out, clean_up(&parts.concat()));
        }

        #[test]
        fn words_do_not_wait_long(words in proptest::collection::vec("[a-m]{1,9}", 1..20)) {
            let mut state = CleanUp::default();
            let mut out = String::new();
            for word in &words {
                state.push(&format!(" {word}"), &mut out);
                proptest::prop_assert!(state.kept.len() <= word.len() + 1);
            }
        }
    }
}
