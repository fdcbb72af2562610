//! What an answer must begin with, through the whole pipeline: the language token of `m2m_100`, as the model's configuration, a request's ids,
//! or a request's language name it.

use super::*;

const MODEL: &str = "m2m_100";

/// The cases that force a language: the token, its tag, what is heard, what is written behind the token.
fn cases() -> Vec<(u32, &'static str, Vec<u32>, Vec<u32>)> {
    let golden = golden(MODEL);
    let tag = |id| match id {
        113 => "de",
        121 => "fr",
        other => panic!("no language has the token {other}"),
    };
    let cases = golden["runs"][0]["cases"].as_array().expect("cases").iter().filter(|case| case["text"].is_null());
    let cases: Vec<_> = cases
        .map(|case| {
            let forced = case["forced_bos_token_id"].as_u64().expect("each names its language") as u32;
            let written = ids(&case["ids"]);
            assert_eq!(written[0], forced, "the reference begins with it");
            (forced, tag(forced), ids(&case["input_ids"]), written[1..].to_vec())
        })
        .collect();
    assert!(["de", "fr"].iter().all(|tag| cases.iter().any(|case| case.1 == *tag)), "both languages");
    cases
}

fn written(executor: &mut dyn Execute, heard: &[u32], options: DecodeOptions) -> Vec<u32> {
    let options = DecodeOptions { num_beams: Some(1), temperature: Some(0.0), return_token_ids: true, ..options };
    generate(executor, tokens(heard), options).expect("it writes").choices.remove(0).token_ids.expect("asked for")
}

fn most(count: usize) -> DecodeOptions {
    DecodeOptions { max_tokens: Some(count as u64), ..DecodeOptions::default() }
}

/// The f32 graphs, which the golden's ids are of.
fn plain(file: &str) -> bool {
    !file.ends_with("_fp16.onnx") && !file.ends_with("_quantized.onnx")
}

#[test]
fn a_requests_forced_prefix_or_language_decides_what_is_written_behind_it() {
    let dir = copy_of(MODEL, plain);
    let mut executor = load_from(dir.path()).expect("it loads").executor().expect("a worker");
    for (forced, tag, heard, behind) in cases() {
        let by_ids = DecodeOptions { forced_prefix: vec![forced], ..most(behind.len()) };
        assert_eq!(written(&mut *executor, &heard, by_ids), behind, "{tag} by ids");
        let by_tag = DecodeOptions { target_language: Some(tag.to_owned()), ..most(behind.len()) };
        assert_eq!(written(&mut *executor, &heard, by_tag), behind, "{tag} by name");
        // Without it the answer is another, and so it is behind another language: the above could fail.
        let free = written(&mut *executor, &heard, most(behind.len()));
        assert_ne!(free, behind, "{tag}");
        let other = if forced == 113 { 121 } else { 113 };
        let by_other = DecodeOptions { forced_prefix: vec![other], ..most(behind.len()) };
        assert_ne!(written(&mut *executor, &heard, by_other), behind, "{tag} and the other language");
    }
}

#[test]
fn a_models_forced_bos_token_id_is_the_first_id_and_a_requests_own_prefix_wins() {
    let dir = copy_of(MODEL, plain);
    let file = dir.path().join("generation_config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file).expect("it is there")).expect("JSON");
    assert!(config.get("forced_bos_token_id").is_none(), "the golden's configuration names none");
    let mut free = load_from(dir.path()).expect("it loads").executor().expect("a worker");
    let mut changed = 0;
    for language in [113, 121] {
        config["forced_bos_token_id"] = language.into();
        std::fs::write(&file, config.to_string()).expect("it can be written");
        let mut forcing = load_from(dir.path()).expect("it loads").executor().expect("a worker");
        for (forced, tag, heard, behind) in cases() {
            let whole = written(&mut *forcing, &heard, most(behind.len() + 1));
            assert_eq!(whole[0], language, "{tag}");
            if forced == language {
                assert_eq!(whole[1..], behind, "{tag}");
            }
            // It was taught to begin with a language of its own choice, which is the forced one now and then.
            changed += usize::from(written(&mut *free, &heard, most(1)) != [language]);
            let own = DecodeOptions { forced_prefix: vec![forced], ..most(behind.len()) };
            assert_eq!(written(&mut *forcing, &heard, own), behind, "{tag} by the request");
        }
    }
    assert!(changed >= cases().len(), "each case begins with one of two languages by itself: {changed}");
}
