//! Functions that a model may call: the answer is held to their schemas, and calls are read from it.

use linnet_proto::generate::{
    Chat, Choice, Constraint, DecodeOptions, FinishReason, FunctionCall, ToolCall, ToolChoice,
};
use linnet_proto::{ErrorCode, WireError};
use serde_json::{Value, json};

/// Most functions of one request.
const MAX_TOOLS: usize = 128;

/// Holds the answer to a call where one must come.
pub(super) fn constrain(chat: &Chat, options: &mut DecodeOptions) -> Result<(), WireError> {
    let invalid = |param: &str, message: String| WireError::new(ErrorCode::InvalidOption, message).with_param(param);
    if chat.tools.len() > MAX_TOOLS {
        return Err(invalid("tools", format!("tools has {} entries; at most {MAX_TOOLS} are taken", chat.tools.len())));
    }
    let mut schemas = Vec::new();
    for tool in &chat.tools {
        let function = &tool["function"];
        let name = function["name"].as_str().ok_or_else(|| {
            invalid(
                "tools",
                "a tool has no function.name; it is {\"type\":\"function\",\"function\":{\"name\":…}}".into(),
            )
        })?;
        let wanted = match &chat.tool_choice {
            ToolChoice::Function(wanted) => wanted == name,
            _ => true,
        };
        if wanted {
            let parameters = match &function["parameters"] {
                Value::Null => json!({ "type": "object" }),
                schema => schema.clone(),
            };
            schemas.push(json!({
                "type": "object",
                "properties": { "name": { "const": name }, "arguments": parameters },
                "required": ["name", "arguments"],
                "additionalProperties": false,
            }));
        }
    }
    let must = match &chat.tool_choice {
        ToolChoice::Auto | ToolChoice::None => return Ok(()),
        ToolChoice::Required => true,
        ToolChoice::Function(name) => {
            if schemas.is_empty() {
                return Err(invalid(
                    "tool_choice",
                    format!("tool_choice names {name:?}, which is not among the tools"),
                ));
            }
            true
        }
    };
    if must && options.constraint.is_some() {
        return Err(invalid(
            "response_format",
            "an answer that must call a tool cannot have a format of its own".into(),
        ));
    }
    let schema = if schemas.len() == 1 { schemas.remove(0) } else { json!({ "anyOf": schemas }) };
    options.constraint = Some(Constraint::JsonSchema(schema));
    Ok(())
}

/// Reads the calls that an answer makes; an answer that makes none stays as it is.
pub(super) fn read_calls(chat: &Chat, choice: &mut Choice) {
    let (calls, rest) = calls_in(&choice.text);
    let known = |call: &Call| chat.tools.iter().any(|tool| tool["function"]["name"] == call.name.as_str());
    if calls.is_empty() || !calls.iter().all(known) {
        return;
    }
    let index = choice.index;
    choice.tool_calls = calls
        .into_iter()
        .enumerate()
        .map(|(i, call)| ToolCall {
            id: format!("call_{index}_{i}"),
            kind: "function".to_owned(),
            function: FunctionCall { name: call.name, arguments: call.arguments.to_string() },
        })
        .collect();
    choice.text = rest;
    if choice.finish_reason == FinishReason::Stop {
        choice.finish_reason = FinishReason::ToolCalls;
    }
}

struct Call {
    name: String,
    arguments: Value,
}

/// The forms that models are trained on, each with what it begins and ends by.
const FORMS: [(&str, &str); 4] = [
    ("<tool_call>", "</tool_call>"),
    ("[TOOL_CALLS]", ""),
    ("<|python_tag|>", ""),
    ("<function_call>", "</function_call>"),
];

