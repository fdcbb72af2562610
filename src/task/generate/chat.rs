//! Conversations as prompts, by the model's chat template. What somebody said never becomes a control token.

use std::path::Path;
use std::sync::Arc;

use linnet_proto::generate::{Chat, Content, ContentPart, Message, ToolChoice};
use linnet_proto::{ErrorCode, WireError};
use serde_json::{Map, Value, json};

use super::request::Ready;
use super::{Shared, refused};
use crate::sys::clock;
use crate::task::chat::{self, ChatError, ChatTemplate, ChatTokens};
use crate::task::tokenizer::{Encode, TextTokenizer};

/// Most messages of a conversation.
const MAX_MESSAGES: usize = 1024;

/// A package's template, and what of its tokenizer the template is told.
#[derive(Debug)]
pub(super) struct Template {
    template: ChatTemplate,
    tokens: ChatTokens,
}

impl Template {
    /// The template of a package; `None` where it has none.
    pub(super) fn load(dir: &Path, tokenizer: &TextTokenizer) -> Result<Option<Self>, String> {
        let template = ChatTemplate::load(dir)?;
        Ok(template.map(|template| Self { template, tokens: ChatTokens::of(tokenizer) }))
    }
}

/// The ids of a conversation, with the beginning of the answer.
pub(super) fn prompt(shared: &Arc<Shared>, conversation: &Chat) -> Result<Ready, WireError> {
    let Some(Template { template, tokens }) = &shared.template else {
        let message = format!("the model {} has no chat template; use it with /v1/completions", shared.name);
        return Err(WireError::new(ErrorCode::UnsupportedTask, message).with_param("model"));
    };
    if conversation.messages.len() > MAX_MESSAGES {
        let message = format!("messages has {} entries; at most {MAX_MESSAGES} are taken", conversation.messages.len());
        return Err(WireError::new(ErrorCode::InvalidOption, message).with_param("messages"));
    }
    let messages = conversation.messages.iter().map(message).collect::<Result<Vec<_>, _>>()?;
    let has_tools = !conversation.tools.is_empty() && conversation.tool_choice != ToolChoice::None;
    let render = |messages: &[Value]| {
        let chat = chat::Chat {
            tools: has_tools.then_some(conversation.tools.as_slice()),
            variables: Some(&conversation.template_variables),
            wall_secs: clock::since_epoch().as_secs(),
            ..chat::Chat::new(messages)
        };
        template.render(&chat, tokens).map_err(of_template)
    };
    let rendered = render(&messages)?;
    let how = Encode { add_special: false, ..Encode::default() };
    let encode = |prompt: &chat::Prompt| {
        let encoded = shared.tokenizer()?.encode_guarded(&prompt.text, &prompt.guards, how);
        encoded.map(|encoded| encoded.ids).map_err(|e| refused(&e).with_param("messages"))
    };
    let ids = encode(&rendered)?;
    // A sliding context keeps the instructions.
    let instructions: Vec<Value> = messages.iter().take_while(|m| m["role"] == "system").cloned().collect();
    let protected = match instructions.is_empty() {
        true => 1,
        // A template that wants a user's message has no text for instructions alone: then the beginning is enough.
        false => render(&instructions).and_then(|prompt| encode(&prompt)).map_or(1, |ids| ids.len()),
    };
    Ok(Ready { ids, protected, text: Some(rendered.text) })
}

/// A message as templates know it.
fn message(own: &Message) -> Result<Value, WireError> {
    let content = match &own.content {
        Content::Text(text) => Value::from(text.as_str()),
        Content::Empty => Value::Null,
        Content::Parts(parts) => {
            let texts = parts.iter().map(|part| match part {
                ContentPart::Text { text } => Ok(text.as_str()),
                ContentPart::InputAudio { .. } => {
                    let message =
                        "a message holds audio, which is transcribed before it comes here; no speech model serves";
                    Err(WireError::new(ErrorCode::UnsupportedTask, message).with_param("messages"))
                }
            });
            // Templates of text models want a text.
            Value::from(texts.collect::<Result<Vec<_>, _>>()?.concat())
        }
    };
    let mut message = Map::new();
    message.insert("role".to_owned(), Value::from(own.role.as_str()));
    message.insert("content".to_owned(), content);
    if !own.tool_calls.is_empty() {
        let calls = own.tool_calls.iter().map(|call| {
            // transformers hands templates the arguments as an object.
            let arguments = serde_json::from_str(&call.function.arguments)
                .unwrap_or_else(|_| Value::from(call.function.arguments.as_str()));
            json!({ "id": call.id, "type": call.kind, "function": { "name": call.function.name, "arguments": arguments } })
        });
        message.insert("tool_calls".to_owned(), calls.collect());
    }
    for (key, value) in [("tool_call_id", &own.tool_call_id), ("name", &own.name)] {
        if let Some(value) = value {
            message.insert(key.to_owned(), Value::from(value.as_str()));
        }
    }
    Ok(Value::Object(message))
}

fn of_template(error: ChatError) -> WireError {
    let code = match &error {
        ChatError::TooLarge { .. } => ErrorCode::TooLarge,
        ChatError::Refused(_) | ChatError::Unmarkable => ErrorCode::InvalidRequest,
        ChatError::Failed(_) | ChatError::Endless { .. } => ErrorCode::ModelFailed,
    };
    WireError::new(code, error.to_string()).with_param("messages")
}
