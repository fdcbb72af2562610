use serde_json::{Value, json};

use super::*;
use crate::generate::*;
use crate::{ErrorCode, WireError};

fn map(value: Value) -> serde_json::Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

fn complete(value: Value) -> Result<completions::CompletionRequest, WireError> {
    completions::read(map(value))
}

fn chat(value: Value) -> Result<chat::ChatRequest, WireError> {
    chat::read(map(value))
}

#[test]
fn a_prompt_is_a_text_texts_ids_or_lists_of_ids() {
    let inputs = |prompt: Value| {
        let jobs = complete(json!({"model": "m", "prompt": prompt})).expect("a request").jobs;
        jobs.into_iter().map(|job| job.input).collect::<Vec<_>>()
    };
    let text = |text: &str| GenerateInput::Text(text.into());
    assert_eq!(inputs(json!("a")), [text("a")]);
    assert_eq!(inputs(json!(["a", "b"])), [text("a"), text("b")]);
    assert_eq!(inputs(json!([1, 2])), [GenerateInput::Tokens(vec![1, 2])]);
    assert_eq!(inputs(json!([[1], [2, 3]])), [GenerateInput::Tokens(vec![1]), GenerateInput::Tokens(vec![2, 3])]);
    let infill = complete(json!({"prompt": "def f(", "suffix": "return 1"})).expect("a request");
    assert_eq!(infill.jobs[0].input, GenerateInput::Infill { prefix: "def f(".into(), suffix: "return 1".into() });
    for bad in [json!([]), json!([[]]), json!(7), json!([1, "a"]), json!([[1], "a", 3]), json!([-1]), json!({"a": 1})] {
        let e = complete(json!({"prompt": bad})).expect_err("a refusal");
        assert_eq!(e.param.as_deref(), Some("prompt"), "{e}");
    }
    assert_eq!(complete(json!({"model": "m"})).expect_err("none").param.as_deref(), Some("prompt"));
    assert!(complete(json!({"prompt": vec!["x"; MAX_PROMPTS + 1]})).is_err());
}

#[test]
fn every_option_of_a_completion_reaches_its_job() {
    let request = complete(json!({
        "model": "m", "prompt": "x", "max_tokens": 7, "min_tokens": 1, "temperature": 0.5, "top_k": 3, "top_p": 0.9,
        "min_p": 0.1, "typical_p": 0.8, "repetition_penalty": 1.1, "frequency_penalty": 0.5, "presence_penalty": -0.5,
        "no_repeat_ngram_size": 2, "logit_bias": {"5": -100}, "bad_words": ["b"], "seed": -1, "num_beams": 2,
        "length_penalty": 1.5, "early_stopping": true, "n": 2, "best_of": 2, "stop": ["\n"], "stop_token_ids": [4],
        "ignore_eos": true, "logprobs": 3, "echo": true, "return_token_ids": true, "skip_special_tokens": false,
        "allow_special_tokens": true, "guided_regex": "a+", "overflow": "slide", "explain": true, "forced_prefix": [9],
        "source_language": "en", "target_language": "de", "stream": true, "stream_options": {"include_usage": true},
        "user": "me"
    }))
    .expect("a request");
    let wanted = DecodeOptions {
        max_tokens: Some(7),
        min_tokens: Some(1),
        temperature: Some(0.5),
        top_k: Some(3),
        top_p: Some(0.9),
        min_p: Some(0.1),
        typical_p: Some(0.8),
        repetition_penalty: Some(1.1),
        frequency_penalty: Some(0.5),
        presence_penalty: Some(-0.5),
        no_repeat_ngram_size: Some(2),
        logit_bias: [(5, -100.0)].into(),
        bad_words: vec!["b".into()],
        seed: Some(u64::MAX),
        num_beams: Some(2),
        length_penalty: Some(1.5),
        early_stopping: Some(true),
        n: Some(2),
        stop: vec!["\n".into()],
        stop_token_ids: vec![4],
        ignore_eos: true,
        logprobs: Some(3),
        echo: true,
        return_token_ids: true,
        keep_special_tokens: true,
        allow_special_tokens: true,
        constraint: Some(Constraint::Regex("a+".into())),
        overflow: Overflow::Slide,
        explain: true,
        forced_prefix: vec![9],
        source_language: Some("en".into()),
        target_language: Some("de".into()),
    };
    assert_eq!(request.jobs[0].options, wanted);
    assert_eq!(request.delivery, Delivery { stream: true, include_usage: true, token_ids: true, logprobs: true });
    assert_eq!((request.n, request.without_effect), (2, vec!["user"]));
}

