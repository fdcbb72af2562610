//! A request's options on top of what the package says.

use linnet_proto::language::language_tag;
use linnet_proto::{ErrorCode, TranscribeOptions, WireError};

use super::config::{Settings, Thresholds};
use super::write::Prefix;
use crate::task::tokenizer::{Encode, TextTokenizer};

/// Temperatures that follow the first one where a text is doubtful.
const LADDER: [f32; 6] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];
/// Text that was written at this temperature or above is no help to the next window.
const WILD: f32 = 0.5;

/// What one transcription does.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// Whether the text comes in English, whatever is spoken.
    pub(super) translate: bool,
    /// What is spoken, where it is known before it is heard.
    pub(super) language: Option<String>,
    /// Ids of the text that stands before what is said.
    pub(super) prompt: Vec<u32>,
    /// Whether a window is written with the text before it in mind.
    pub(super) condition: bool,
    /// Tried in this order until a text is not doubtful.
    pub(super) temperatures: Vec<f32>,
    /// Texts that are kept at temperature 0; 1 is greedy.
    pub(super) beams: usize,
    pub(super) seed: u64,
    pub(super) thresholds: Thresholds,
}

impl Plan {
    /// For a model called `name`.
    pub(super) fn new(
        options: &TranscribeOptions,
        translate: bool,
        name: &str,
        settings: &Settings,
        tokens: &TextTokenizer,
    ) -> Result<Self, WireError> {
        options.check()?;
        if translate && (!settings.multilingual || settings.translate.is_none()) {
            let message = format!("the model {name} does not translate; ask for a multilingual Whisper");
            return Err(WireError::new(ErrorCode::UnsupportedTask, message).with_param("model"));
        }
        let first = options.temperature.unwrap_or(0.0);
        let prompt = match (options.prompt.as_deref().map(str::trim).filter(|p| !p.is_empty()), settings.previous) {
            // What looks like a control token in it is text like any other.
            (Some(text), Some(_)) => {
                tokens
                    .encode(&format!(" {text}"), Encode { add_special: false, ..Encode::default() })
                    .map_err(|e| WireError::new(ErrorCode::InvalidOption, e.to_string()).with_param("prompt"))?
                    .ids
            }
            _ => Vec::new(),
        };
        let most = settings.most_before();
        Ok(Self {
            translate,
            language: language(options.language.as_deref(), name, settings)?,
            prompt: prompt[prompt.len().saturating_sub(most)..].to_vec(),
            condition: options.condition_on_previous_text.unwrap_or(settings.condition_on_previous),
            temperatures: std::iter::once(first).chain(LADDER.into_iter().filter(|t| *t > first + 1e-3)).collect(),
            beams: options.beam_width.map_or(1, |width| width as usize),
            seed: options.seed.unwrap_or(0),
            thresholds: settings.thresholds.clone(),
        })
    }

    /// What stands before a window's text: the mark of the text before with what is kept of it, then language and task.
    pub(super) fn prefix(&self, settings: &Settings, language: Option<&str>, before: &Before) -> Prefix {
        let mut ids = Vec::new();
        if let Some(mark) = settings.previous {
            if before.counts && !before.ids.is_empty() {
                ids.push(mark);
                ids.extend(&before.ids);
            } else if !self.prompt.is_empty() {
                ids.push(mark);
                ids.extend(&self.prompt);
            }
        }
        let start = ids.len();
        ids.push(settings.start);
        if settings.multilingual {
            ids.extend(language.and_then(|tag| settings.languages.get(tag)));
            ids.extend(if self.translate { settings.translate } else { settings.transcribe });
        }
        Prefix { ids, start }
    }
}

/// The text before a window.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Before {
    ids: Vec<u32>,
    /// Whether the next window is written with it in mind.
    counts: bool,
    asked: bool,
}

impl Before {
    /// At the beginning there is the request's prompt.
    pub(super) fn new(plan: &Plan) -> Self {
        Self { ids: plan.prompt.clone(), counts: plan.condition, asked: plan.condition }
    }

    /// Takes note of a segment's tokens.
    pub(super) fn segment(&mut self, tokens: &[u32], settings: &Settings) {
        let times = |id: u32| settings.first_time().is_some_and(|first| id >= first);
        // Of two timestamps at the end the second one belongs to what comes next.
        let kept = match tokens {
            [head @ .., last, _] if !head.is_empty() && times(*last) => &tokens[..tokens.len() - 1],
            _ => tokens,
        };
        self.ids.extend(kept);
        let most = settings.most_before();
        self.ids.drain(..self.ids.len().saturating_sub(most));
    }

    /// Takes note of the temperature that a window was written at.
    pub(super) fn written_at(&mut self, temperature: f32) {
        self.counts = self.asked && temperature < WILD;
    }
}

/// The language that is asked for, by tag or English name, or that the package itself names; `None` where it has to be heard.
fn language(asked: Option<&str>, name: &str, settings: &Settings) -> Result<Option<String>, WireError> {
    let asked = asked.map(str::trim).filter(|tag| !tag.is_empty() && !tag.eq_ignore_ascii_case("auto"));
    let Some(asked) = asked else { return Ok(settings.language.clone()) };
    let lower = asked.to_lowercase();
    let tag = language_tag(&lower).unwrap_or_else(|| lower.split(['-', '_']).next().unwrap_or_default());
    let speaks = if settings.multilingual { settings.languages.contains_key(tag) } else { tag == "en" };
    if speaks {
        return Ok(Some(tag.to_owned()));
    }
    let spoken: Vec<&str> = settings.languages.keys().map(String::as_str).collect();
    let spoken = if settings.multilingual { spoken.join(", ") } else { "en alone".to_owned() };
    let message = format!(
        "the model {name} does not speak {:?}; it speaks {spoken}; ask for one of these, for none to have it heard, or for another model",
        asked.chars().take(40).collect::<String>(),
    );
    Err(WireError::new(ErrorCode::UnsupportedTask, message).with_param("language"))
}
