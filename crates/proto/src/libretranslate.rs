//! LibreTranslate's requests and answers (<https://docs.libretranslate.com>): `/translate`, `/detect`, `/languages`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::fields::Fields;
use crate::language::language_title;
use crate::translate::{Aligned, DetectRequest, Detected, DetectedLanguage, TextFormat, TranslateRequest, Translated};
use crate::{ErrorCode, WireError};

/// How an answer is laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Layout {
    /// The request gave a list, and gets lists.
    pub list: bool,
    /// It wants other translations, too.
    pub alternatives: bool,
    /// It wants to be told which language was found.
    pub detected: bool,
    /// It wants the alignment of words.
    pub aligned: bool,
}

/// Reads the body of `/translate`.
pub fn read_translate(body: Map<String, Value>) -> Result<(TranslateRequest, Layout, Vec<&'static str>), WireError> {
    let mut fields = Fields::new(body);
    let (texts, list) = texts(&mut fields)?;
    let source = fields.text("source")?.unwrap_or_else(|| "auto".to_owned());
    let target = fields.needed_text("target")?;
    let format = match fields.word("format", &["text", "html"])? {
        Some("html") => TextFormat::Html,
        _ => TextFormat::Text,
    };
    let request = TranslateRequest {
        model: fields.text("model")?,
        texts,
        source,
        target,
        format,
        alternatives: fields.whole_u32("alternatives")?.unwrap_or_default(),
        num_beams: fields.whole_u32("num_beams")?,
        explain: fields.switch("explain")?.unwrap_or_default(),
    };
    // Its web page sends `secret`; who may ask is not decided here.
    fields.take("api_key");
    fields.pass_over(&["secret"]);
    let without_effect = fields.finish()?;
    request.check()?;
    let layout = Layout {
        list,
        alternatives: request.alternatives > 0,
        detected: request.source == "auto",
        aligned: request.explain,
    };
    Ok((request, layout, without_effect))
}

/// Reads the body of `/detect`.
pub fn read_detect(body: Map<String, Value>) -> Result<(DetectRequest, Layout), WireError> {
    let mut fields = Fields::new(body);
    let (texts, list) = texts(&mut fields)?;
    let request = DetectRequest { model: fields.text("model")?, texts };
    fields.take("api_key");
    fields.finish()?;
    request.check()?;
    Ok((request, Layout { list, ..Layout::default() }))
}

fn texts(fields: &mut Fields) -> Result<(Vec<String>, bool), WireError> {
    let value = fields.take("q").ok_or_else(|| fields.missing("q"))?;
    let list = value.is_array();
    let mut alone = Fields::new(Map::from_iter([("q".to_owned(), value)]));
    Ok((alone.texts("q")?, list))
}

/// A form's names and values as the body that would say the same. A `q` that stands several times is a list.
pub fn of_form(pairs: Vec<(String, String)>) -> Result<Map<String, Value>, WireError> {
    let mut body = Map::new();
    for (name, text) in pairs {
        let value = match name.as_str() {
            "alternatives" | "num_beams" | "timeout_ms" => match text.parse::<u64>() {
                Ok(number) => number.into(),
                Err(_) => {
                    let message = format!("{name} must be a whole number from 0 on");
                    return Err(WireError::new(ErrorCode::InvalidOption, message).with_param(name));
                }
            },
            "explain" => Value::Bool(matches!(text.as_str(), "true" | "1")),
            _ => Value::String(text),
        };
        match body.get_mut(&name) {
            Some(Value::Array(several)) => several.push(value),
            Some(one) if name == "q" => *one = Value::Array(vec![one.take(), value]),
            Some(_) => {
                let message = format!("{name} stands twice; send it once");
                return Err(WireError::new(ErrorCode::InvalidRequest, message).with_param(name));
            }
            None => {
                body.insert(name, value);
            }
        }
    }
    Ok(body)
}

/// One value, or a list of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// Of a text.
    One(T),
    /// Of a list.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn of(list: bool, mut values: Vec<T>) -> Option<Self> {
        if list { Some(Self::Many(values)) } else { (!values.is_empty()).then(|| Self::One(values.remove(0))) }
    }
}

/// The answer of `/translate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TranslateAnswer {
    /// The translation.
    pub translated_text: OneOrMany<String>,
    /// Others, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternatives: Option<OneOrMany<Vec<String>>>,
    /// The language that was found, where `auto` asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detected_language: Option<OneOrMany<Confidence>>,
    /// Word alignment, where `explain` asked: Linnet's addition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alignment: Option<OneOrMany<Vec<Aligned>>>,
    /// How that was made and what it cost, or why it is empty: Linnet's addition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// The models that worked, in order: Linnet's addition.
    #[serde(default)]
    pub models: Vec<String>,
}

/// A language that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    /// Percent.
    pub confidence: f32,
    /// Its tag.
    pub language: String,
}

impl From<DetectedLanguage> for Confidence {
    fn from(found: DetectedLanguage) -> Self {
        // Two digits behind the point are more than it is worth.
        let confidence = (found.confidence * 10_000.0).round() / 100.0;
        Self { confidence, language: found.language }
    }
}