/// Calls in a text, and the text without them.
fn calls_in(text: &str) -> (Vec<Call>, String) {
    for (begin, end) in FORMS {
        if !text.contains(begin) {
            continue;
        }
        let (mut calls, mut rest) = (Vec::new(), String::new());
        let mut left = text;
        while let Some(at) = left.find(begin) {
            rest.push_str(&left[..at]);
            let inner = &left[at + begin.len()..];
            let stop = if end.is_empty() { inner.len() } else { inner.find(end).unwrap_or(inner.len()) };
            calls.extend(parse(&inner[..stop]));
            left = inner.get(stop + end.len()..).unwrap_or_default();
        }
        rest.push_str(left);
        return (calls, rest.trim().to_owned());
    }
    // An answer that is held to a schema, and Llama's, is the call alone.
    match parse(text.trim()) {
        calls if calls.is_empty() => (Vec::new(), text.to_owned()),
        calls => (calls, String::new()),
    }
}

/// One call, or a list of them.
fn parse(text: &str) -> Vec<Call> {
    let call = |value: &Value| {
        let arguments = ["arguments", "parameters"].iter().find_map(|key| value.get(key))?;
        Some(Call { name: value["name"].as_str()?.to_owned(), arguments: arguments.clone() })
    };
    match serde_json::from_str::<Value>(text.trim()) {
        Ok(Value::Array(values)) => values.iter().filter_map(call).collect(),
        Ok(value) => call(&value).into_iter().collect(),
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(choice: ToolChoice) -> Chat {
        let tool = |name: &str| {
            json!({ "type": "function", "function": { "name": name, "parameters": {
                "type": "object", "properties": { "on": { "type": "boolean" } }, "required": ["on"] } } })
        };
        Chat { tools: vec![tool("light"), tool("fan")], tool_choice: choice, ..Chat::default() }
    }

    fn read(text: &str) -> Choice {
        let mut choice = Choice { text: text.to_owned(), ..Choice::default() };
        read_calls(&chat(ToolChoice::Auto), &mut choice);
        choice
    }

    #[test]
    fn calls_are_read_in_every_form_that_models_write() {
        for text in [
            "Sure.<tool_call>\n{\"name\": \"light\", \"arguments\": {\"on\": true}}\n</tool_call>",
            "[TOOL_CALLS] [{\"name\": \"light\", \"arguments\": {\"on\": true}}]",
            "{\"name\": \"light\", \"parameters\": {\"on\": true}}",
        ] {
            let choice = read(text);
            assert_eq!(choice.tool_calls.len(), 1, "{text}");
            assert_eq!(choice.tool_calls[0].function.arguments, "{\"on\":true}");
            assert_eq!(choice.finish_reason, FinishReason::ToolCalls);
        }
        assert_eq!(read("Sure.<tool_call>{\"name\": \"light\", \"arguments\": {}}</tool_call>").text, "Sure.");
    }

    #[test]
    fn a_text_that_calls_nothing_or_nobody_known_stays_a_text() {
        for text in
            ["hello", "{\"a\": 1}", "<tool_call>{\"name\": \"door\", \"arguments\": {}}</tool_call>", "<tool_call>{"]
        {
            let choice = read(text);
            assert!(choice.tool_calls.is_empty() && choice.text == text, "{text}");
        }
    }

    #[test]
    fn an_answer_that_must_call_is_held_to_the_schemas() {
        let constrained = |choice| {
            let mut options = DecodeOptions::default();
            constrain(&chat(choice), &mut options).map(|()| options.constraint)
        };
        assert_eq!(constrained(ToolChoice::Auto), Ok(None));
        let Ok(Some(Constraint::JsonSchema(all))) = constrained(ToolChoice::Required) else { panic!("a schema") };
        assert_eq!(all["anyOf"].as_array().map(Vec::len), Some(2));
        let Ok(Some(Constraint::JsonSchema(one))) = constrained(ToolChoice::Function("fan".into())) else {
            panic!("a schema")
        };
        assert_eq!(one["properties"]["name"]["const"], "fan");
        assert!(constrained(ToolChoice::Function("door".into())).is_err());
    }
}
