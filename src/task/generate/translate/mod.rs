//! Text in another language, sentence by sentence: what lies between sentences, lines, tags, addresses and placeholders stay as they are.

mod align;
mod html;
mod languages;
mod protect;
mod split;

use std::time::Instant;

use linnet_proto::generate::DecodeOptions;
use linnet_proto::translate::{Aligned, TextFormat, TranslateRequest, Translated, Translation};
use linnet_proto::{ErrorCode, WireError};

use super::refused;
use super::writer::{Asked, Writer};
use crate::job::Part;
use crate::task::TaskContext;
use crate::task::tokenizer::{Encode, Encoded};

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
    let reason = match request.format {
        TextFormat::Html => align::MARKUP,
        TextFormat::Text if writer.gives_attention() => align::HOW,
        TextFormat::Text => align::UNTOLD,
    };
    let aligns = request.explain && reason == align::HOW;
    let mut one = Sentences { writer, request, direction, aligns, ctx };
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
        explanation: request.explain.then(|| reason.to_owned()),
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
    /// Whether words are aligned.
    aligns: bool,
    ctx: &'a TaskContext,
}

/// A translation of a part of a text.
#[derive(Debug, Default)]
struct Found {
    text: String,
    /// The ids that spell it, where words are aligned.
    ids: Vec<u32>,
    /// With offsets in the part and in `text`.
    alignment: Vec<Aligned>,
}

impl Found {
    fn unchanged(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    /// The alignment where the part begins at `source` of a text, and its translation at `target` of another.
    fn aligned_at(&self, source: usize, target: usize) -> impl Iterator<Item = Aligned> + '_ {
        let moved = |(start, end): (usize, usize), by: usize| (start + by, end + by);
        self.alignment.iter().map(move |link| Aligned {
            source: moved(link.source, source),
            target: moved(link.target, target),
            weight: link.weight,
        })
    }
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
        let mut alignment = Vec::new();
        let mut rest = text;
        for sentence in split::sentences(text) {
            let at = sentence.as_ptr() as usize - rest.as_ptr() as usize;
            let (between, from) = rest.split_at(at);
            best.iter_mut().for_each(|own| own.push_str(between));
            rest = &from[sentence.len()..];
            let found = self.sentence(sentence, wanted)?;
            if let Some(first) = found.first() {
                alignment.extend(first.aligned_at(sentence.as_ptr() as usize - text.as_ptr() as usize, best[0].len()));
            }
            for (own, i) in best.iter_mut().zip(0..) {
                let next = found.get(i).or(found.first());
                own.push_str(next.map_or(sentence, |found| &found.text));
            }
        }
        best.iter_mut().for_each(|own| own.push_str(rest));
        let first = best.remove(0);
        best.retain(|other| *other != first);
        best.dedup();
        Ok(Translation { text: first, alternatives: best, alignment, ..Translation::default() })
    }

    /// The best translations of one sentence, its addresses and placeholders as they are.
    fn sentence(&mut self, sentence: &str, wanted: usize) -> Result<Vec<Found>, WireError> {
        self.ctx.checkpoint()?;
        if !sentence.chars().any(char::is_alphabetic) {
            return Ok(vec![Found::unchanged(sentence)]);
        }
        let spans = protect::spans(sentence);
        if spans.is_empty() {
            let (heard, found) = self.run(sentence, wanted)?;
            let numbers = protect::numbers(sentence);
            let (mut right, mut wrong): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|found| protect::numbers(&found.text) == numbers);
            // A translation that changed a number is only taken when there is no other.
            right.append(&mut wrong);
            if let Some(first) = right.first_mut() {
                self.align(sentence, &heard, first)?;
            }
            return Ok(right);
        }
        let mut out = Found::default();
        let mut at = 0;
        for span in spans {
            self.piece(&sentence[at..span.start], at, &mut out)?;
            out.text.push_str(&sentence[span.clone()]);
            at = span.end;
        }
        self.piece(&sentence[at..], at, &mut out)?;
        Ok(vec![out])
    }

    /// Adds a piece between two that stay, with the blanks around it; `at` is where it begins.
    fn piece(&mut self, piece: &str, at: usize, out: &mut Found) -> Result<(), WireError> {
        let inner = piece.trim();
        if !inner.chars().any(char::is_alphabetic) {
            out.text.push_str(piece);
            return Ok(());
        }
        let start = piece.len() - piece.trim_start().len();
        let (heard, found) = self.run(inner, 1)?;
        let mut translated = found.into_iter().next().unwrap_or_default();
        self.align(inner, &heard, &mut translated)?;
        out.text.push_str(&piece[..start]);
        let links: Vec<Aligned> = translated.aligned_at(at + start, out.text.len()).collect();
        out.alignment.extend(links);
        out.text.push_str(&translated.text);
        out.text.push_str(&piece[start + inner.len()..]);
        Ok(())
    }

    /// Fills in the alignment of a translation of what was run last, where words are aligned.
    fn align(&mut self, sentence: &str, heard: &Encoded, found: &mut Found) -> Result<(), WireError> {
        if !self.aligns {
            return Ok(());
        }
        let shared = std::sync::Arc::clone(&self.writer.shared);
        let ends = &shared.generation.eos_token_id;
        let written: Vec<u32> = found.ids.iter().copied().take_while(|id| !ends.contains(id)).collect();
        let attention = self.writer.attend(&self.direction.forced, &written, self.ctx)?;
        let source = align::heard(heard, self.direction.prefix.len());
        let target =
            align::spelled(|ids| shared.tokenizer().map_or_else(|_| String::new(), |t| t.decode(ids, true)), &written);
        found.alignment = align::links((sentence, &source), (&found.text, &target), &attention);
        Ok(())
    }

    /// Runs the model on one sentence; gives what it heard, too.
    fn run(&mut self, sentence: &str, wanted: usize) -> Result<(Encoded, Vec<Found>), WireError> {
        let how = Encode {
            source_lang: self.direction.source.as_deref(),
            target_lang: self.direction.target.as_deref(),
            ..Encode::default()
        };
        let text = format!("{}{sentence}", self.direction.prefix);
        let shared = std::sync::Arc::clone(&self.writer.shared);
        let heard = shared.tokenizer()?.encode(&text, how).map_err(|e| refused(&e).with_param("q"))?;
        let own_beams = shared.generation.num_beams;
        let beams = self.request.num_beams.unwrap_or(own_beams).max(u32::try_from(wanted).unwrap_or(1));
        let options = DecodeOptions {
            max_tokens: Some(heard.len() as u64 * GROWTH + SLACK),
            num_beams: Some(beams),
            n: Some(if beams > 1 { u32::try_from(wanted.max(2)).unwrap_or(2).min(beams) } else { 1 }),
            temperature: Some(0.0),
            forced_prefix: self.direction.forced.clone(),
            return_token_ids: self.aligns,
            ..DecodeOptions::default()
        };
        let outcome = self.writer.write(&heard.ids, Asked::with(&options), self.ctx, &mut |_| Ok(()))?;
        let found = outcome.choices.into_iter().map(|choice| Found {
            text: choice.text.trim().to_owned(),
            ids: choice.token_ids.unwrap_or_default(),
            alignment: Vec::new(),
        });
        Ok((heard, found.collect()))
    }
}

/// A pair that the model does not translate.
fn unsupported(message: String, param: &str) -> WireError {
    WireError::new(ErrorCode::UnsupportedTask, message).with_param(param)
}
