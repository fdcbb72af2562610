//! Chat templates: a conversation to the text that a model was taught to answer, as `transformers` renders it.
//!
//! [`ChatTemplate::load`] finds the templates of a package (`chat_template` of `tokenizer_config.json`, one or several named
//! ones, `chat_template.jinja`, `chat_template.json`, `additional_chat_templates/`). [`ChatTemplate::render`] gives a [`Prompt`].
//!
//! **Somebody's words never steer.** The words of a conversation may hold what the model takes for a special token. Before the
//! template sees a string, a mark (a character that no text may hold, U+FDD0 to U+FDEF) is put into each token that steers,
//! and to the ends of a string where it could be completed by what stands next to it. Afterwards the marks are taken out, and
//! their places become the [`Prompt::guards`]: [`TextTokenizer::encode_guarded`] makes no special token there, and all that
//! the template wrote. Strings without such words, which are almost all, are not touched, so that the template sees what it
//! would see in `transformers`; marked ones can be trimmed, split, compared at their beginning and put into JSON as any
//! others. A model's own earlier answers keep the tokens that are not special (`<think>`), which templates look for.
//! What is not caught: a template that deletes characters from within a message can join what is left. None is known to.
//!
//! A template has no access to anything but the conversation; its instructions and the data that it makes are bounded by the
//! size of the conversation ([`crate::limits::CHAT_TEMPLATE_FUEL`]), so that one that loops is refused. It is read and rendered
//! on a thread of its own, whose stack fits the deepest nesting that those bounds let it build.

mod bounds;
mod data;
mod environment;
mod json;
mod mark;
mod methods;
mod python;
mod source;
mod strftime;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::{Environment, ErrorKind, Value};
use serde_json::Map;

use crate::limits::MAX_TEXT_BYTES;
use crate::task::tokenizer::TextTokenizer;
use mark::Marker;
use strftime::Moment;

/// Why a conversation is not rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// The template says so (`raise_exception`).
    #[error("the model's chat template refuses the conversation: {0}")]
    Refused(String),
    /// The template cannot deal with it.
    #[error("the model's chat template fails on the conversation: {0}")]
    Failed(String),
    /// It did not come to an end.
    #[error("the model's chat template does too much: it was stopped after {steps} steps; does it loop?")]
    Endless {
        /// How many it was given.
        steps: u64,
    },
    /// The text is larger than any may be.
    #[error("the conversation has {bytes} bytes as the model's chat template writes it; it may have {MAX_TEXT_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It uses all characters that marks are made of.
    #[error("the conversation holds all of the noncharacters U+FDD0 to U+FDEF, which no text may hold")]
    Unmarkable,
}

/// What is rendered.
#[derive(Debug, Clone, Copy)]
pub struct Chat<'a> {
    /// Objects with `role` and `content`, and what else a template looks for (`tool_calls`, `reasoning_content`).
    pub messages: &'a [serde_json::Value],
    /// Tools as JSON schemas, in the shape that OpenAI has.
    pub tools: Option<&'a [serde_json::Value]>,
    /// Documents to answer from, for templates that know them.
    pub documents: Option<&'a [serde_json::Value]>,
    /// Whether the beginning of the model's answer stands at the end.
    pub add_generation_prompt: bool,
    /// Whether the last message is left open, for the model to go on with it.
    pub continue_final_message: bool,
    /// Variables for the template, such as `enable_thinking`.
    pub variables: Option<&'a Map<String, serde_json::Value>>,
    /// What `strftime_now` tells: seconds since 1970-01-01 as the clock on the wall shows them, time zone included.
    pub wall_secs: u64,
}

impl<'a> Chat<'a> {
    /// Messages, and nothing else; the answer's beginning stands at the end.
    pub fn new(messages: &'a [serde_json::Value]) -> Self {
        Self {
            messages,
            tools: None,
            documents: None,
            add_generation_prompt: true,
            continue_final_message: false,
            variables: None,
            wall_secs: 0,
        }
    }
}

