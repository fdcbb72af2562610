//! Translation: by the model of the pair, over a third language where there is none, from a language that is found first.

use std::collections::BTreeMap;

use linnet_proto::language::means;
use linnet_proto::translate::{
    DetectRequest, DetectedLanguage, MAX_TEXTS, MAX_TRANSLATE_BYTES, TranslateRequest, Translated, Translation,
};
use linnet_proto::{ErrorCode, WireError};

use super::super::offers::{Hop, Offers};
use super::super::{Answer, Reply, TaskRequest};
use super::other_task;
use super::plan::{Plan, Then};
use super::steps::{Parts, Steps, forward};

/// What asks for the language to be found.
const AUTO: &str = "auto";
/// Why two models give no alignment: each has seen one end alone.
const TWO_MODELS: &str = "no alignment: two models worked over a third language, and neither has seen both texts";

/// A translation over a third language, on its first half.
pub(super) struct Pivot {
    /// Of which the second half is a copy with the texts of the first.
    request: TranslateRequest,
    /// The model of the first half.
    first: String,
    /// Whether the alignment was asked for, which nobody has across two models.
    explain: bool,
}

/// A translation from a language that is being found.
pub(super) struct Found {
    request: TranslateRequest,
}

pub(super) fn plan(request: TranslateRequest, offers: &Offers) -> Result<Plan, WireError> {
    if request.source.is_empty() || request.source.eq_ignore_ascii_case(AUTO) {
        if let Some(hop) = only_source(&request, offers) {
            // A model that is named and knows one language: nothing is to be found.
            if !offers.does("detect") {
                return Ok(direct(request, &hop));
            }
        }
        if !offers.does("detect") {
            let message = "no model here finds out which language a text is in; name it in source";
            return Err(WireError::new(ErrorCode::UnsupportedTask, message).with_param("source"));
        }
        let first = TaskRequest::Detect(DetectRequest { model: None, texts: request.texts.clone() });
        return Ok(Plan::chain(first, Then::Found(Found { request }), ""));
    }
    if request.texts.is_empty() || means(&request.source, &request.target) {
        let translations = request.texts.into_iter().map(|text| Translation { text, ..Translation::default() });
        let translated = Translated { translations: translations.collect(), ..Translated::default() };
        return Ok(Plan::Answered(Box::new(Answer::Translated(translated))));
    }
    let route = route(&request, offers)?;
    match route.as_slice() {
        [hop] => Ok(direct(request, hop)),
        [one, two] => {
            let first = TranslateRequest {
                // Only the end is chosen from.
                alternatives: 0,
                explain: false,
                ..along(&request, request.texts.clone(), one)
            };
            let explain = request.explain;
            let request = TranslateRequest { explain: false, ..along(&request, Vec::new(), two) };
            let pivot = Pivot { request, first: one.model.clone(), explain };
            let (model, then) = (two.model.clone(), Then::Pivot(pivot));
            Ok(Plan::chain(TaskRequest::Translate(first), then, model))
        }
        // A name that no model has, or one of another task: the catalog says so in its own words.
        _ => Ok(Plan::direct(TaskRequest::Translate(request))),
    }
}

fn direct(request: TranslateRequest, hop: &Hop) -> Plan {
    let texts = request.texts.clone();
    Plan::direct(TaskRequest::Translate(along(&request, texts, hop)))
}

/// The pair of the model that is named, when it has one pair alone that ends in the target.
fn only_source(request: &TranslateRequest, offers: &Offers) -> Option<Hop> {
    let model = offers.named(request.model.as_deref()?)?;
    match model.pairs.as_slice() {
        [(source, target)] if means(&request.target, target) => {
            Some(Hop { model: model.name.clone(), source: source.clone(), target: target.clone() })
        }
        _ => None,
    }
}

/// The way of a request; empty where its model is not one of the offers.
fn route(request: &TranslateRequest, offers: &Offers) -> Result<Vec<Hop>, WireError> {
    let (source, target) = (&request.source, &request.target);
    let Some(name) = request.model.as_deref() else {
        return offers.route(source, target).ok_or_else(|| offers.no_route(source, target));
    };
    let Some(model) = offers.named(name).filter(|m| m.does("translate")) else { return Ok(Vec::new()) };
    if model.languages.is_empty() && model.pairs.is_empty() {
        // Its package does not say what it speaks: it refuses what it does not itself.
        return Ok(vec![Hop { model: model.name.clone(), source: source.clone(), target: target.clone() }]);
    }
    let alone = Offers { models: vec![model.clone()], ..Offers::default() };
    match alone.route(source, target) {
        Some(route) if route.len() == 1 => Ok(route),
        _ => Err(alone.no_route(source, target)),
    }
}

/// `request` for other texts, by one model.
fn along(request: &TranslateRequest, texts: Vec<String>, hop: &Hop) -> TranslateRequest {
    TranslateRequest {
        model: Some(hop.model.clone()),
        texts,
        source: hop.source.clone(),
        target: hop.target.clone(),
        ..request.clone()
    }
}

fn translated(answer: Answer) -> Result<Translated, WireError> {
    match answer {
        Answer::Translated(translated) => Ok(translated),
        _ => Err(other_task()),
    }
}

