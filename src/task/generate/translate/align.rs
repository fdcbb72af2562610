//! Which words of a translation come from which words of the text, by what the decoder listened to.

use std::ops::Range;

use linnet_proto::translate::Aligned;

use crate::task::tokenizer::Encoded;

/// What is said of an alignment.
pub(super) const HOW: &str = "alignment: for each word of the translation the words that the decoder's cross-attention (mean over layers and \
                              heads) rests on; it costs one more step of the decoder for each token of the translation";
/// Why there is none: the graph.
pub(super) const UNTOLD: &str = "no alignment: the decoder's graph does not give its cross-attention; export it with the outputs \
                                 cross_attentions.N (output_attentions)";
/// Why there is none: the text.
pub(super) const MARKUP: &str = "no alignment: words are aligned in plain text, not in HTML";
/// Least share of a word's attention that is told beside the largest.
const LEAST_SHARE: f32 = 0.25;

/// Where the tokens that were heard stand in the sentence, behind `prefix` bytes that nobody wrote; empty for special ones.
pub(super) fn heard(encoded: &Encoded, prefix: usize) -> Vec<Range<usize>> {
    let place = |at: u32| (at as usize).saturating_sub(prefix);
    let of = |(i, (start, end)): (usize, &(u32, u32))| {
        if encoded.is_special(i) { 0..0 } else { place(*start)..place(*end) }
    };
    encoded.offsets.iter().enumerate().map(of).collect()
}

/// Where each of `ids` stands in the text that they spell, without the blanks around that.
pub(super) fn spelled(decode: impl Fn(&[u32]) -> String, ids: &[u32]) -> Vec<Range<usize>> {
    let whole = decode(ids);
    let lead = whole.len() - whole.trim_start().len();
    let mut at = 0;
    (1..=ids.len())
        .map(|count| {
            let from = at;
            at = decode(&ids[..count]).len().saturating_sub(lead).max(from);
            from..at
        })
        .collect()
}

/// The links between the words of two texts; each comes with the places of its tokens, and `attention` has a row for each token of the second.
pub(super) fn links(
    (source, heard): (&str, &[Range<usize>]),
    (target, spelled): (&str, &[Range<usize>]),
    attention: &[Vec<f32>],
) -> Vec<Aligned> {
    let (from, to) = (words(source), words(target));
    let mut shares = vec![vec![0f32; from.len()]; to.len()];
    for (range, row) in spelled.iter().zip(attention) {
        let Some(word) = word_of(&to, range) else { continue };
        for (range, weight) in heard.iter().zip(row) {
            if let Some(listened) = word_of(&from, range) {
                shares[word][listened] += weight;
            }
        }
    }
    let mut links = Vec::new();
    for (range, shares) in to.iter().zip(&shares) {
        let total: f32 = shares.iter().sum();
        let best = shares.iter().copied().fold(0.0, f32::max);
        // What listens to special tokens alone comes from no word.
        if !(total.is_finite() && best > 0.0) {
            continue;
        }
        for (word, share) in
            from.iter().zip(shares).filter(|(_, share)| **share == best || **share / total >= LEAST_SHARE)
        {
            let (source, target) = ((word.start, word.end), (range.start, range.end));
            links.push(Aligned { source, target, weight: share / total });
        }
    }
    links
}

/// Words between blanks; each character of Chinese and Japanese, which are written without.
fn words(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut goes_on = false;
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        let alone = matches!(c, '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}');
        match found.last_mut() {
            _ if c.is_whitespace() => {}
            Some(word) if goes_on && !alone => word.end = end,
            _ => found.push(at..end),
        }
        goes_on = !c.is_whitespace() && !alone;
    }
    found
}

/// The word that a token spells; the blank before a word belongs to the token of most vocabularies.
fn word_of(words: &[Range<usize>], token: &Range<usize>) -> Option<usize> {
    words.iter().rposition(|word| word.start < token.end && token.start < word.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(links: &[Aligned], source: &str, target: &str) -> Vec<String> {
        let of = |link: &Aligned| {
            let (from, to) = (&source[link.source.0..link.source.1], &target[link.target.0..link.target.1]);
            format!("{to}={from} {:.2}", link.weight)
        };
        links.iter().map(of).collect()
    }

    #[test]
    fn each_word_is_linked_to_what_its_tokens_listen_to() {
        let (source, target) = ("the red bird", "der Vogel ist rot");
        // Tokens with the blank before them; the last one heard is the end of the text.
        let heard = [0..3, 3..7, 7..9, 9..12, 0..0];
        let spelled = [0..3, 3..6, 6..9, 9..13, 13..17];
        let attention = [
            vec![0.4, 0.1, 0.0, 0.0, 0.5],
            vec![0.0, 0.0, 0.5, 0.3, 0.2],
            vec![0.0, 0.2, 0.3, 0.3, 0.2],
            vec![0.0, 0.0, 0.0, 0.0, 1.0],
            vec![0.0, 0.5, 0.0, 0.4, 0.1],
        ];
        let links = links((source, &heard), (target, &spelled), &attention);
        assert_eq!(shown(&links, source, target), ["der=the 0.80", "Vogel=bird 0.88", "rot=red 0.56", "rot=bird 0.44"]);
    }

    #[test]
    fn tokens_have_their_places_behind_a_prefix_and_without_the_blanks_around() {
        let encoded = Encoded {
            ids: vec![1, 2, 3],
            offsets: vec![(0, 9), (9, 14), (0, 0)],
            origins: vec![crate::task::tokenizer::Origin::First; 3],
            type_ids: vec![0; 3],
        };
        assert_eq!(heard(&encoded, 10), [0..0, 0..4, 0..0]);
        let pieces = [" ja", " no", "ch"];
        let decode = |ids: &[u32]| ids.iter().map(|id| pieces[*id as usize]).collect();
        assert_eq!(spelled(decode, &[0, 1, 2]), [0..2, 2..5, 5..7]);
    }

    #[test]
    fn characters_of_chinese_are_words() {
        assert_eq!(words("ab 你好c d"), [0..2, 3..6, 6..9, 9..10, 11..12]);
        assert!(words(" \n").is_empty());
    }

    #[test]
    fn attention_that_is_none_gives_no_links() {
        let one = std::slice::from_ref(&(0..1));
        assert_eq!(links(("a", one), ("b", one), &[vec![f32::NAN]]), []);
        assert_eq!(links(("a", one), ("b", one), &[]), []);
    }
}