#[test]
fn an_option_outside_its_rule_is_refused_by_name() {
    for (option, value) in [
        ("n", json!(1000)),
        ("n", json!(0)),
        ("max_tokens", json!(1e12)),
        ("max_tokens", json!(-1)),
        ("temperature", json!(-0.1)),
        ("temperature", json!("hot")),
        ("temperature", json!(1e300)),
        ("top_p", json!(1.1)),
        ("top_k", json!(-2)),
        ("logprobs", json!(21)),
        ("logit_bias", json!({"x": 1})),
        ("logit_bias", json!({"1": 101})),
        ("stop", json!(vec!["x"; 17])),
        ("best_of", json!(3)),
        ("frobnicate", json!(1)),
        ("stream_options", json!({"include_usage": true})),
        ("guided_json", json!("{")),
        ("guided_choice", json!([])),
        ("response_format", json!("json")),
    ] {
        let e = complete(json!({"prompt": "x", option: value})).expect_err(option);
        assert_eq!(e.param.as_deref(), Some(option), "{e}");
    }
    let two = json!({"prompt": "x", "guided_regex": "a", "response_format": {"type": "json_object"}});
    assert!(complete(two).expect_err("two constraints").message.contains("send one of them"));
}

#[test]
fn a_conversation_is_read_with_parts_tools_and_schema() {
    let tool = json!({"type": "function", "function": {"name": "light", "parameters": {"type": "object"}}});
    let request = chat(json!({
        "model": "m",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "Listen:"},
                {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
            ]},
            {"role": "assistant", "content": null, "refusal": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "light", "arguments": "{}"}}
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "on"}
        ],
        "tools": [tool], "tool_choice": {"type": "function", "function": {"name": "light"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": {"type": "object"}}},
        "max_completion_tokens": 5, "logprobs": true, "top_logprobs": 2, "chat_template_kwargs": {"enable_thinking": false}
    }))
    .expect("a request");
    let GenerateInput::Chat(conversation) = &request.job.input else { panic!("a chat") };
    assert_eq!(conversation.messages[0].role, "system");
    assert!(matches!(&conversation.messages[1].content, Content::Parts(parts) if parts.len() == 2));
    assert_eq!(conversation.messages[2].tool_calls[0].function.name, "light");
    assert_eq!(conversation.messages[3].tool_call_id.as_deref(), Some("c1"));
    assert_eq!(conversation.tool_choice, ToolChoice::Function("light".into()));
    assert_eq!(conversation.template_variables["enable_thinking"], false);
    let options = &request.job.options;
    assert_eq!((options.max_tokens, options.logprobs), (Some(5), Some(2)));
    assert_eq!(options.constraint, Some(Constraint::JsonSchema(json!({"type": "object"}))));
}

#[test]
fn a_conversation_that_breaks_a_rule_is_refused_with_its_place() {
    let hello = json!([{"role": "user", "content": "hello"}]);
    for (body, param) in [
        (json!({}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": "hello"}), "messages"),
        (json!({"messages": [{"content": "x"}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": 7}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": "x", "mood": "sad"}]}), "messages[0].mood"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}),
            "messages[0].content[0].type",
        ),
        (json!({"messages": hello, "tool_choice": "required"}), "tool_choice"),
        (json!({"messages": hello, "tools": [{"type": "function"}]}), "tools[0].function"),
        (
            json!({"messages": hello, "tools": [{"type": "function", "function": {"name": "a b"}}]}),
            "tools[0].function.name",
        ),
        (json!({"messages": hello, "top_logprobs": 3}), "top_logprobs"),
        (json!({"messages": hello, "modalities": ["text", "audio"]}), "modalities"),
        (json!({"messages": hello, "prompt": "x"}), "prompt"),
        (json!({"messages": hello, "response_format": {"type": "xml"}}), "response_format.type"),
        (json!({"messages": hello, "response_format": {"type": "json_schema"}}), "response_format.json_schema"),
    ] {
        let e = chat(body).expect_err(param);
        assert_eq!(e.param.as_deref(), Some(param), "{e}");
    }
}

fn answer() -> Generated {
    let logprob =
        TokenLogprob { id: 5, token: "hi".into(), bytes: b"hi".to_vec(), logprob: -0.5, ..Default::default() };
    Generated {
        choices: vec![
            Choice { text: "hi".into(), token_ids: Some(vec![5]), logprobs: vec![logprob], ..Choice::default() },
            Choice { index: 1, text: "ho".into(), finish_reason: FinishReason::Length, ..Choice::default() },
        ],
        prompt_token_ids: Some(vec![1, 2]),
        model: "m".into(),
        prompt_tokens: 2,
        completion_tokens: 2,
        ..Generated::default()
    }
}

#[test]
fn answers_have_openais_shape_with_ids_in_each_choice() {
    let delivery = Delivery { logprobs: true, ..Delivery::default() };
    let head = Head { id: "7".into(), created: 1 };
    let whole = Completion::of(&head, delivery, 2, vec![answer(), answer()]);
    let body = serde_json::to_value(&whole).expect("JSON");
    assert_eq!(body["object"], "text_completion");
    assert_eq!(body["choices"][3]["index"], 3);
    assert_eq!(body["choices"][2]["prompt_token_ids"], json!([1, 2]));
    assert_eq!(body["choices"][0]["token_ids"], json!([5]));
    assert_eq!(body["choices"][0]["logprobs"]["token_logprobs"], json!([-0.5]));
    assert_eq!(body["choices"][1]["finish_reason"], "length");
    assert_eq!(body["usage"]["total_tokens"], 8);

    let body = serde_json::to_value(ChatCompletion::of(&head, delivery, answer())).expect("JSON");
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["choices"][0]["message"], json!({"role": "assistant", "content": "hi", "refusal": null}));
    assert_eq!(body["choices"][0]["logprobs"]["content"][0]["bytes"], json!([104, 105]));
}

