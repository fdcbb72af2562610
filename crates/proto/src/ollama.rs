//! Ollama's requests and answers (<https://docs.ollama.com/api>): `/api/generate`, `/api/chat`, `/api/embed`, `/api/tags`,
//! `/api/show`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::check::list_within;
use crate::fields::{Fields, wrong};
use crate::generate::{
    Chat, Constraint, Content, DecodeOptions, FinishReason, FunctionCall, GenerateInput, GenerateRequest, Generated,
    Message, ToolCall,
};
use crate::openai::chat::MAX_MESSAGES;
use crate::text::{EmbedRequest, Inputs};
use crate::{ErrorCode, WireError};

/// Options of Ollama's that say how a model is loaded, which is the daemon's own concern here.
const OF_LOADING: &[&str] = &[
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "num_keep",
    "low_vram",
    "f16_kv",
    "vocab_only",
    "use_mmap",
    "use_mlock",
    "numa",
    "logits_all",
    "penalize_newline",
    "repeat_last_n",
    "tfs_z",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "draft_num_predict",
];

/// A generation, read.
#[derive(Debug, Clone, PartialEq)]
pub struct OllamaRequest {
    /// The job. Its prompt is [`GenerateInput::Text`] only where `raw` asked for it.
    pub job: GenerateRequest,
    /// Line by line, which is Ollama's default.
    pub stream: bool,
    /// Members that did nothing.
    pub without_effect: Vec<&'static str>,
}

/// Ollama's names of models may end in `:latest`, which says nothing here.
pub fn model_name(name: &str) -> &str {
    name.strip_suffix(":latest").unwrap_or(name)
}

fn model(fields: &mut Fields) -> Result<Option<String>, WireError> {
    Ok(fields.text("model")?.map(|name| model_name(&name).to_owned()))
}

/// Reads the body of `/api/generate`. Without `raw` the prompt is a conversation of one message, which the model's template lays
/// out, as Ollama has it; `suffix` asks for what stands between.
pub fn read_generate(body: Map<String, Value>) -> Result<OllamaRequest, WireError> {
    let mut fields = Fields::new(body);
    let model = model(&mut fields)?;
    let prompt = fields.text("prompt")?.unwrap_or_default();
    let system = fields.text("system")?;
    let raw = fields.switch("raw")?.unwrap_or_default();
    let input = match fields.text("suffix")?.filter(|suffix| !suffix.is_empty()) {
        Some(suffix) => GenerateInput::Infill { prefix: prompt, suffix },
        None if raw => GenerateInput::Text(prompt),
        None => {
            let said = |role: &str, text| Message {
                role: role.to_owned(),
                content: Content::Text(text),
                ..Message::default()
            };
            let messages = system.map(|text| said("system", text)).into_iter().chain([said("user", prompt)]);
            GenerateInput::Chat(Chat { messages: messages.collect(), ..Chat::default() })
        }
    };
    for unread in ["images", "template"] {
        refuse(&mut fields, unread)?;
    }
    fields.pass_over(&["context"]);
    finish(fields, model, input)
}

/// Reads the body of `/api/chat`.
pub fn read_chat(body: Map<String, Value>) -> Result<OllamaRequest, WireError> {
    let mut fields = Fields::new(body);
    let model = model(&mut fields)?;
    let items = fields.list("messages")?;
    list_within("messages", items.len(), MAX_MESSAGES)?;
    let messages = items.into_iter().enumerate().map(|(at, item)| message(item, &format!("messages[{at}]")));
    let messages = messages.collect::<Result<_, _>>()?;
    let tools = fields.list("tools")?;
    let input = GenerateInput::Chat(Chat { messages, tools, ..Chat::default() });
    finish(fields, model, input)
}

fn refuse(fields: &mut Fields, name: &str) -> Result<(), WireError> {
    match fields.take(name) {
        Some(Value::Array(items)) if items.is_empty() => Ok(()),
        Some(Value::String(text)) if text.is_empty() => Ok(()),
        None => Ok(()),
        Some(_) => {
            let path = fields.path(name);
            let message = format!("{path} is not read here; leave it out");
            Err(WireError::new(ErrorCode::InvalidOption, message).with_param(path))
        }
    }
}

