//! `POST /v1/chat/completions` (<https://platform.openai.com/docs/api-reference/chat>): the request.

use serde_json::{Map, Value};

use super::completions::delivery;
use super::{Delivery, options};
use crate::check::list_within;
use crate::fields::{Fields, wrong};
use crate::generate::{
    Chat, Content, ContentPart, FunctionCall, GenerateInput, GenerateRequest, InputAudio, MAX_CONSTRAINT_BYTES,
    Message, ToolCall, ToolChoice,
};
use crate::{ErrorCode, WireError};

/// Most messages of a conversation.
pub const MAX_MESSAGES: usize = 4096;
/// Most tools of a request, as OpenAI has it.
pub const MAX_TOOLS: usize = 128;
/// Longest name of a function, bytes, as OpenAI has it.
const MAX_FUNCTION_NAME_BYTES: usize = 64;

/// A request, read.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The job.
    pub job: GenerateRequest,
    /// How the answer goes out.
    pub delivery: Delivery,
    /// Members that did nothing.
    pub without_effect: Vec<&'static str>,
}

/// Reads a body.
pub fn read(body: Map<String, Value>) -> Result<ChatRequest, WireError> {
    let mut fields = Fields::new(body);
    let model = fields.text("model")?;
    let messages = messages(&mut fields)?;
    let tools = tools(&mut fields)?;
    let tool_choice = tool_choice(&mut fields, &tools)?;
    let template_variables = fields.object("chat_template_kwargs")?;
    let mut options = options::read(&mut fields)?;
    if let Some(most) = fields.whole("max_completion_tokens")? {
        options.max_tokens = Some(most);
    }
    let logprobs = fields.switch("logprobs")?.unwrap_or_default();
    let top = fields.whole_u32("top_logprobs")?;
    if top.is_some_and(|top| top > 0) && !logprobs {
        let message = "top_logprobs goes with logprobs: true";
        return Err(WireError::new(ErrorCode::InvalidOption, message).with_param("top_logprobs"));
    }
    let logprobs = logprobs || options.explain;
    options.logprobs = logprobs.then(|| top.unwrap_or_default());
    let delivery = delivery(&mut fields, options.return_token_ids, logprobs)?;
    if fields.texts("modalities")?.iter().any(|modality| modality != "text") {
        let message = "modalities may hold text alone: nothing here speaks";
        return Err(WireError::new(ErrorCode::InvalidOption, message).with_param("modalities"));
    }
    fields.pass_over(options::WITHOUT_EFFECT);
    let without_effect = fields.finish()?;
    let input = GenerateInput::Chat(Chat { messages, tools, tool_choice, template_variables });
    let job = GenerateRequest { model, input, options, stream: delivery.stream };
    job.check()?;
    Ok(ChatRequest { job, delivery, without_effect })
}

fn messages(fields: &mut Fields) -> Result<Vec<Message>, WireError> {
    let Some(value) = fields.take("messages") else { return Err(fields.missing("messages")) };
    let Value::Array(items) = value else { return Err(wrong("messages", &value, "a list of messages")) };
    list_within("messages", items.len(), MAX_MESSAGES)?;
    items.into_iter().enumerate().map(|(at, item)| message(item, &format!("messages[{at}]"))).collect()
}

fn message(value: Value, place: &str) -> Result<Message, WireError> {
    let mut fields = Fields::inner(value, place)?;
    let role = match fields.needed_text("role")? {
        // What newer models of OpenAI call the system's.
        role if role == "developer" => "system".to_owned(),
        role => role,
    };
    let content = content(&mut fields)?;
    let mut tool_calls = Vec::new();
    for (at, call) in fields.list("tool_calls")?.into_iter().enumerate() {
        tool_calls.push(tool_call(call, &format!("{place}.tool_calls[{at}]"))?);
    }
    let message =
        Message { role, content, tool_calls, tool_call_id: fields.text("tool_call_id")?, name: fields.text("name")? };
    // Members of an answer that comes back as a part of the conversation.
    for of_an_answer in ["refusal", "annotations", "audio", "function_call", "reasoning_content", "reasoning"] {
        fields.take(of_an_answer);
    }
    fields.finish()?;
    if message.content == Content::Empty && message.tool_calls.is_empty() {
        let message = format!("{place} has no content");
        return Err(WireError::new(ErrorCode::InvalidRequest, message).with_param(format!("{place}.content")));
    }
    Ok(message)
}

fn content(fields: &mut Fields) -> Result<Content, WireError> {
    let path = fields.path("content");
    match fields.take("content") {
        None => Ok(Content::Empty),
        Some(Value::String(text)) => Ok(Content::Text(text)),
        Some(Value::Array(items)) => {
            let parts = items.into_iter().enumerate().map(|(at, item)| part(item, &format!("{path}[{at}]")));
            parts.collect::<Result<_, _>>().map(Content::Parts)
        }
        Some(other) => Err(wrong(&path, &other, "a text or a list of parts")),
    }
}

