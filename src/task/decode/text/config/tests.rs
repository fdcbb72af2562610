use serde::Deserialize;
use serde_json::json;

use super::*;

/// A case of `tests/goldens/decode/generate.py`.
#[derive(Deserialize)]
struct Case {
    file: String,
    values: Map<String, Value>,
    expected: Map<String, Value>,
}

/// What the reference holds, under its own keys.
fn as_reference(config: &GenerationConfig) -> Map<String, Value> {
    let id = |id: Option<u32>| id.map_or(Value::Null, |id| json!(id));
    let value = json!({
        "bos_token_id": id(config.bos_token_id), "eos_token_id": config.eos_token_id, "pad_token_id": id(config.pad_token_id),
        "decoder_start_token_id": id(config.decoder_start_token_id), "forced_bos_token_id": id(config.forced_bos_token_id),
        "forced_eos_token_id": config.forced_eos_token_id, "suppress_tokens": config.suppress_tokens,
        "begin_suppress_tokens": config.begin_suppress_tokens, "max_length": config.max_length.unwrap_or(20),
        "max_new_tokens": config.max_new_tokens, "min_length": config.min_length, "num_beams": config.num_beams,
        "early_stopping": match config.early_stopping {
            EarlyStopping::WhenFull => json!(true),
            EarlyStopping::Heuristic => json!(false),
            EarlyStopping::Never => json!("never"),
        },
        "length_penalty": config.length_penalty, "do_sample": config.do_sample, "temperature": config.temperature,
        "top_k": config.top_k, "top_p": config.top_p, "min_p": config.min_p, "typical_p": config.typical_p,
        "repetition_penalty": config.repetition_penalty, "no_repeat_ngram_size": config.no_repeat_ngram_size,
        "encoder_no_repeat_ngram_size": config.encoder_no_repeat_ngram_size, "renormalize_logits": config.renormalize_logits,
    });
    value.as_object().expect("an object").clone()
}

/// One form for what has several: a lone id is a list, nothing is an empty list, off is 0.
fn plain(key: &str, value: &Value) -> Value {
    let list = key.ends_with("eos_token_id") || key.ends_with("suppress_tokens");
    match value {
        Value::Null if list => json!([]),
        Value::Null if key == "top_k" => json!(0.0),
        Value::Number(n) if list => json!([n]),
        Value::Number(n) if n.as_i64().is_some_and(|n| n < 0) && key.ends_with("_id") => Value::Null,
        Value::Number(n) => json!(n.as_f64()),
        other => other.clone(),
    }
}

#[test]
fn files_are_read_as_transformers_reads_them() {
    let text = include_str!("../../../../../tests/goldens/decode/configs.json");
    let cases: Vec<Case> = serde_json::from_str(text).expect("configs.json");
    assert!(cases.len() > 40);
    for case in cases {
        let read = match case.file.as_str() {
            CONFIG => GenerationConfig::of_model_config(case.values.clone()),
            _ => GenerationConfig::of_generation_config(case.values.clone()),
        };
        let read = as_reference(&read.expect("a configuration"));
        for (key, expected) in &case.expected {
            assert_eq!(plain(key, &read[key]), plain(key, expected), "{key} of {:?}", case.values);
        }
    }
}

fn refused(values: Value) -> String {
    let values = values.as_object().expect("an object").clone();
    GenerationConfig::of_generation_config(values).expect_err("must be refused").to_string()
}

#[test]
fn a_wrong_value_is_refused_with_file_key_and_rule() {
    assert_eq!(refused(json!({"top_p": 1.5})), "generation_config.json: top_p must be a number from 0 to 1");
    assert!(refused(json!({"eos_token_id": "</s>"})).contains("eos_token_id must be a token id"));
    assert!(refused(json!({"bad_words_ids": [[]]})).contains("bad_words_ids"));
    assert!(refused(json!({"early_stopping": 3})).contains("early_stopping must be true, false or \"never\""));
}

#[test]
fn a_way_of_generating_that_is_missing_is_named() {
    assert!(refused(json!({"guidance_scale": 1.5})).contains("guidance_scale asks for guidance by a second prompt"));
    for off in [json!({"guidance_scale": 1.0}), json!({"guidance_scale": null}), json!({"num_beam_groups": 1})] {
        let values = off.as_object().expect("an object").clone();
        GenerationConfig::of_generation_config(values).expect("it is off");
    }
}

#[test]
fn a_package_without_a_generation_config_has_its_configs() {
    let package = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| std::fs::write(package.path().join(name), text).expect("writes");
    assert_eq!(GenerationConfig::of_package(package.path()).expect("nothing said"), GenerationConfig::default());
    write(CONFIG, r#"{"model_type": "t5", "eos_token_id": 5}"#);
    let read = GenerationConfig::of_package(package.path()).expect("reads");
    assert_eq!((read.eos_token_id.as_slice(), read.pad_token_id), ([5].as_slice(), Some(0)));
    write(GENERATION_CONFIG, r#"{"decoder_start_token_id": 3}"#);
    let read = GenerationConfig::of_package(package.path()).expect("reads");
    assert!(read.eos_token_id.is_empty(), "one file counts, as in the reference");
    assert_eq!(read.decoder_start(), Some(3));
    write(GENERATION_CONFIG, "[]");
    assert!(
        GenerationConfig::of_package(package.path()).expect_err("no object").to_string().contains("no JSON object")
    );
}
