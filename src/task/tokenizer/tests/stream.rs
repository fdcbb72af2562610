//! Text as it comes.

use super::*;
use proptest::prelude::*;

/// Parts of a stream, each of them whole characters by its type.
fn parts(tokenizer: &TextTokenizer, ids: &[u32], skip_special: bool) -> Vec<String> {
    let mut stream = tokenizer.stream(skip_special);
    let mut parts: Vec<String> = ids.iter().map(|id| stream.push(*id)).collect();
    parts.push(stream.finish());
    parts
}

#[test]
fn a_stream_gives_in_sum_what_the_crate_decodes() {
    for name in all().iter().filter(|n| n.starts_with("fast_")) {
        let tokenizer = tokenizer(name);
        let Backend::Fast(fast) = &tokenizer.backend else { panic!("{name} is of the crate") };
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let ids = proptest::collection::vec(0..tokenizer.vocab_size(), 0..40);
        runner
            .run(&(ids, any::<bool>()), |(ids, skip)| {
                let theirs = fast.tokenizer.decode(&ids, skip).expect("decoded");
                let theirs = if tokenizer.clean_up { cleanup::clean_up(&theirs) } else { theirs };
                prop_assert_eq!(parts(&tokenizer, &ids, skip).concat(), theirs, "{}", name);
                Ok(())
            })
            .expect("equal");
    }
}

#[test]
fn no_part_ends_in_half_a_character() {
    // Characters that the vocabulary has only as bytes.
    let text = "a😀b👨‍👩‍👧é☃";
    for name in ["fast_qwen2", "fast_llama2", "llama", "gpt2", "gemma"] {
        let tokenizer = tokenizer(name);
        let how = Encode { add_special: false, ..Encode::default() };
        let ids = tokenizer.encode(text, how).expect("encoded").ids;
        assert!(ids.len() > text.chars().count(), "{name}: bytes");
        let parts = parts(&tokenizer, &ids, true);
        assert!(parts.iter().all(|p| !p.contains('\u{fffd}')), "{name} {parts:?}");
        assert_eq!(parts.concat().trim_start(), text, "{name}");
    }
}

#[test]
fn text_comes_early() {
    for name in all() {
        let tokenizer = tokenizer(&name);
        let words = "The little bird sings in the morning and the train leaves at seven";
        let ids = tokenizer.encode(words, Encode { add_special: false, ..Encode::default() }).expect("encoded").ids;
        let parts = parts(&tokenizer, &ids, true);
        let longest = parts.iter().map(String::len).max();
        assert!(longest < Some(16), "{name} holds text back: {parts:?}");
    }
}

#[test]
fn a_stream_can_begin_anew() {
    let tokenizer = tokenizer("llama");
    let ids = tokenizer.encode("The bird", Encode::default()).expect("encoded").ids;
    let mut stream = tokenizer.stream(true);
    for _ in 0..2 {
        let mut text: String = ids.iter().map(|id| stream.push(*id)).collect();
        text.push_str(&stream.finish());
        assert_eq!(text, "The bird");
    }
}

#[test]
fn the_bytes_of_tokens_are_those_of_the_text() {
    let text = "The bird ☃ sings é";
    // Of two vocabularies, only the target's is text.
    for name in all().iter().filter(|n| *n != "marian_separate") {
        let tokenizer = tokenizer(name);
        let ids = tokenizer.encode(text, Encode { add_special: false, ..Encode::default() }).expect("encoded").ids;
        let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.token_bytes(*id).expect("a token")).collect();
        let bytes = String::from_utf8(bytes).expect("whole characters");
        let want = tokenizer.decode(&ids, false);
        // Unknown characters are written as the unknown token is.
        let is_known = !ids.iter().any(|id| Some(*id) == tokenizer.special().unk);
        if is_known {
            assert_eq!(bytes.trim(), want.trim(), "{name}");
        }
        assert_eq!(tokenizer.token_bytes(u32::MAX), None, "{name}");
    }
}