impl TranslateAnswer {
    /// The answer as it was asked for.
    pub fn of(answer: Translated, layout: Layout) -> Option<Self> {
        let (mut texts, mut alternatives, mut detected, mut alignment) = (vec![], vec![], vec![], vec![]);
        for translation in answer.translations {
            texts.push(translation.text);
            alternatives.push(translation.alternatives);
            detected.push(translation.detected.unwrap_or_default().into());
            alignment.push(translation.alignment);
        }
        Some(Self {
            translated_text: OneOrMany::of(layout.list, texts)?,
            alternatives: layout.alternatives.then(|| OneOrMany::of(layout.list, alternatives)).flatten(),
            detected_language: layout.detected.then(|| OneOrMany::of(layout.list, detected)).flatten(),
            alignment: layout.aligned.then(|| OneOrMany::of(layout.list, alignment)).flatten(),
            explanation: answer.explanation.filter(|_| layout.aligned),
            models: answer.models,
        })
    }
}

/// The answer of `/detect`: the candidates of a text, the likeliest first; of each text where a list was asked.
pub fn detect_answer(answer: Detected, layout: Layout) -> OneOrMany<Vec<Confidence>> {
    let each = answer.results.into_iter().map(|candidates| candidates.into_iter().map(Confidence::from).collect());
    OneOrMany::of(layout.list, each.collect()).unwrap_or(OneOrMany::One(Vec::new()))
}

/// One entry of `/languages`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Language {
    /// Its tag.
    pub code: String,
    /// Its English name.
    pub name: String,
    /// What it can be translated to.
    pub targets: Vec<String>,
}

impl Language {
    /// The language of `code`.
    pub fn new(code: &str, targets: Vec<String>) -> Self {
        Self { code: code.to_owned(), name: language_title(code), targets }
    }
}

/// LibreTranslate's error, with the code and the parameter beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlainError {
    /// For people.
    pub error: String,
    /// The stable code.
    pub code: ErrorCode,
    /// The option or field at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
}

impl From<WireError> for PlainError {
    fn from(error: WireError) -> Self {
        Self { error: error.message, code: error.code, param: error.param }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::translate::Translation;

    fn map(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_text_and_a_list_are_read_and_answered_alike() {
        let (one, layout, _) =
            read_translate(map(json!({"q": "hello", "source": "en", "target": "de"}))).expect("a request");
        assert_eq!((one.texts.as_slice(), layout.list), (&["hello".to_owned()][..], false));
        let body = json!({"q": ["a", "b"], "source": "auto", "target": "de", "alternatives": 2, "format": "html"});
        let (many, layout, _) = read_translate(map(body)).expect("a request");
        assert_eq!((many.texts.len(), many.format), (2, TextFormat::Html));
        let translation = |text: &str| Translation {
            text: text.into(),
            alternatives: vec![format!("{text}!")],
            detected: Some(DetectedLanguage { language: "en".into(), confidence: 0.912_345 }),
            alignment: Vec::new(),
        };
        let answer = Translated {
            translations: vec![translation("x"), translation("y")],
            models: vec!["m".into()],
            inference_ms: 1.0,
            explanation: Some("why".into()),
        };
        let body = serde_json::to_value(TranslateAnswer::of(answer.clone(), layout)).expect("JSON");
        assert_eq!(body["translatedText"], json!(["x", "y"]));
        assert_eq!(body["alternatives"], json!([["x!"], ["y!"]]));
        assert_eq!(body["detectedLanguage"][1]["language"], "en");
        let confidence = body["detectedLanguage"][1]["confidence"].as_f64().expect("a number");
        assert!((confidence - 91.23).abs() < 0.001, "{confidence}");
        let aligned = Layout { aligned: true, ..Layout::default() };
        let explained = serde_json::to_value(TranslateAnswer::of(answer.clone(), aligned)).expect("JSON");
        assert_eq!((&explained["alignment"], &explained["explanation"]), (&json!([]), &json!("why")));
        let plain = serde_json::to_value(TranslateAnswer::of(answer, Layout::default())).expect("JSON");
        assert_eq!(plain, json!({"translatedText": "x", "models": ["m"]}));
    }

    #[test]
    fn a_form_says_the_same_as_a_body() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let form = vec![pair("q", "a"), pair("q", "b"), pair("target", "de"), pair("alternatives", "3")];
        let body = of_form(form).expect("a form");
        assert_eq!(Value::Object(body), json!({"q": ["a", "b"], "target": "de", "alternatives": 3}));
        let twice = vec![pair("target", "de"), pair("target", "fr")];
        assert_eq!(of_form(twice).expect_err("twice").param.as_deref(), Some("target"));
        assert!(of_form(vec![pair("alternatives", "many")]).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        for (body, param) in [
            (json!({"source": "en", "target": "de"}), "q"),
            (json!({"q": 7, "target": "de"}), "q"),
            (json!({"q": ["a", 7], "target": "de"}), "q"),
            (json!({"q": "a"}), "target"),
            (json!({"q": "a", "target": "de", "format": "pdf"}), "format"),
            (json!({"q": "a", "target": "de", "alternatives": 99}), "alternatives"),
            (json!({"q": "a", "target": "de", "frobnicate": 1}), "frobnicate"),
            (json!({"q": "a", "target": "d".repeat(200)}), "target"),
        ] {
            let e = read_translate(map(body)).expect_err(param);
            assert_eq!(e.param.as_deref(), Some(param), "{e}");
        }
        assert_eq!(read_detect(map(json!({}))).expect_err("no text").param.as_deref(), Some("q"));
    }
}
