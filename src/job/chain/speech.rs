//! Speech: by the model that hears its language; to English by a model that hears and translates in one, else by two.

use linnet_proto::language::means;
use linnet_proto::translate::TranslateRequest;
use linnet_proto::{ErrorCode, Segment, Transcript, WireError};

use super::super::offers::{Hop, Offers};
use super::super::{Answer, Part, Reply, TaskRequest, TranscribeRequest};
use super::other_task;
use super::plan::{Plan, Then};
use super::steps::{Parts, Steps};
use super::translation::translate_all;

/// What speech is translated to, as OpenAI has it.
const ENGLISH: &str = "en";

/// Speech whose words are to come in English.
pub(super) struct SpokenTranslation;

pub(super) fn plan(mut request: TranscribeRequest, offers: &Offers) -> Result<Plan, WireError> {
    let task = TaskRequest::Transcribe(request.clone()).name();
    if request.options.model.is_none()
        && let Some(language) = request.options.language.as_deref()
    {
        request.options.model = offers.hears(task, language).map(|m| m.name.clone());
    }
    let named = request.options.model.as_deref();
    let alone = !request.translate || offers.pick(task, named).is_some();
    let hears = offers.pick("transcribe", named).is_some();
    if alone || !hears {
        return Ok(Plan::direct(TaskRequest::Transcribe(request)));
    }
    if !offers.translations().values().any(|targets| targets.contains(ENGLISH)) {
        let message = "no model here translates speech, and none translates text to en; POST /v1/audio/transcriptions \
                       gives the words as they were spoken";
        return Err(WireError::new(ErrorCode::UnsupportedTask, message).with_param("model"));
    }
    let first = TaskRequest::Transcribe(TranscribeRequest { translate: false, ..request });
    Ok(Plan::chain(first, Then::Spoken(SpokenTranslation), ""))
}

impl SpokenTranslation {
    pub(super) async fn run(
        self,
        mut steps: Steps,
        first: Reply,
        offers: &Offers,
        parts: &Parts,
    ) -> Result<Answer, WireError> {
        let Answer::Transcript(mut heard) = first.answer().await? else { return Err(other_task()) };
        if !means(&heard.language, ENGLISH) && !heard.text.is_empty() {
            let route = offers.route(&heard.language, ENGLISH);
            let route = route.ok_or_else(|| offers.no_route(&heard.language, ENGLISH))?;
            translate(&mut heard, &mut steps, &route).await?;
        }
        for segment in &heard.segments {
            // Fails only when the caller is gone, and then this is dropped.
            drop(parts.send(Ok(Part::Segment(segment.clone()))).await);
        }
        Ok(Answer::Transcript(heard))
    }
}

/// Puts English in the place of what was heard. The times of segments stay; of words there are none, since none of them was
/// spoken.
async fn translate(heard: &mut Transcript, steps: &mut Steps, route: &[Hop]) -> Result<(), WireError> {
    let texts: Vec<String> = match heard.segments.as_slice() {
        [] => vec![heard.text.clone()],
        segments => segments.iter().map(|s| s.text.clone()).collect(),
    };
    let like = TranslateRequest::default();
    let translated = translate_all(steps, &like, texts, route).await?;
    let texts: Vec<String> = translated.translations.into_iter().map(|t| t.text).collect();
    let said = |segment: &mut Segment, text: &String| {
        segment.text.clone_from(text);
        segment.words.clear();
    };
    heard.segments.iter_mut().zip(&texts).for_each(|(segment, text)| said(segment, text));
    heard.words.clear();
    heard.text = texts.iter().filter(|t| !t.is_empty()).cloned().collect::<Vec<_>>().join(" ");
    heard.language = ENGLISH.to_owned();
    heard.inference_ms += translated.inference_ms;
    heard.rtf = if heard.duration_secs > 0.0 { heard.inference_ms / 1000.0 / heard.duration_secs } else { heard.rtf };
    if let Some(model) = translated.models.last() {
        heard.model.clone_from(model);
    }
    Ok(())
}