fn message(value: Value, place: &str) -> Result<Message, WireError> {
    let mut fields = Fields::inner(value, place)?;
    let role = fields.needed_text("role")?;
    let content = fields.text("content")?.unwrap_or_default();
    refuse(&mut fields, "images")?;
    let mut tool_calls = Vec::new();
    for (at, call) in fields.list("tool_calls")?.into_iter().enumerate() {
        let mut call = Fields::inner(call, format!("{place}.tool_calls[{at}]"))?;
        let id = call.text("id")?.unwrap_or_default();
        call.take("type");
        let function = call.take("function").ok_or_else(|| call.missing("function"))?;
        let mut function = Fields::inner(function, call.path("function"))?;
        function.take("index");
        let name = function.needed_text("name")?;
        let arguments = Value::Object(function.object("arguments")?).to_string();
        function.finish()?;
        call.finish()?;
        tool_calls.push(ToolCall { id, kind: "function".to_owned(), function: FunctionCall { name, arguments } });
    }
    let name = fields.text("tool_name")?;
    let name = fields.text("name")?.or(name);
    let tool_call_id = fields.text("tool_call_id")?;
    fields.take("thinking");
    fields.finish()?;
    Ok(Message { role, content: Content::Text(content), tool_calls, tool_call_id, name })
}

fn finish(mut fields: Fields, model: Option<String>, input: GenerateInput) -> Result<OllamaRequest, WireError> {
    let mut options = match fields.take("options") {
        Some(options) => options_of(Fields::inner(options, "options")?)?,
        None => DecodeOptions::default(),
    };
    options.constraint = match fields.take("format") {
        None => None,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(Value::String(text)) if text == "json" => Some(Constraint::JsonObject),
        Some(schema @ Value::Object(_)) => Some(Constraint::JsonSchema(schema)),
        Some(other) => return Err(wrong("format", &other, "\"json\" or a JSON schema")),
    };
    let stream = fields.switch("stream")?.unwrap_or(true);
    fields.pass_over(&["keep_alive", "think", "logprobs", "top_logprobs", "truncate", "shift"]);
    let without_effect = fields.finish()?;
    let job = GenerateRequest { model, input, options, stream };
    job.check()?;
    Ok(OllamaRequest { job, stream, without_effect })
}

fn options_of(mut fields: Fields) -> Result<DecodeOptions, WireError> {
    // -1 and -2 write to the end.
    let max_tokens = fields.signed("num_predict")?.and_then(|most| u64::try_from(most).ok());
    let options = DecodeOptions {
        max_tokens,
        temperature: fields.number("temperature")?,
        top_k: fields.whole_u32("top_k")?.map(|k| if k == 0 { u32::MAX } else { k }),
        top_p: fields.number("top_p")?,
        min_p: fields.number("min_p")?,
        typical_p: fields.number("typical_p")?,
        seed: fields.signed("seed")?.map(i64::cast_unsigned),
        repetition_penalty: fields.number("repeat_penalty")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        presence_penalty: fields.number("presence_penalty")?,
        stop: fields.texts("stop")?,
        ..DecodeOptions::default()
    };
    for of_loading in OF_LOADING {
        fields.take(of_loading);
    }
    fields.finish()?;
    Ok(options)
}

/// Reads the body of `/api/embed`; the older `/api/embeddings` has `prompt` for `input`.
pub fn read_embed(body: Map<String, Value>) -> Result<(EmbedRequest, Vec<&'static str>), WireError> {
    let mut fields = Fields::new(body);
    let model = model(&mut fields)?;
    let name = if fields.has("prompt") { "prompt" } else { "input" };
    let input = match fields.take(name) {
        Some(Value::String(text)) => Inputs::One(text),
        Some(list @ Value::Array(_)) => {
            Inputs::Many(Fields::new(Map::from_iter([(name.to_owned(), list)])).texts(name)?)
        }
        Some(other) => return Err(wrong(name, &other, "a text or a list of texts")),
        None => return Err(fields.missing("input")),
    };
    let dimensions = fields.whole_u32("dimensions")?;
    fields.pass_over(&["truncate", "options", "keep_alive"]);
    let without_effect = fields.finish()?;
    let job = EmbedRequest { model, input, dimensions, ..EmbedRequest::default() };
    job.check()?;
    Ok((job, without_effect))
}

/// One line of an answer; the whole of it where nothing is streamed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The model that answers.
    pub model: String,
    /// When, RFC 3339.
    pub created_at: String,
    /// What is new, of `/api/generate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// What is new, of `/api/chat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Said>,
    /// Whether this is the last line.
    pub done: bool,
    /// Why it ended: `stop` or `length`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_reason: Option<String>,
    /// What it cost, in the last line.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
}

