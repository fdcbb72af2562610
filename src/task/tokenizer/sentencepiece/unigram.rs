//! The most probable way through a unigram model (Viterbi), with SentencePiece's own rounding, so that ties fall alike.

use super::pieces::{Kind, Pieces};

/// What an unknown character costs below the least probable piece.
const UNKNOWN_PENALTY: f32 = 10.0;

#[derive(Clone, Copy)]
struct Best {
    id: u32,
    score: f32,
    /// `u32::MAX` where no way leads.
    from: u32,
}

/// Cuts `text` into pieces: id and length in bytes of each. After `Model::EncodeOptimized`.
pub(super) fn encode(pieces: &Pieces, text: &str) -> Vec<(u32, u32)> {
    let bytes = text.as_bytes();
    let unknown_score = pieces.min_score - UNKNOWN_PENALTY;
    let mut best = vec![Best { id: 0, score: 0.0, from: u32::MAX }; bytes.len() + 1];
    for (from, character) in text.char_indices() {
        let here = best[from].score;
        let mut reach = |length: usize, score: f64, id: u32| {
            let target = &mut best[from + length];
            if target.from == u32::MAX || score > f64::from(target.score) {
                *target = Best { id, score: score as f32, from: from as u32 };
            }
        };
        let mut is_known = false;
        for (length, id) in pieces.trie.prefixes(&bytes[from..]) {
            // `double` there, since a symbol's bonus is one; rounded where it is kept.
            let score = match pieces.kind(id) {
                Kind::Unused => continue,
                Kind::UserDefined => f64::from(length as f32 * pieces.max_score) - 0.1,
                _ => f64::from(pieces.score(id)),
            };
            reach(length, score + f64::from(here), id);
            is_known |= length == character.len_utf8();
        }
        if !is_known {
            reach(character.len_utf8(), f64::from(unknown_score + here), pieces.unknown);
        }
    }
    let mut cut = Vec::new();
    let mut end = bytes.len();
    while end > 0 {
        let Best { id, from, .. } = best[end];
        cut.push((id, (end - from as usize) as u32));
        end = from as usize;
    }
    cut.reverse();
    cut
}
