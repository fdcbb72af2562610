//! Against the C++ library (`tests/goldens/tokenizers/generate.py`), and on what it never gets.

use std::collections::BTreeMap;

use super::*;
use crate::task::tokenizer::tests::{goldens, sentences};

fn model(name: &str) -> SentencePiece {
    let bytes = std::fs::read(goldens().join("models").join(name)).expect("a model");
    SentencePiece::parse(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn pieces_and_their_places_are_those_of_the_library() {
    let text = std::fs::read_to_string(goldens().join("sentencepiece.json")).expect("the goldens");
    let golden: BTreeMap<String, Vec<Vec<u32>>> = serde_json::from_str(&text).expect("the goldens");
    assert_eq!(golden.len(), 3);
    let mut wrong = Vec::new();
    for (name, rows) in golden {
        let model = model(&name);
        for (text, row) in sentences().iter().zip(rows) {
            let cut = model.encode(text);
            let got: Vec<u32> =
                cut.pieces.iter().flat_map(|p| [p.id, p.origin.start as u32, p.origin.end as u32]).collect();
            if got != row {
                wrong.push(format!("{name} {text:?}\n  got  {got:?}\n  want {row:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_no_model_is_refused_with_a_reason() {
    let good = std::fs::read(goldens().join("models/llama.model")).expect("a model");
    for bytes in [&b""[..], b"{}", b"\x0a\xff\xff\xff\xff\x0f", &good[..good.len() / 2]] {
        let error = SentencePiece::parse(bytes).expect_err("refused");
        assert!(error.contains("SentencePiece") || error.contains("piece"), "{error}");
    }
    // Any byte may be wrong: never a panic, whatever becomes of it.
    for at in (0..good.len()).step_by(7) {
        let mut broken = good.clone();
        broken[at] ^= 0xff;
        if let Ok(model) = SentencePiece::parse(&broken) {
            model.encode("The little bird 🐦 sings");
        }
    }
}

#[test]
fn a_damaged_table_of_replacements_does_no_harm() {
    let mut bytes = std::fs::read(goldens().join("models/source.spm")).expect("a model");
    let spec = bytes.len() - 400;
    for at in (spec..bytes.len()).step_by(3) {
        bytes[at] ^= 0x55;
        if let Ok(model) = SentencePiece::parse(&bytes) {
            model.encode("ﬁne ½ e\u{301} \u{a0}... x");
        }
    }
}

#[test]
fn a_million_of_one_character_take_little_time() {
    for name in ["llama.model", "unigram_nmt_nfkc.model", "char.model", "source.spm"] {
        let model = model(name);
        for character in ["a", " ", "\n", "漢", "☃", "\u{301}", "▁", "\0", "!"] {
            let text = character.repeat(1_000_000 / character.len());
            let begun = std::time::Instant::now();
            let cut = model.encode(&text);
            let spent = begun.elapsed();
            // Half a second on a slow machine; a quadratic one takes hours.
            assert!(spent.as_secs() < 600, "{name} {character:?}: {spent:?}");
            assert!(cut.pieces.iter().all(|p| p.origin.end <= text.len()));
        }
    }
}

proptest::proptest! {
    #[test]
    fn pieces_cover_the_normalised_text_and_decode_to_it(text in "\\PC{0,40}") {
        let model = model("llama.model");
        let cut = model.encode(&text);
        let mut end = 0;
        for piece in &cut.pieces {
            proptest::prop_assert!(piece.normalized.start == end || piece.normalized.end == end);
            end = piece.normalized.end;
        }
        proptest::prop_assert_eq!(end, cut.normalized.len());
        let mut decoder = PieceDecoder::default();
        let mut out = String::new();
        for piece in &cut.pieces {
            decoder.push(&model, model.piece(piece.id).expect("a piece"), &mut out);
        }
        decoder.finish(&model, &mut out);
        // Byte fall-back loses nothing; the mark of a blank is one.
        proptest::prop_assert_eq!(out, text.replace(SPACE_MARK, " "));
    }
}