/// An assistant's message, or the new part of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// Always `assistant`.
    pub role: String,
    /// Its text.
    pub content: String,
    /// The calls that it makes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<Called>,
}

/// A call: its arguments are an object, not a text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Called {
    /// Which function.
    pub function: CalledFunction,
}

/// Name and arguments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CalledFunction {
    /// The function.
    pub name: String,
    /// Its arguments.
    pub arguments: Value,
}

/// Times in nanoseconds and tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// All of it.
    pub total_duration: u64,
    /// Waiting for a worker and for the model.
    pub load_duration: u64,
    /// Tokens of the prompt.
    pub prompt_eval_count: u64,
    /// Reading it.
    pub prompt_eval_duration: u64,
    /// Tokens written.
    pub eval_count: u64,
    /// Writing them.
    pub eval_duration: u64,
}

fn nanoseconds(ms: f64) -> u64 {
    (ms.max(0.0) * 1e6) as u64
}

impl Cost {
    fn of(answer: &Generated) -> Self {
        Self {
            total_duration: nanoseconds(answer.queue_ms + answer.prefill_ms + answer.decode_ms),
            load_duration: nanoseconds(answer.queue_ms),
            prompt_eval_count: answer.prompt_tokens,
            prompt_eval_duration: nanoseconds(answer.prefill_ms),
            eval_count: answer.completion_tokens,
            eval_duration: nanoseconds(answer.decode_ms),
        }
    }
}

impl Line {
    /// A line of new text; `chat` for `/api/chat`.
    pub fn new(chat: bool, model: &str, created_at: String, text: String) -> Self {
        let said = Said { role: "assistant".to_owned(), content: text, tool_calls: Vec::new() };
        let (response, message) = if chat { (None, Some(said)) } else { (Some(said.content), None) };
        Self { model: model.to_owned(), created_at, response, message, ..Self::default() }
    }

    /// The last line, with the text that no line has carried yet.
    pub fn last(chat: bool, created_at: String, answer: &Generated, rest: String) -> Self {
        let mut line = Self::new(chat, &answer.model, created_at, rest);
        let choice = answer.choices.first();
        let calls = choice.map(|choice| choice.tool_calls.as_slice()).unwrap_or_default();
        if let Some(said) = &mut line.message {
            said.tool_calls = calls.iter().map(Called::of).collect();
        }
        let reason = match choice.map(|choice| choice.finish_reason) {
            Some(FinishReason::Length) => "length",
            _ => "stop",
        };
        Self { done: true, done_reason: Some(reason.to_owned()), cost: Some(Cost::of(answer)), ..line }
    }
}

impl Called {
    fn of(call: &ToolCall) -> Self {
        // What is no JSON is handed on as the text that it is.
        let arguments = serde_json::from_str(&call.function.arguments);
        let arguments = arguments.unwrap_or_else(|_| Value::String(call.function.arguments.clone()));
        Self { function: CalledFunction { name: call.function.name.clone(), arguments } }
    }
}

/// Writes the lines of one answer, so that all of them together are the text.
#[derive(Debug)]
pub struct Lines {
    chat: bool,
    model: String,
    /// Bytes of the text that have gone out.
    sent: usize,
}

impl Lines {
    /// The lines of `/api/chat`, or of `/api/generate`.
    pub fn new(chat: bool) -> Self {
        Self { chat, model: String::new(), sent: 0 }
    }

    /// `model` answers.
    pub fn begin(&mut self, model: &str) {
        model.clone_into(&mut self.model);
    }

    /// The line of text that was just written.
    pub fn delta(&mut self, text: String, now: String) -> Line {
        self.sent += text.len();
        Line::new(self.chat, &self.model, now, text)
    }

    /// The last line.
    pub fn done(&self, answer: &Generated, now: String) -> Line {
        let text = answer.choices.first().map_or("", |choice| choice.text.as_str());
        // What went out is the beginning: the rest is what the pipeline kept to the end, or what a slow reader missed.
        Line::last(self.chat, now, answer, text.get(self.sent..).unwrap_or_default().to_owned())
    }
}

/// The answer of `/api/embed`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EmbedAnswer {
    /// The model that answered.
    pub model: String,
    /// The vectors.
    pub embeddings: Vec<Vec<f32>>,
    /// Tokens of the inputs.
    pub prompt_eval_count: u64,
}