/// Translates any number of texts along `route`, with the options of `like`.
pub(super) async fn translate_all(
    steps: &mut Steps,
    like: &TranslateRequest,
    texts: Vec<String>,
    route: &[Hop],
) -> Result<Translated, WireError> {
    let mut whole = Translated::default();
    for lot in lots(texts) {
        let mut lot: Vec<Translation> =
            lot.into_iter().map(|text| Translation { text, ..Translation::default() }).collect();
        for (number, hop) in route.iter().enumerate() {
            let last = number + 1 == route.len();
            let texts = lot.into_iter().map(|t| t.text).collect();
            let mut request = along(like, texts, hop);
            if !last {
                request.alternatives = 0;
            }
            request.explain &= route.len() == 1;
            let answer = translated(steps.ask(TaskRequest::Translate(request)).await?)?;
            whole.inference_ms += answer.inference_ms;
            whole.explanation = answer.explanation.or(whole.explanation);
            for model in answer.models {
                if !whole.models.contains(&model) {
                    whole.models.push(model);
                }
            }
            lot = answer.translations;
        }
        whole.translations.append(&mut lot);
    }
    if like.explain && route.len() > 1 {
        whole.explanation = Some(TWO_MODELS.to_owned());
    }
    Ok(whole)
}

/// Texts in lots that one job takes.
fn lots(texts: Vec<String>) -> Vec<Vec<String>> {
    let mut lots: Vec<Vec<String>> = Vec::new();
    let mut bytes = 0;
    for text in texts {
        match lots.last_mut() {
            Some(lot) if lot.len() < MAX_TEXTS && bytes + text.len() <= MAX_TRANSLATE_BYTES => {
                bytes += text.len();
                lot.push(text);
            }
            _ => {
                bytes = text.len();
                lots.push(vec![text]);
            }
        }
    }
    lots
}

impl Pivot {
    pub(super) async fn run(mut self, mut steps: Steps, first: Reply, parts: &Parts) -> Result<Answer, WireError> {
        let half = translated(first.answer().await?)?;
        self.request.texts = half.translations.into_iter().map(|t| t.text).collect();
        let reply = steps.next(TaskRequest::Translate(self.request)).await?;
        let mut whole = translated(forward(reply, parts).await?)?;
        whole.models.insert(0, self.first);
        whole.inference_ms += half.inference_ms;
        whole.explanation = self.explain.then(|| TWO_MODELS.to_owned());
        Ok(Answer::Translated(whole))
    }
}

impl Found {
    pub(super) async fn run(self, mut steps: Steps, first: Reply, offers: &Offers) -> Result<Answer, WireError> {
        let request = self.request;
        let Answer::Detected(found) = first.answer().await? else { return Err(other_task()) };
        // Texts of one language go together.
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut chosen: Vec<Option<DetectedLanguage>> = Vec::new();
        for number in 0..request.texts.len() {
            let candidates = found.results.get(number).map(Vec::as_slice).unwrap_or_default();
            let source = source(&request, candidates, offers)?;
            if let Some(source) = &source {
                groups.entry(source.language.clone()).or_default().push(number);
            }
            chosen.push(source);
        }
        let mut whole = Translated {
            translations: request
                .texts
                .iter()
                .zip(chosen)
                .map(|(text, detected)| Translation { text: text.clone(), detected, ..Translation::default() })
                .collect(),
            models: vec![found.model],
            ..Translated::default()
        };
        for (source, numbers) in groups {
            if means(&source, &request.target) {
                continue;
            }
            let route = route(&TranslateRequest { source, ..request.clone() }, offers)?;
            let texts = numbers.iter().map(|n| request.texts[*n].clone()).collect();
            let answer = translate_all(&mut steps, &request, texts, &route).await?;
            for (number, translation) in numbers.into_iter().zip(answer.translations) {
                let detected = whole.translations[number].detected.take();
                whole.translations[number] = Translation { detected, ..translation };
            }
            whole.inference_ms += answer.inference_ms;
            whole.explanation = answer.explanation.or(whole.explanation);
            let new = answer.models.into_iter().filter(|model| !whole.models.contains(model)).collect::<Vec<_>>();
            whole.models.extend(new);
        }
        Ok(Answer::Translated(whole))
    }
}

/// The likeliest language that can be translated; none of a text in which nothing was found.
fn source(
    request: &TranslateRequest,
    candidates: &[DetectedLanguage],
    offers: &Offers,
) -> Result<Option<DetectedLanguage>, WireError> {
    let Some(likeliest) = candidates.first() else { return Ok(None) };
    let fits = |candidate: &&DetectedLanguage| {
        let asked = TranslateRequest {
            model: request.model.clone(),
            source: candidate.language.clone(),
            target: request.target.clone(),
            ..TranslateRequest::default()
        };
        means(&candidate.language, &request.target) || route(&asked, offers).is_ok()
    };
    match candidates.iter().find(fits) {
        Some(found) => Ok(Some(found.clone())),
        None => Err(offers.no_route(&likeliest.language, &request.target)),
    }
}
