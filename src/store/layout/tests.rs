use serde_json::json;

use super::*;

/// A directory with these files, each empty but for a `config.json`.
fn package(config: &Value, tokenizer: &Value, graphs: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("writes");
    write(CONFIG, &config.to_string());
    write("tokenizer_config.json", &tokenizer.to_string());
    graphs.iter().for_each(|graph| write(graph, ""));
    dir
}

#[test]
fn languages_and_pairs_are_those_of_the_family() {
    let of = |config: Value, tokenizer: Value| {
        let dir = package(&config, &tokenizer, &["encoder_model.onnx"]);
        let manifest = describe(dir.path()).expect("it describes itself");
        assert!(manifest.tasks.iter().any(|task| task == "translate"), "{config}");
        (manifest.languages, manifest.pairs)
    };
    let has = |languages: &[String], tag: &str| languages.iter().any(|own| own == tag);
    let (m2m, pairs) = of(json!({ "model_type": "m2m_100" }), json!({ "tokenizer_class": "M2M100Tokenizer" }));
    assert!(m2m.len() == 100 && has(&m2m, "en") && has(&m2m, "de") && pairs.is_empty(), "{m2m:?}");
    let (nllb, _) = of(json!({ "model_type": "m2m_100" }), json!({ "tokenizer_class": "NllbTokenizer" }));
    assert!(has(&nllb, "de") && has(&nllb, "zh") && has(&nllb, "ace") && !has(&nllb, "deu"), "{nllb:?}");
    let rules = |l: &String| (2..=3).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_lowercase());
    assert!(nllb.iter().all(rules) && nllb.iter().collect::<BTreeSet<_>>().len() == nllb.len(), "{nllb:?}");
    let (wmt, _) = of(json!({ "model_type": "m2m_100" }), json!({ "language_codes": "wmt21" }));
    assert_eq!(wmt.len(), 8);
    let (mbart, _) = of(json!({ "model_type": "mbart" }), json!({ "tokenizer_class": "MBart50Tokenizer" }));
    assert!(mbart.len() == 52 && has(&mbart, "gl"), "{mbart:?}");
    let taught = json!({ "summarization": {}, "translation_en_to_de": {}, "translation_en_to_ro": {} });
    let (t5, pairs) = of(json!({ "model_type": "t5", "task_specific_params": taught }), json!({}));
    assert_eq!((t5, pairs), (vec!["de".into(), "en".into(), "ro".into()], vec!["en-de".into(), "en-ro".into()]));
}

#[test]
fn of_mixed_types_of_weights_the_one_that_is_whole_is_taken() {
    let config = json!({ "model_type": "marian" });
    let graphs =
        ["encoder_model.onnx", "encoder_model_fp16.onnx", "decoder_model_merged_fp16.onnx", "decoder_model_q4.onnx"];
    let dir = package(&config, &json!({}), &graphs);
    assert_eq!(choose(dir.path(), None, None).expect("one is whole").dtype, "f16");
    let named = choose(dir.path(), Some("f32"), None).expect("it is there");
    assert!(named.part("encoder_model").is_some() && named.part("decoder_model_merged").is_none());
    let error = choose(dir.path(), Some("int8"), None).expect_err("it is not there").to_string();
    assert!(error.contains("no graphs of dtype int8") && error.contains("f32, f16, q4"), "{error}");
    let none = package(&config, &json!({}), &[]);
    let error = choose(none.path(), None, None).expect_err("there is none").to_string();
    assert!(error.contains("holds no graph"), "{error}");
}

#[test]
fn a_model_type_that_is_missing_or_unknown_makes_no_language_model() {
    for config in [json!({}), json!({ "model_type": 7 }), json!({ "model_type": "" })] {
        let dir = package(&config, &json!({}), &["model.onnx"]);
        let error = describe(dir.path()).expect_err("nothing says what it is").to_string();
        assert!(error.contains("config.json") && error.contains("model_type is missing"), "{error}");
    }
    let dir = package(&json!({ "model_type": "klingon" }), &json!({}), &["model.onnx"]);
    assert_eq!(describe(dir.path()).expect("a graph").tasks, ["raw"]);
}