/// A rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// What the model reads.
    pub text: String,
    /// Bytes of the text that no special token may lie around: they are within somebody's words. Sorted.
    pub guards: Vec<usize>,
}

/// What the tokenizer tells the template, and what somebody's words must not become.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChatTokens {
    /// `bos_token` and the like, each with its text.
    pub named: BTreeMap<String, String>,
    /// `additional_special_tokens`.
    pub additional: Vec<String>,
    /// Tokens that steer, and whether each is special.
    pub control: Vec<(String, bool)>,
}

impl ChatTokens {
    /// Of a tokenizer.
    pub fn of(tokenizer: &TextTokenizer) -> Self {
        let (named, additional) = tokenizer.special_texts();
        let (named, additional) = (named.clone(), additional.to_vec());
        let control = tokenizer.control_tokens().map(|(text, special)| (text.to_owned(), special)).collect();
        Self { named, additional, control }
    }
}

/// The templates of a package, compiled.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    names: Vec<String>,
    sources: String,
}

/// The one that is meant where none is named.
const DEFAULT: &str = "default";
/// The one for conversations with tools, where there is one.
const TOOL_USE: &str = "tool_use";
/// Stands behind the words that the model goes on with; as `transformers` has it.
const CONTINUED: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

impl ChatTemplate {
    /// From the directory of a package; `None` where it has none. The error is one sentence that names the file.
    pub fn load(dir: &Path) -> Result<Option<Self>, String> {
        let sources = source::find(dir)?;
        if sources.is_empty() { Ok(None) } else { Self::compile(sources).map(Some) }
    }

    /// One template from its text.
    pub fn from_source(source: &str) -> Result<Self, String> {
        Self::compile(BTreeMap::from([(DEFAULT.to_owned(), source.to_owned())]))
    }

    fn compile(sources: BTreeMap<String, String>) -> Result<Self, String> {
        let names = sources.keys().cloned().collect();
        let all = sources.values().cloned().collect();
        for (name, source) in &sources {
            bounds::check(source).map_err(|why| format!("the chat template {name:?} {why}"))?;
        }
        let environment = bounds::apart(bounds::COMPILE_STACK_BYTES, || {
            let mut environment = environment::new();
            for (name, source) in sources {
                let source = source::without_generation_marks(&source);
                environment
                    .add_template_owned(name.clone(), source)
                    .map_err(|error| format!("the chat template {name:?} cannot be read: {}", describe(&error)))?;
            }
            Ok(environment)
        })
        .unwrap_or_else(|why| Err(format!("the chat template cannot be read: {why}")))?;
        Ok(Self { environment, names, sources: all })
    }

    /// The names of the templates.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The template that a conversation is rendered with: the named one, else the one for tools where there are tools, else the
    /// default one.
    fn choose(&self, name: Option<&str>, has_tools: bool) -> Result<&str, ChatError> {
        let has = |name: &str| self.names.iter().any(|n| n == name);
        match name {
            Some(name) if has(name) => self.names.iter().find(|n| *n == name).map(String::as_str),
            Some(_) => None,
            None if has_tools && has(TOOL_USE) => Some(TOOL_USE),
            None if has(DEFAULT) => Some(DEFAULT),
            None => None,
        }
        .ok_or_else(|| {
            let wanted = name.unwrap_or(DEFAULT);
            ChatError::Failed(format!("there is no template {wanted:?}; there are {}", self.names.join(", ")))
        })
    }

    /// Renders with the template that fits.
    pub fn render(&self, chat: &Chat<'_>, tokens: &ChatTokens) -> Result<Prompt, ChatError> {
        self.render_named(None, chat, tokens)
    }

