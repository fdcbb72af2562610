//! Text in another language, sentence by sentence: what lies between sentences, lines, tags, addresses and placeholders stay as they are.

mod html;
mod languages;
mod protect;
mod split;

use std::time::Instant;

use linnet_proto::generate::DecodeOptions;
use linnet_proto::translate::{TextFormat, TranslateRequest, Translated, Translation};
use linnet_proto::{ErrorCode, WireError};

use super::refused;
use super::writer::{Asked, Writer};
use crate::job::Part;
use crate::task::TaskContext;
use crate::task::tokenizer::Encode;

pub(super) use split::sentences;

/// Most tokens of a translated sentence over those of the sentence itself.
const GROWTH: u64 = 3;
/// And this many more.
const SLACK: u64 = 32;

pub(super) fn translate(
    writer: &mut Writer,
    request: &TranslateRequest,
    ctx: &TaskContext,
) -> Result<Translated, WireError> {
    request.check()?;
    let began = Instant::now();
    let direction = languages::direction(&writer.shared, &request.source, &request.target)?;
    let mut one = Sentences { writer, request, direction, ctx };
    let mut translations = Vec::with_capacity(request.texts.len());
    for text in &request.texts {
        ctx.checkpoint()?;
        let translation = one.text(text)?;
        if request.texts.len() > 1 {
            ctx.emit(Part::Translation(translation.clone()))?;
        }
        translations.push(translation);
    }
    Ok(Translated {
        translations,
        models: vec![one.writer.shared.name.clone()],
        inference_ms: (began.elapsed().as_secs_f64() * 1e6).round() / 1e3,
    })
}

/// How a model is told what to translate into what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Direction {
    /// For tokenizers that are told the source.
    source: Option<String>,
    /// For tokenizers that are told the target before the text.
    target: Option<String>,
    /// Put before each sentence (T5).
    prefix: String,
    /// Ids that the answer begins with.
    forced: Vec<u32>,
}

struct Sentences<'a> {
    writer: &'a mut Writer,
    request: &'a TranslateRequest,
    direction: Direction,
    ctx: &'a TaskContext,
}

impl Sentences<'_> {
    fn text(&mut self, text: &str) -> Result<Translation, WireError> {
        match self.request.format {
            TextFormat::Text => self.plain(text),
            TextFormat::Html => {
                let mut out = String::with_capacity(text.len());
                for part in html::parts(text) {
                    match part {
                        html::Part::Markup(markup) => out.push_str(markup),
                        html::Part::Text(inner) => {
                            out.push_str(&html::escape(&self.plain(&html::unescape(inner))?.text))
                        }
                    }
                }
                Ok(Translation { text: out, ..Translation::default() })
            }
        }
    }

    /// Sentence by sentence; alternatives are of the whole text, each with the next best of every sentence.
    fn plain(&mut self, text: &str) -> Result<Translation, WireError> {
        let wanted = 1 + self.request.alternatives as usize;
        let mut best = vec![String::with_capacity(text.len()); wanted];
        let mut rest = text;
        for sentence in split::sentences(text) {
            let at = sentence.as_ptr() as usize - rest.as_ptr() as usize;
            let (between, from) = rest.split_at(at);
            best.iter_mut().for_each(|own| own.push_str(between));
            rest = &from[sentence.len()..];
            let found = self.sentence(sentence, wanted)?;
            for (own, i) in best.iter_mut().zip(0..) {
                let next = found.get(i).or(found.first());
                own.push_str(next.map_or(sentence, String::as_str));
            }
        }
        best.iter_mut().for_each(|own| own.push_str(rest));
        let first = best.remove(0);
        best.retain(|other| *other != first);
        best.dedup();
        Ok(Translation { text: first, alternatives: best, ..Translation::default() })
    }

    /// The best translations of one sentence, its addresses and placeholders as they are.
    fn sentence(&mut self, sentence: &str, wanted: usize) -> Result<Vec<String>, WireError> {
        self.ctx.checkpoint()?;
        if !sentence.chars().any(char::is_alphabetic) {
            return Ok(vec![sentence.to_owned()]);
        }
        let spans = protect::spans(sentence);
        if spans.is_empty() {
            let found = self.run(sentence, wanted)?;
            let numbers = protect::numbers(sentence);
            let (mut right, mut wrong): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|text| protect::numbers(text) == numbers);
            // A translation that changed a number is only taken when there is no other.
            right.append(&mut wrong);
            return Ok(right);
        }
        let mut out = String::new();
        let mut at = 0;
        for span in spans {
            out.push_str(&self.piece(&sentence[at..span.start])?);
            out.push_str(&sentence[span.clone()]);
            at = span.end;
        }
        out.push_str(&self.piece(&sentence[at..])?);
        Ok(vec![out])
    }

    /// A piece between two that stay, with the blanks around it.
    fn piece(&mut self, piece: &str) -> Result<String, WireError> {
        let inner = piece.trim();
        if !inner.chars().any(char::is_alphabetic) {
            return Ok(piece.to_owned());
        }
        let start = piece.len() - piece.trim_start().len();
        let translated = self.run(inner, 1)?.into_iter().next().unwrap_or_default();
        Ok(format!("{}{translated}{}", &piece[..start], &piece[start + inner.len()..]))
    }

    /// Runs the model on one sentence.
    fn run(&mut self, sentence: &str, wanted: usize) -> Result<Vec<String>, WireError> {
        let how = Encode {
            source_lang: self.direction.source.as_deref(),
            target_lang: self.direction.target.as_deref(),
            ..Encode::default()
        };
        let text = format!("{}{sentence}", self.direction.prefix);
        let shared = std::sync::Arc::clone(&self.writer.shared);
        let ids = shared.tokenizer()?.encode(&text, how).map_err(|e| refused(&e).with_param("q"))?.ids;
        let own_beams = shared.generation.num_beams;
        let beams = self.request.num_beams.unwrap_or(own_beams).max(u32::try_from(wanted).unwrap_or(1));
        let options = DecodeOptions {
            max_tokens: Some(ids.len() as u64 * GROWTH + SLACK),
            num_beams: Some(beams),
            n: Some(if beams > 1 { u32::try_from(wanted.max(2)).unwrap_or(2).min(beams) } else { 1 }),
            temperature: Some(0.0),
            forced_prefix: self.direction.forced.clone(),
            ..DecodeOptions::default()
        };
        let outcome = self.writer.write(&ids, Asked::with(&options), self.ctx, &mut |_| Ok(()))?;
        Ok(outcome.choices.into_iter().map(|choice| choice.text.trim().to_owned()).collect())
    }
}

/// A pair that the model does not translate.
fn unsupported(message: String, param: &str) -> WireError {
    WireError::new(ErrorCode::UnsupportedTask, message).with_param(param)
}
