//! `generate` and `chat`: a request's prompt as ids, and the answer as it goes out.

use std::time::Duration;

use linnet_proto::generate::{GenerateInput, GenerateRequest, Generated, ToolChoice};
use linnet_proto::{ErrorCode, WireError};

use super::writer::{Asked, Writer};
use super::{chat, infill, refused, tools};
use crate::job::Part;
use crate::task::TaskContext;
use crate::task::tokenizer::Encode;

/// A prompt ready to be written behind.
pub(super) struct Ready {
    pub(super) ids: Vec<u32>,
    /// First ids that a sliding context keeps.
    pub(super) protected: usize,
    /// As it was written.
    pub(super) text: Option<String>,
}

pub(super) fn generate(
    writer: &mut Writer,
    request: &GenerateRequest,
    ctx: &TaskContext,
) -> Result<Generated, WireError> {
    request.check()?;
    let mut options = request.options.clone();
    let ready = prompt(writer, request)?;
    let shared = std::sync::Arc::clone(&writer.shared);
    if let Some(language) = options.target_language.as_deref().filter(|_| shared.config.is_encoder_decoder) {
        let id = shared.tokenizer()?.language_id(language).map_err(|e| refused(&e).with_param("target_language"))?;
        options.forced_prefix.insert(0, id);
    }
    let calls = match &request.input {
        GenerateInput::Chat(chat) if !chat.tools.is_empty() && chat.tool_choice != ToolChoice::None => Some(chat),
        _ => None,
    };
    if let Some(chat) = calls {
        tools::constrain(chat, &mut options)?;
    }
    let prompt_tokens = ready.ids.len() as u64;
    let prompt_token_ids = options.return_token_ids.then(|| ready.ids.clone());
    // A call is only known as one when it is whole.
    let streams = request.stream && calls.is_none();
    let asked = Asked { options: &options, protected: ready.protected, text: ready.text };
    let mut outcome = writer.write(&ready.ids, asked, ctx, &mut |delta| {
        if streams { ctx.emit(Part::Delta(delta)) } else { Ok(()) }
    })?;
    if let Some(chat) = calls {
        outcome.choices.iter_mut().for_each(|choice| tools::read_calls(chat, choice));
    }
    Ok(Generated {
        choices: outcome.choices,
        prompt_token_ids,
        prompt_logprobs: outcome.prompt_logprobs,
        model: shared.name.clone(),
        prompt_tokens,
        cached_tokens: outcome.cached_tokens,
        completion_tokens: outcome.completion_tokens,
        queue_ms: ms(ctx.queued()),
        prefill_ms: ms(outcome.prefill),
        decode_ms: ms(outcome.decode),
    })
}

fn prompt(writer: &Writer, request: &GenerateRequest) -> Result<Ready, WireError> {
    let shared = &writer.shared;
    let plain = |ids: Vec<u32>| Ready { ids, protected: 0, text: None };
    match &request.input {
        GenerateInput::Tokens(ids) => {
            let most = shared.config.vocabulary;
            match ids.iter().find(|id| **id as usize >= most) {
                Some(id) => {
                    let message =
                        format!("the prompt holds the token {id}, but the model's vocabulary ends at {}", most - 1);
                    Err(WireError::new(ErrorCode::InvalidRequest, message).with_param("prompt"))
                }
                None => Ok(plain(ids.clone())),
            }
        }
        GenerateInput::Text(text) => {
            let how = Encode {
                allow_special_in_text: request.options.allow_special_tokens,
                source_lang: request.options.source_language.as_deref(),
                target_lang: request.options.target_language.as_deref(),
                ..Encode::default()
            };
            let encoded = shared.tokenizer()?.encode(text, how).map_err(|e| refused(&e))?;
            Ok(Ready { ids: encoded.ids, protected: 1, text: Some(text.clone()) })
        }
        GenerateInput::Infill { prefix, suffix } => Ok(plain(infill::prompt(shared, prefix, suffix)?)),
        GenerateInput::Chat(conversation) => chat::prompt(shared, conversation),
    }
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
