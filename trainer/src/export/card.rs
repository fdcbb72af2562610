//! The card: what people should know before they trust the model. A template with a few facts filled in.

use std::fmt::Write;
use std::path::Path;

use super::gate::Gate;
use super::trained::Trained;
use super::{Contents, Precision};
use crate::error::{Failure, Result};
use crate::evaluate::SetScore;

/// Where the user gives none.
const DEFAULT: &str = include_str!("card.md");
/// As [`DEFAULT`], of a text model.
const TEXT_DEFAULT: &str = include_str!("text/card.md");

/// What was heard on a test set.
#[derive(Debug, Clone, PartialEq)]
pub struct TestResult {
    /// Title in the table.
    pub title: String,
    /// Errors.
    pub score: SetScore,
}

/// What is filled in.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The package.
    pub contents: &'a Contents<'a>,
    /// The weights.
    pub trained: &'a Trained,
    /// What quantization cost.
    pub gate: Gate,
    /// The test sets.
    pub results: Vec<TestResult>,
    /// The user's own names and values.
    pub own: &'a [(String, String)],
}

/// Reads `NAME=VALUE`.
pub fn parse_fact(argument: &str) -> std::result::Result<(String, String), String> {
    match argument.split_once('=') {
        Some((name, _)) if NAMES.contains(&name.trim()) => {
            Err(format!("`{}` is filled in by the exporter", name.trim()))
        }
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err("it is NAME=VALUE, such as 'hours=12.5'".into()),
    }
}

/// Reads the template; one with an unknown name in braces is refused before any work is done.
pub fn template(path: Option<&Path>, own: &[(String, String)]) -> Result<String> {
    let text = match path {
        Some(path) => std::fs::read_to_string(path).map_err(|e| Failure::read(path, e))?,
        None => DEFAULT.to_owned(),
    };
    let place = path.map_or("the card".to_owned(), |p| p.display().to_string());
    let known = |name: &str| NAMES.contains(&name) || own.iter().any(|(n, _)| n == name);
    replace(&text, |name| known(name).then(String::new)).map_err(|name| {
        let known = NAMES.join(", ");
        Failure::data(format!("{place}: {{{{{name}}}}} has no value; give --fact {name}=…, or use one of: {known}"))
    })?;
    Ok(text)
}

const NAMES: [&str; 12] = [
    "name",
    "version",
    "description",
    "license",
    "languages",
    "parameters",
    "shape",
    "precision",
    "size",
    "decoding",
    "results",
    "gate",
];

/// As [`template`], of a text model.
pub fn text_template(path: Option<&Path>, own: &[(String, String)]) -> Result<String> {
    match path {
        Some(_) => template(path, own),
        None => Ok(TEXT_DEFAULT.to_owned()),
    }
}

/// Fills a text model's template in, from the exporter's facts and the user's own.
pub fn fill_text(template: &str, facts: &[(&str, String)], own: &[(String, String)]) -> Result<String> {
    let value = |name: &str| {
        let fact = facts.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        fact.or_else(|| own.iter().find(|(known, _)| known == name).map(|(_, value)| value)).cloned()
    };
    replace(template, value)
        .map_err(|name| Failure::data(format!("the card's {{{{{name}}}}} is no name of a text model's card")))
}

/// Fills the template in.
pub fn fill(template: &str, facts: &Facts<'_>) -> Result<String> {
    replace(template, |name| value(name, facts))
        .map_err(|name| Failure::software(format!("the card's {{{{{name}}}}} has no value")))
}

/// Replaces each `{{name}}` by its value; the error is the first name that has none.
fn replace(template: &str, value: impl Fn(&str) -> Option<String>) -> std::result::Result<String, String> {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, tail)) = after.split_once("}}") else { break };
        out.push_str(before);
        out.push_str(&value(name.trim()).ok_or_else(|| name.trim().to_owned())?);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