fn part(value: Value, place: &str) -> Result<ContentPart, WireError> {
    let mut fields = Fields::inner(value, place)?;
    let kind = fields.needed_text("type")?;
    let part = match kind.as_str() {
        "text" => ContentPart::Text { text: fields.needed_text("text")? },
        "refusal" => ContentPart::Text { text: fields.needed_text("refusal")? },
        "input_audio" => {
            let inner = fields.take("input_audio").ok_or_else(|| fields.missing("input_audio"))?;
            let mut inner = Fields::inner(inner, fields.path("input_audio"))?;
            let data = inner.needed_text("data")?;
            let format = inner.text("format")?.unwrap_or_default();
            inner.finish()?;
            ContentPart::InputAudio { input_audio: InputAudio { data, format } }
        }
        _ => {
            let path = fields.path("type");
            let message = format!("{path} must be text or input_audio; pictures and files are not read here");
            return Err(WireError::new(ErrorCode::InvalidOption, message).with_param(path));
        }
    };
    fields.finish()?;
    Ok(part)
}

fn tool_call(value: Value, place: &str) -> Result<ToolCall, WireError> {
    let mut fields = Fields::inner(value, place)?;
    let id = fields.text("id")?.unwrap_or_default();
    fields.word("type", &["function"])?;
    fields.take("index");
    let function = fields.take("function").ok_or_else(|| fields.missing("function"))?;
    let mut function = Fields::inner(function, fields.path("function"))?;
    let name = function.needed_text("name")?;
    let arguments = function.text("arguments")?.unwrap_or_default();
    function.finish()?;
    fields.finish()?;
    Ok(ToolCall { id, kind: "function".to_owned(), function: FunctionCall { name, arguments } })
}

/// Checks what names and bounds need; schemas are the pipeline's to read.
fn tools(fields: &mut Fields) -> Result<Vec<Value>, WireError> {
    let tools = fields.list("tools")?;
    list_within("tools", tools.len(), MAX_TOOLS)?;
    let mut bytes = 0;
    for (at, tool) in tools.iter().enumerate() {
        let place = format!("tools[{at}]");
        bytes += tool.to_string().len();
        let mut outer = Fields::inner(tool.clone(), &*place)?;
        outer.word("type", &["function"])?.ok_or_else(|| outer.missing("type"))?;
        let function = outer.take("function").ok_or_else(|| outer.missing("function"))?;
        outer.finish()?;
        let mut function = Fields::inner(function, format!("{place}.function"))?;
        let name = function.needed_text("name")?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if name.is_empty() || name.len() > MAX_FUNCTION_NAME_BYTES || !name.bytes().all(plain) {
            let path = function.path("name");
            let message = format!("{path} must be 1 to {MAX_FUNCTION_NAME_BYTES} of letters, digits, `_` and `-`");
            return Err(WireError::new(ErrorCode::InvalidOption, message).with_param(path));
        }
        function.text("description")?;
        function.object("parameters")?;
        function.switch("strict")?;
        function.finish()?;
    }
    if bytes > MAX_CONSTRAINT_BYTES {
        let message = format!("tools have {bytes} bytes; at most {MAX_CONSTRAINT_BYTES} are taken");
        return Err(WireError::new(ErrorCode::InvalidOption, message).with_param("tools"));
    }
    Ok(tools)
}

fn tool_choice(fields: &mut Fields, tools: &[Value]) -> Result<ToolChoice, WireError> {
    let choice = match fields.take("tool_choice") {
        None => return Ok(ToolChoice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Required,
            _ => {
                let message = "tool_choice must be auto, none, required, or an object that names a function";
                return Err(WireError::new(ErrorCode::InvalidOption, message).with_param("tool_choice"));
            }
        },
        Some(value) => {
            let mut outer = Fields::inner(value, "tool_choice")?;
            outer.word("type", &["function"])?.ok_or_else(|| outer.missing("type"))?;
            let function = outer.take("function").ok_or_else(|| outer.missing("function"))?;
            outer.finish()?;
            let mut function = Fields::inner(function, "tool_choice.function")?;
            let name = function.needed_text("name")?;
            function.finish()?;
            ToolChoice::Function(name)
        }
    };
    let there = |name: &str| tools.iter().any(|tool| tool["function"]["name"] == *name);
    let refused = match &choice {
        ToolChoice::Required if tools.is_empty() => Some("tool_choice wants a call, but there are no tools"),
        ToolChoice::Function(name) if !there(name) => Some("tool_choice names a function that is not among tools"),
        _ => None,
    };
    match refused {
        Some(message) => Err(WireError::new(ErrorCode::InvalidOption, message).with_param("tool_choice")),
        None => Ok(choice),
    }
}
