//! Casing and punctuation by rule, for models that spell plain lower-case words: a capital where a sentence begins, `I`, a full
//! stop where speech pauses. No more is promised: commas and questions need a model.

use linnet_proto::Word;

/// Follows one transcription from segment to segment.
#[derive(Debug)]
pub(super) struct Punctuator {
    english: bool,
    sentence_begins: bool,
}

impl Punctuator {
    /// For a text in `language`, a primary tag.
    pub(super) fn new(language: &str) -> Self {
        Self { english: language == "en", sentence_begins: true }
    }

    /// Writes the words of the next segment as they stand in a text. `ends` says that a pause follows.
    pub(super) fn segment(&mut self, words: &mut [Word], ends: bool) {
        for word in words.iter_mut() {
            let pronoun = self.english && matches!(word.word.as_str(), "i" | "i'm" | "i'd" | "i'll" | "i've");
            if self.sentence_begins || pronoun {
                word.word = capitalized(&word.word);
            }
            self.sentence_begins = false;
        }
        if ends && let Some(last) = words.last_mut() {
            last.word.push('.');
            self.sentence_begins = true;
        }
    }
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn punctuate(language: &str, segments: &[(&str, bool)]) -> Vec<String> {
        let mut punctuator = Punctuator::new(language);
        let mut segment = |(text, ends): &(&str, bool)| {
            let word = |w: &str| Word { word: w.into(), ..Word::default() };
            let mut words: Vec<Word> = text.split_whitespace().map(word).collect();
            punctuator.segment(&mut words, *ends);
            words.into_iter().map(|w| w.word).collect::<Vec<_>>().join(" ")
        };
        segments.iter().map(&mut segment).collect()
    }

    #[test]
    fn sentences_begin_with_a_capital_and_end_with_a_stop() {
        let heard = [("turn it on", true), ("", true), ("and then i think i'm", false), ("done in iowa", true)];
        assert_eq!(punctuate("en", &heard), ["Turn it on.", "", "And then I think I'm", "done in iowa."]);
    }

    #[test]
    fn the_pronoun_is_an_english_rule() {
        assert_eq!(punctuate("de", &[("über i straße", true)]), ["Über i straße."]);
        assert_eq!(punctuate("fr", &[("écoute", false)]), ["Écoute"]);
    }
}
