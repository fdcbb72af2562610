use linnet::scheduler::SchedulerSettings;
use serde_json::json;

use super::bench::{Bench, play};

fn translators() -> Bench {
    let models: [super::bench::Model<'_>; 3] = [
        ("de-en", &["translate"], &["de", "en"]),
        ("en-fr", &["translate"], &["en", "fr"]),
        ("lang-id", &["detect"], &["de", "en", "fr"]),
    ];
    Bench::with(&models, SchedulerSettings::default(), play)
}

#[test]
fn a_translation_has_libretranslates_shape() {
    let bench = translators();
    let body = bench.ask("/translate", &json!({"q": "hallo", "source": "de", "target": "en", "api_key": "any"}));
    assert_eq!(body["translatedText"], "de>en:hallo");
    let body = json!({"q": ["a", "b"], "source": "de", "target": "en", "alternatives": 2, "explain": true});
    let body = bench.ask("/translate", &body);
    assert_eq!(body["translatedText"], json!(["de>en:a", "de>en:b"]));
    assert_eq!(body["alternatives"], json!([["a0", "a1"], ["b0", "b1"]]));
    assert_eq!(body["alignment"][1][0]["weight"], 1.0);
    assert_eq!(body["explanation"], "one more step for each token");
    let body = bench.ask("/translate", &json!({"q": "de: hallo", "source": "auto", "target": "en"}));
    assert_eq!(body["translatedText"], "de>en:de: hallo");
    assert_eq!(body["detectedLanguage"], json!({"confidence": 75.0, "language": "de"}));
}

#[test]
fn a_pair_without_a_model_goes_over_a_third_language_and_one_without_a_way_is_told() {
    let bench = translators();
    let body = bench.ask("/translate", &json!({"q": "hallo", "source": "de", "target": "fr"}));
    assert_eq!(body["translatedText"], "en>fr:de>en:hallo");
    let answer = bench.post("/translate", &json!({"q": "hallo", "source": "de", "target": "ja"}));
    assert_eq!(answer.status, 422);
    let body = answer.json();
    assert_eq!((&body["code"], &body["param"]), (&json!("unsupported_task"), &json!("target")));
    let message = body["error"].as_str().expect("LibreTranslate's error is a text");
    assert!(message.contains("nothing here translates de to ja") && message.contains("de to en"), "{message}");
}

#[test]
fn languages_tell_what_can_be_translated_to_what() {
    let bench = translators();
    let answer = super::harness::request(&bench.socket(), "GET", "/languages", &[], b"").expect("an answer");
    let wanted = json!([
        {"code": "de", "name": "German", "targets": ["de", "en", "fr"]},
        {"code": "en", "name": "English", "targets": ["de", "en", "fr"]},
        {"code": "fr", "name": "French", "targets": ["de", "en", "fr"]}
    ]);
    assert_eq!(answer.json(), wanted);
}

#[test]
fn a_detection_has_libretranslates_shape() {
    let bench = translators();
    let body = bench.ask("/detect", &json!({"q": "fr: salut"}));
    assert_eq!(body, json!([{"confidence": 75.0, "language": "fr"}]));
    let body = bench.ask("/detect", &json!({"q": ["fr: x", "de: y"]}));
    assert_eq!(body[1][0]["language"], "de");
}

#[test]
fn a_form_says_the_same_as_json() {
    let bench = translators();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = bench.send("/translate", &form, b"q=gr%C3%BC%C3%9Fe+%26+mehr&source=de&target=en&api_key=");
    assert_eq!(answer.json()["translatedText"], "de>en:gr\u{fc}\u{df}e & mehr", "{}", answer.text());
    let answer = bench.send("/translate", &form, b"q=x&source=de");
    assert_eq!((answer.status, &answer.json()["param"]), (400, &json!("target")));
}
