//! English text as models spell it and as scores compare it: lower case, words of letters and apostrophes, one blank
//! between, numbers in words.

mod fold;
mod numbers;

use fold::{Folded, fold};

/// Normalises text for training and for scoring.
///
/// - Lower case; Latin letters lose their accents (`é` → `e`, `ß` → `ss`, `ﬁ` → `fi`); curly apostrophes become `'`.
/// - An apostrophe stays between two letters only (`don't`, but `dogs' → dogs`).
/// - Numbers are spelled (`1,234` → `one thousand two hundred thirty four`, `21st` → `twenty first`, `3.5` → `three point five`);
///   longer ones than nine digits, and those with a leading zero, digit by digit. `%` is `percent`, `&` is `and`.
/// - Full stops in abbreviations vanish (`U.S.` → `us`); all other punctuation, hyphens included, parts words.
/// - Letters of other scripts part words, too: what remains is `a` to `z`, `'` and single blanks.
///
/// Normalising twice changes nothing.
pub fn normalize_text(text: &str) -> String {
    let chars = folded(text);
    let mut out = Words::default();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        match c {
            'a'..='z' => out.letter(c),
            '0'..='9' => {
                let number = numbers::read(&chars[at..]);
                out.part();
                out.words(&number.words);
                at += number.chars;
                continue;
            }
            '\'' if out.ends_in_letter() && chars.get(at + 1).is_some_and(char::is_ascii_lowercase) => out.letter(c),
            '.' if out.run == 1 => out.run = 0,
            '%' => out.words("percent"),
            '&' => out.words("and"),
            _ => out.part(),
        }
        at += 1;
    }
    out.text
}

/// Lower-case ASCII where there is a letter for it, punctuation as it is, a blank for all else.
fn folded(text: &str) -> Vec<char> {
    let mut chars = Vec::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        match fold(c) {
            Folded::Nothing => {}
            Folded::Char(c) => chars.push(c),
            Folded::Text(t) => chars.extend(t.chars()),
        }
    }
    chars
}

/// Words that are being written.
#[derive(Default)]
struct Words {
    text: String,
    /// Whether the next letter begins a word.
    parted: bool,
    /// Letters since the last blank or full stop: one letter before a full stop is an abbreviation's.
    run: usize,
}

impl Words {
    fn letter(&mut self, letter: char) {
        if self.parted && !self.text.is_empty() {
            self.text.push(' ');
        }
        self.parted = false;
        self.text.push(letter);
        self.run += 1;
    }

    fn words(&mut self, words: &str) {
        self.part();
        words.chars().for_each(|c| if c == ' ' { self.part() } else { self.letter(c) });
        self.part();
    }

    fn part(&mut self) {
        self.parted = true;
        self.run = 0;
    }

    fn ends_in_letter(&self) -> bool {
        !self.parted && self.text.ends_with(|c: char| c.is_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests;