    /// Renders with the template of a name.
    pub fn render_named(&self, name: Option<&str>, chat: &Chat<'_>, tokens: &ChatTokens) -> Result<Prompt, ChatError> {
        let name = self.choose(name, chat.tools.is_some())?;
        let marker = Marker::new(&tokens.control, &self.sources, chat).ok_or(ChatError::Unmarkable)?;
        let mut messages = chat.messages.to_vec();
        if chat.continue_final_message {
            leave_open(&mut messages)?;
        }
        let fuel = bounds::fuel(chat);
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let rendered = bounds::apart(bounds::render_stack_bytes(fuel), || {
            let context = context(chat, &messages, tokens, &marker);
            let template = environment.get_template(name).map_err(|e| failure(&e, fuel))?;
            template.render(context).map_err(|e| failure(&e, fuel))
        });
        let mut text = rendered.unwrap_or_else(|why| Err(ChatError::Failed(why)))?;
        if chat.continue_final_message {
            let end = text.rfind(CONTINUED.trim_end()).ok_or_else(|| {
                ChatError::Failed("it leaves out the end of the last message, which is to be continued".to_owned())
            })?;
            let is_blank_kept = text[end..].starts_with(CONTINUED);
            text.truncate(end);
            if !is_blank_kept {
                text.truncate(text.trim_end_matches(crate::task::tokenizer::is_python_space).len());
            }
        }
        if text.len() > MAX_TEXT_BYTES {
            return Err(ChatError::TooLarge { bytes: text.len() });
        }
        Ok(marker.take_out(&text))
    }
}

fn context(chat: &Chat<'_>, messages: &[serde_json::Value], tokens: &ChatTokens, marker: &Marker) -> Value {
    let list = |values: &[serde_json::Value]| values.iter().map(|v| data::value(v, marker)).collect::<Vec<_>>();
    let optional = |values: Option<&[serde_json::Value]>| values.map_or(Value::from(()), |v| Value::from(list(v)));
    let moment = Moment::from_wall_secs(chat.wall_secs);
    let mut pairs = vec![
        ("messages".to_owned(), Value::from(list(messages))),
        ("tools".to_owned(), optional(chat.tools)),
        ("documents".to_owned(), optional(chat.documents)),
        ("add_generation_prompt".to_owned(), Value::from(chat.add_generation_prompt)),
        ("strftime_now".to_owned(), Value::from_function(move |format: &str| moment.format(format))),
    ];
    pairs.extend(tokens.named.iter().map(|(name, text)| (name.clone(), Value::from(text.as_str()))));
    if !tokens.additional.is_empty() {
        let additional = tokens.additional.iter().map(|t| Value::from(t.as_str())).collect::<Vec<_>>();
        pairs.push(("additional_special_tokens".to_owned(), Value::from(additional)));
    }
    for (name, value) in chat.variables.into_iter().flatten() {
        pairs.retain(|(n, _)| n != name);
        pairs.push((name.clone(), data::value(value, marker)));
    }
    Value::from_pairs(pairs)
}

/// Puts the tag behind the last text of the last message.
fn leave_open(messages: &mut [serde_json::Value]) -> Result<(), ChatError> {
    let content = messages.last_mut().and_then(|message| message.get_mut("content"));
    let text = match content {
        Some(serde_json::Value::Array(parts)) => parts.iter_mut().rev().find_map(|part| part.get_mut("text")),
        content => content,
    };
    match text {
        Some(serde_json::Value::String(text)) => {
            text.push_str(CONTINUED);
            Ok(())
        }
        _ => Err(ChatError::Failed("the last message, which is to be continued, has no text".to_owned())),
    }
}

fn failure(error: &minijinja::Error, fuel: u64) -> ChatError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(now) = cause {
        if let Some(environment::Refusal(message)) = now.downcast_ref() {
            return ChatError::Refused(message.clone());
        }
        if now.downcast_ref::<minijinja::Error>().is_some_and(|e| e.kind() == ErrorKind::OutOfFuel) {
            return ChatError::Endless { steps: fuel };
        }
        cause = now.source();
    }
    ChatError::Failed(describe(error))
}

/// One line: what, and where.
fn describe(error: &minijinja::Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
    error.line().map_or_else(|| what.clone(), |line| format!("{what} (line {line})"))
}
