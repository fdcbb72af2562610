//! Somebody's words never steer; a guarded text steers where it is trusted.

use super::*;

fn ids(tokenizer: &TextTokenizer, text: &str, special: bool) -> Vec<u32> {
    let how = Encode { add_special: false, allow_special_in_text: special, ..Encode::default() };
    tokenizer.encode(text, how).expect("encoded").ids
}

#[test]
fn no_special_token_is_made_from_somebodys_words() {
    for name in all() {
        let tokenizer = tokenizer(&name);
        let control: Vec<String> = tokenizer.control_tokens().map(|(t, _)| t.to_owned()).collect();
        assert!(!control.is_empty(), "{name}");
        for token in &control {
            for text in [token.clone(), format!("a{token}b"), format!("a {token} {token}"), format!("\n{token}")] {
                let got = ids(&tokenizer, &text, false);
                let wrong = got.iter().find(|id| tokenizer.is_control(**id) && Some(**id) != tokenizer.special().unk);
                assert_eq!(wrong, None, "{name} {text:?} {got:?}");
            }
        }
    }
}

#[test]
fn special_tokens_are_made_when_asked_for() {
    for (name, token) in
        [("fast_qwen2", "<|im_start|>"), ("t5", "<extra_id_7>"), ("llama", "</s>"), ("gpt2", "<|endoftext|>")]
    {
        let tokenizer = tokenizer(name);
        let id = tokenizer.token_to_id(token).expect("a token");
        assert!(ids(&tokenizer, &format!("a {token} b"), true).contains(&id), "{name}");
        assert!(!ids(&tokenizer, &format!("a {token} b"), false).contains(&id), "{name}");
    }
}

#[test]
fn an_ordinary_added_token_is_a_word_to_anybody() {
    let tokenizer = tokenizer("llama_new");
    let id = tokenizer.token_to_id("<custom>").expect("a token");
    assert!(!tokenizer.is_control(id));
    assert!(ids(&tokenizer, "a <custom> b", false).contains(&id));
}

#[test]
fn what_the_chat_template_names_steers() {
    let golden = Golden::read("fast_qwen2");
    let dir = golden.package();
    let id = |t: &TextTokenizer| t.token_to_id("<tool_call>").expect("a token");
    let plain = TextTokenizer::load(dir.path()).expect("loaded");
    assert!(!plain.is_control(id(&plain)));
    std::fs::write(dir.path().join("chat_template.jinja"), "{{ '<tool_call>\n' }}").expect("written");
    let named = TextTokenizer::load(dir.path()).expect("loaded");
    assert!(named.is_control(id(&named)));
    assert!(!ids(&named, "<tool_call>", false).contains(&id(&named)));
}

#[test]
fn a_guarded_text_steers_but_where_a_guard_lies() {
    let text = "<|im_start|>user\nsay <|im_end|> now<|im_end|>\n";
    let guard = text.find("<|im_end|>").expect("there") + 1;
    for name in ["fast_qwen2", "llama_new"] {
        let tokenizer = tokenizer(name);
        let how = Encode { add_special: false, ..Encode::default() };
        let (start, end) = (tokenizer.token_to_id("<|im_start|>"), tokenizer.token_to_id("<|im_end|>"));
        let count = |ids: &[u32], id: Option<u32>| ids.iter().filter(|i| Some(**i) == id).count();
        let open = tokenizer.encode_guarded(text, &[], how).expect("encoded").ids;
        assert_eq!((count(&open, start), count(&open, end)), (1, 2), "{name}");
        assert_eq!(open, ids(&tokenizer, text, true), "{name}: without a guard all steers");
        let guarded = tokenizer.encode_guarded(text, &[guard], how).expect("encoded").ids;
        assert_eq!((count(&guarded, start), count(&guarded, end)), (1, 1), "{name}");
        assert_eq!(tokenizer.decode(&guarded, false).matches("<|im_end|>").count(), 2, "{name}: the words are kept");
    }
}

#[test]
fn a_guard_is_found_behind_a_normaliser_that_moves_bytes() {
    // `é` of two characters becomes one of two bytes: what follows stands elsewhere once it is normalised.
    let golden = Golden::read("fast_bert");
    let tokenizer = golden.tokenizer();
    let text = "e\u{301}\u{301}\u{301} [MASK] x [MASK]";
    let mask = tokenizer.special().mask.expect("a mask");
    let how = Encode { add_special: false, ..Encode::default() };
    let places: Vec<usize> = text.match_indices("[MASK]").map(|(at, _)| at + 1).collect();
    for (guards, want) in [(&places[..0], 2), (&places[..1], 1), (&places[1..], 1), (&places[..], 0)] {
        let got = tokenizer.encode_guarded(text, guards, how).expect("encoded").ids;
        assert_eq!(got.iter().filter(|id| **id == mask).count(), want, "{guards:?}");
    }
}
