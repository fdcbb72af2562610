//! Texts and packages that are not as they should be.

use super::*;
use std::time::Instant;

#[test]
fn a_megabyte_of_one_character_is_encoded_in_bounded_time() {
    for name in
        ["fast_qwen2", "fast_llama3", "fast_llama2", "fast_xlm_roberta", "fast_bert", "t5_new", "nllb", "marian_many"]
    {
        let tokenizer = tokenizer(name);
        for character in ["a", " ", "\n", "!", "漢", "☃", "\u{301}", "▁", "\0", "<", "1"] {
            let text = character.repeat((1 << 20) / character.len());
            let begun = Instant::now();
            let encoded = tokenizer.encode(&text, Encode::default());
            let spent = begun.elapsed();
            // A second or two where this machine has time; what is quadratic takes hours.
            assert!(spent.as_secs() < 600, "{name} {character:?}: {spent:?}");
            assert!(encoded.is_ok(), "{name} {character:?}: {:?}", encoded.err());
        }
    }
}

#[test]
fn a_megabyte_of_special_tokens_is_encoded_in_bounded_time() {
    for name in ["fast_qwen2", "fast_xlm_roberta", "llama_new", "t5", "nllb"] {
        let tokenizer = tokenizer(name);
        let control: Vec<String> = tokenizer.control_tokens().map(|(t, _)| t.to_owned()).take(3).collect();
        for token in control.iter().chain([&"<mask>".to_owned(), &"  <mask>".to_owned()]) {
            let text = token.repeat((1 << 20) / token.len());
            for allow in [false, true] {
                let begun = Instant::now();
                let how = Encode { allow_special_in_text: allow, ..Encode::default() };
                tokenizer.encode(&text, how).unwrap_or_else(|e| panic!("{name} {token}: {e}"));
                assert!(begun.elapsed().as_secs() < 600, "{name} {token} {allow}: {:?}", begun.elapsed());
            }
        }
    }
}

#[test]
fn a_text_beyond_the_limits_is_refused_with_both_numbers() {
    let text = "a".repeat((1 << 20) + 1);
    for name in ["fast_qwen2", "llama"] {
        let tokenizer = tokenizer(name);
        let error = tokenizer.encode(&text, Encode::default()).expect_err("refused").to_string();
        assert_eq!(error, "the text has 1048577 bytes; a text may have 1048576: send it in parts");
        let how = Encode { max_tokens: 5, ..Encode::default() };
        let error = tokenizer.encode("one two three four five six", how).expect_err("refused");
        assert_eq!(error, EncodeError::TooLong { most: 5 });
        assert!(tokenizer.encode("a", how).is_ok());
    }
    let tokenizer = tokenizer("fast_xlm_roberta");
    let bare = tokenizer.encode("a", Encode { add_special: false, ..Encode::default() }).expect("encoded").len();
    let how = Encode { max_tokens: bare + 1, ..Encode::default() };
    assert_eq!(tokenizer.encode("a", how), Err(EncodeError::TooLong { most: bare + 1 }), "those around it count");
    assert_eq!(tokenizer.special_count(false, Encode::default()), Ok(2));
    assert_eq!(tokenizer.special_count(true, Encode::default()), Ok(4));
}

#[test]
fn a_package_without_a_tokenizer_says_what_is_looked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let error = TextTokenizer::load(dir.path()).expect_err("refused");
    assert!(error.contains("there is no tokenizer.json") && error.contains("spiece.model"), "{error}");
    std::fs::write(dir.path().join("config.json"), r#"{"model_type": "marian"}"#).expect("written");
    std::fs::copy(goldens().join("models/source.spm"), dir.path().join("source.spm")).expect("copied");
    let error = TextTokenizer::load(dir.path()).expect_err("refused");
    assert!(error.contains("target.spm"), "{error}");
}

#[test]
fn malformed_files_are_named() {
    for (name, file, text) in [
        ("fast_qwen2", "tokenizer.json", "{"),
        ("fast_qwen2", "tokenizer.json", r#"{"model": {"type": "BPE", "vocab": {}, "merges": [["a", "b"]]}}"#),
        ("fast_qwen2", "tokenizer_config.json", "[]"),
        ("fast_qwen2", "tokenizer_config.json", r#"{"added_tokens_decoder": {"x": "y"}}"#),
        ("marian", "vocab.json", r#"{"a": "b"}"#),
        ("marian", "vocab.json", r#"{"a": 0}"#),
        ("t5", "spiece.model", "no model"),
        ("whisper", "added_tokens.json", r#"{"<|x|>": "one"}"#),
        ("gpt2", "vocab.json", "nothing"),
    ] {
        let dir = Golden::read(name).package();
        std::fs::write(dir.path().join(file), text).expect("written");
        let error = TextTokenizer::load(dir.path()).expect_err("refused");
        assert!(error.contains(file), "{name} {file}: {error}");
        assert!(!error.contains('\n'), "one sentence: {error}");
    }
}

#[test]
fn a_file_beyond_its_size_is_not_read() {
    let dir = Golden::read("fast_qwen2").package();
    let file = std::fs::File::create(dir.path().join("tokenizer.json")).expect("created");
    file.set_len((128 << 20) + 1).expect("sized");
    let error = TextTokenizer::load(dir.path()).expect_err("refused");
    assert!(error.ends_with("is larger than 134217728 bytes, the most that such a file may have"), "{error}");
}

#[test]
fn ids_that_are_not_there_have_no_text() {
    for name in all() {
        let tokenizer = tokenizer(&name);
        let beyond = [tokenizer.vocab_size(), u32::MAX];
        assert_eq!(tokenizer.decode(&beyond, true), "", "{name}");
        assert_eq!(tokenizer.id_to_token(u32::MAX), None, "{name}");
        assert_eq!(tokenizer.decode(&[], true), "", "{name}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_is_encoded_and_its_offsets_lie_in_it(text in "(\\PC|[\\x00-\\x1f]|<mask>|</s>| ){0,30}", allow: bool) {
        for name in ["fast_llama2", "fast_bert", "fast_xlm_roberta", "t5_new", "llama_new", "marian_many", "nllb", "gemma", "m2m100"] {
            let tokenizer = tokenizer(name);
            let how = Encode { allow_special_in_text: allow, ..Encode::default() };
            let encoded = tokenizer.encode(&text, how).expect("encoded");
            let mut end = 0;
            for (index, (from, to)) in encoded.offsets.iter().enumerate() {
                proptest::prop_assert!(from <= to && *to as usize <= text.len(), "{name} {:?}", encoded);
                if !encoded.is_special(index) {
                    proptest::prop_assert!(text.is_char_boundary(*from as usize), "{name}");
                    proptest::prop_assert!(*to >= end, "{name}: in order");
                    end = *to;
                }
            }
            tokenizer.decode(&encoded.ids, true);
        }
    }
}