fn value(name: &str, facts: &Facts<'_>) -> Option<String> {
    let (contents, shape) = (facts.contents, &facts.trained.config);
    let about = &contents.about;
    Some(match name {
        "name" => about.name.clone(),
        "version" => about.version.clone(),
        "description" => about.description.clone(),
        "license" => about.license.clone(),
        "languages" => about.languages.join(", "),
        "parameters" => millions(facts.trained.parameters()),
        "shape" => format!(
            "{}× subsampling, {} blocks of width {}, {} heads, {} units",
            shape.subsampling, shape.layers, shape.d_model, shape.heads, shape.units
        ),
        "precision" => match contents.precision {
            Precision::F32 => "32-bit floats".into(),
            Precision::Int8Weights => "8-bit integers with a scale for each output channel".into(),
            Precision::Int8Dynamic => "8-bit integers, multiplied as such".into(),
        },
        "size" => format!("{:.1} MB", contents.bytes() as f64 / 1e6),
        "decoding" => decoding(contents),
        "results" => table(&facts.results),
        "gate" => gate(&facts.gate, contents),
        _ => return facts.own.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()),
    })
}

fn millions(parameters: usize) -> String {
    format!("{:.1} million", parameters as f64 / 1e6)
}

fn decoding(contents: &Contents<'_>) -> String {
    let d = &contents.decoding;
    if d.beam_width <= 1 {
        return "greedy".into();
    }
    match contents.lm {
        Some(_) => format!(
            "beam of {}, word n-gram language model with weight {}, word bonus {}",
            d.beam_width, d.lm_weight, d.word_bonus
        ),
        None => format!("beam of {}", d.beam_width),
    }
}

fn table(results: &[TestResult]) -> String {
    if results.is_empty() {
        return "Not measured.".into();
    }
    let mut out = String::from(
        "| set | recordings | speakers | minutes | words | substitutions | deletions | insertions | WER | CER |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for result in results {
        let (total, words) = (&result.score.total, &result.score.total.words);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.1} | {} | {} | {} | {} | **{:.1} %** | {:.1} % |",
            result.title,
            total.utterances,
            result.score.speakers.len(),
            total.audio_secs / 60.0,
            words.reference,
            words.substitutions,
            words.deletions,
            words.insertions,
            100.0 * total.wer(),
            100.0 * total.cer(),
        );
    }
    out.trim_end().to_owned()
}

fn gate(gate: &Gate, contents: &Contents<'_>) -> String {
    if contents.precision == Precision::F32 {
        return format!(
            "On the validation set {:.2} % of {} words are wrong.",
            100.0 * gate.float.wer(),
            gate.float.words.reference
        );
    }
    format!(
        "On the validation set ({} words) the float weights have a word error rate of {:.2} %, the package of {:.2} %.",
        gate.float.words.reference,
        100.0 * gate.float.wer(),
        100.0 * gate.quantized.wer()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_braces_are_replaced_and_unknown_ones_named() {
        let value = |name: &str| (name == "a").then(|| "1".to_owned());
        assert_eq!(replace("x {{a}} y {{ a }}{{", value).as_deref(), Ok("x 1 y 1{{"));
        assert_eq!(replace("{{a}} {{b}}", value), Err("b".into()));
        assert_eq!(replace("", value).as_deref(), Ok(""));
    }

    #[test]
    fn the_default_template_has_only_known_names() {
        assert!(template(None, &[]).is_ok());
    }

    #[test]
    fn a_name_without_a_value_is_refused_before_any_work() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("card.md");
        std::fs::write(&path, "{{name}} heard {{hours}} hours").expect("writes");
        let error = template(Some(&path), &[]).expect_err("no hours").to_string();
        assert!(error.contains("{{hours}}") && error.contains("--fact hours="), "{error}");
        let own = [parse_fact("hours = 12").expect("parses")];
        assert!(template(Some(&path), &own).is_ok());
        assert!(parse_fact("name=x").is_err() && parse_fact("hours").is_err());
    }
}