/// One model of `/api/tags`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tag {
    /// Its name, with `:latest`.
    pub name: String,
    /// The same.
    pub model: String,
    /// Packages carry no date: the day on which Unix time begins.
    pub modified_at: String,
    /// Memory that its weights take, bytes; 0 while they are not loaded.
    pub size: u64,
    /// Packages have a digest for each file and none for all.
    pub digest: String,
    /// What it is.
    pub details: Details,
}

/// What a model is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// Always empty.
    pub parent_model: String,
    /// Always `onnx`.
    pub format: String,
    /// `model_type`.
    pub family: String,
    /// The same.
    pub families: Vec<String>,
    /// Not known.
    pub parameter_size: String,
    /// Not known.
    pub quantization_level: String,
}

impl Details {
    /// Of a model of `family`.
    pub fn of(family: &str) -> Self {
        Self {
            format: "onnx".to_owned(),
            family: family.to_owned(),
            families: vec![family.to_owned()],
            ..Self::default()
        }
    }
}

/// What Ollama calls the tasks of a model.
pub fn capabilities(tasks: &[String]) -> Vec<&'static str> {
    let does = |task: &str| tasks.iter().any(|t| t == task);
    let mut found = Vec::new();
    if does("generate") || does("chat") {
        found.push("completion");
    }
    if does("chat") {
        found.push("tools");
    }
    if does("embed") {
        found.push("embedding");
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::generate::Choice;

    fn map(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_prompt_is_a_conversation_unless_it_is_raw() {
        let read = |body| read_generate(map(body)).expect("a request");
        let request = read(json!({"model": "m:latest", "prompt": "hello", "system": "Be brief."}));
        assert_eq!((request.job.model.as_deref(), request.stream), (Some("m"), true));
        let GenerateInput::Chat(chat) = request.job.input else { panic!("a chat") };
        assert_eq!(chat.messages.iter().map(|m| m.role.as_str()).collect::<Vec<_>>(), ["system", "user"]);
        let raw = read(json!({"prompt": "hello", "raw": true, "stream": false, "format": "json",
            "options": {"num_predict": 5, "temperature": 0, "num_ctx": 4096, "stop": ["x"], "repeat_penalty": 1.2}}));
        assert_eq!(raw.job.input, GenerateInput::Text("hello".into()));
        assert_eq!(raw.job.options.max_tokens, Some(5));
        assert_eq!(raw.job.options.constraint, Some(Constraint::JsonObject));
        assert!(!raw.stream && !raw.job.stream);
        let infill = read(json!({"prompt": "a", "suffix": "b"}));
        assert!(matches!(infill.job.input, GenerateInput::Infill { .. }));
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        for (body, param) in [
            (json!({"prompt": "x", "images": ["aGk="]}), "images"),
            (json!({"prompt": "x", "frobnicate": 1}), "frobnicate"),
            (json!({"prompt": "x", "options": {"temperature": -1}}), "temperature"),
            (json!({"prompt": "x", "options": {"frobnicate": 1}}), "options.frobnicate"),
            (json!({"prompt": "x", "format": 7}), "format"),
        ] {
            assert_eq!(read_generate(map(body)).expect_err(param).param.as_deref(), Some(param));
        }
        assert_eq!(read_chat(map(json!({"messages": []}))).expect_err("none").param.as_deref(), Some("messages"));
    }

    #[test]
    fn calls_have_their_arguments_as_an_object_both_ways() {
        let call = json!({"function": {"name": "f", "arguments": {"a": 1}}});
        let body = json!({"messages": [{"role": "assistant", "content": "", "tool_calls": [call]}]});
        let request = read_chat(map(body)).expect("a request");
        let GenerateInput::Chat(chat) = &request.job.input else { panic!("a chat") };
        assert_eq!(chat.messages[0].tool_calls[0].function.arguments, r#"{"a":1}"#);
        let choice = Choice { tool_calls: chat.messages[0].tool_calls.clone(), ..Choice::default() };
        let answer = Generated { choices: vec![choice], decode_ms: 1.5, ..Generated::default() };
        let line = serde_json::to_value(Line::last(true, "t".into(), &answer, String::new())).expect("JSON");
        assert_eq!(line["message"]["tool_calls"][0]["function"]["arguments"], json!({"a": 1}));
        assert_eq!((&line["done"], &line["eval_duration"]), (&json!(true), &json!(1_500_000)));
    }
}