fn joined(events: &[String], at: fn(&Value) -> &Value) -> String {
    let texts = events.iter().filter(|e| *e != DONE).map(|e| serde_json::from_str::<Value>(e).expect("JSON"));
    texts.filter_map(|event| at(&event).as_str().map(str::to_owned)).collect()
}

#[test]
fn the_deltas_of_a_stream_are_the_text_whatever_was_sent_early() {
    let head = Head { id: "7".into(), created: 1 };
    let one =
        Generated { choices: vec![Choice { text: "héllo".into(), ..Choice::default() }], ..Generated::default() };
    for early in [&[][..], &["h"], &["hé", "llo"]] {
        let mut chat = Events::of_chat(head.clone(), Delivery { include_usage: true, ..Delivery::default() });
        let mut events = Vec::new();
        chat.begin("m");
        for text in early {
            events.extend(chat.delta(Delta { text: (*text).into(), ..Delta::default() }).expect("JSON"));
        }
        events.extend(chat.done(one.clone()).expect("JSON"));
        events.extend(chat.end().expect("JSON"));
        assert_eq!(joined(&events, |e| &e["choices"][0]["delta"]["content"]), "héllo");
        assert_eq!(joined(&events, |e| &e["choices"][0]["delta"]["role"]), "assistant");
        assert_eq!(events.last().map(String::as_str), Some(DONE));
        let usage: Value = serde_json::from_str(&events[events.len() - 2]).expect("JSON");
        assert_eq!((&usage["choices"], &usage["usage"]["prompt_tokens"]), (&json!([]), &json!(0)));
    }
}

#[test]
fn a_stream_of_two_prompts_numbers_its_choices_through() {
    let mut completion = Events::of_completion(Head::default(), Delivery::default(), 2);
    let mut numbers = Vec::new();
    for _ in 0..2 {
        completion.begin("m");
        for event in completion.done(answer()).expect("JSON") {
            let event: Completion = serde_json::from_str(&event).expect("a completion");
            numbers.push(event.choices[0].index);
        }
    }
    // The text of a choice and its end are an event each.
    numbers.dedup();
    assert_eq!(numbers, [0, 1, 2, 3]);
}

#[test]
fn tool_calls_come_whole_in_one_event() {
    let call = ToolCall {
        id: "c".into(),
        kind: "function".into(),
        function: FunctionCall { name: "f".into(), arguments: "{}".into() },
    };
    let choice = Choice { tool_calls: vec![call], finish_reason: FinishReason::ToolCalls, ..Choice::default() };
    let answer = Generated { choices: vec![choice], ..Generated::default() };
    let mut chat = Events::of_chat(Head::default(), Delivery::default());
    chat.begin("m");
    let events: Vec<Value> =
        chat.done(answer.clone()).expect("JSON").iter().map(|e| serde_json::from_str(e).expect("JSON")).collect();
    let call = &events[1]["choices"][0]["delta"]["tool_calls"][0];
    assert_eq!((&call["index"], &call["id"], &call["function"]["name"]), (&json!(0), &json!("c"), &json!("f")));
    assert_eq!(events[2]["choices"][0]["finish_reason"], "tool_calls");
    let whole = ChatCompletion::of(&Head::default(), Delivery::default(), answer);
    assert_eq!(whole.choices[0].message.content, None);
}

#[test]
fn embeddings_take_texts_or_ids_and_give_numbers_or_base64() {
    let read = |input: Value| embeddings::read(map(json!({"model": "m", "input": input, "dimensions": 2})));
    assert_eq!(read(json!("a")).expect("one").job.input, crate::text::Inputs::One("a".into()));
    assert_eq!(read(json!(["a", "b"])).expect("two").job.input.texts().len(), 2);
    assert_eq!(read(json!([1, 2])).expect("ids").job.tokens, [vec![1, 2]]);
    assert_eq!(read(json!([[1], [2]])).expect("lists").job.tokens.len(), 2);
    for bad in [json!([]), json!({}), json!([1, "a"]), json!(["a", 1])] {
        assert_eq!(read(bad).expect_err("a refusal").param.as_deref(), Some("input"));
    }
    let e = embeddings::read(map(json!({"input": "x", "encoding_format": "hex"}))).expect_err("no format");
    assert_eq!((e.code, e.param.as_deref()), (ErrorCode::InvalidOption, Some("encoding_format")));
    let answer = crate::text::Embedded { vectors: vec![vec![1.0, -2.0]], tokens: 3, model: "m".into() };
    let body = serde_json::to_value(embeddings::Embeddings::of(answer.clone(), true)).expect("JSON");
    assert_eq!(body["data"][0]["embedding"], "AACAPwAAAMA=");
    let body = serde_json::to_value(embeddings::Embeddings::of(answer, false)).expect("JSON");
    assert_eq!(body["data"][0]["embedding"], json!([1.0, -2.0]));
    assert_eq!(body["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));
}
