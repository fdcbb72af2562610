//! Templates, conversations and packages that are not as they should be.

use super::*;
use std::time::Instant;

#[test]
fn a_template_that_does_too_much_is_stopped() {
    let doubled = |step: &str, print: &str| {
        format!(
            "{{% set ns = namespace(v='x', l=[1]) %}}{{% for i in range(60) %}}{{% set {step} %}}{{% endfor %}}{print}"
        )
    };
    let mut sources: Vec<String> = [
        "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% macro again() %}{{ again() }}{{ again() }}{% endmacro %}{{ again() }}",
        "{{ 'x' * 1000000000 }}",
        "{{ range(100000) | list | string * 10000 }}",
        "{{ 'x'.center(1000000000) }}",
        "{{ ('x' * 100000).join(range(100000) | map('string') | list) }}",
        "{{ 'ab' | indent(1000000000) }}",
        "{{ [1] | tojson(indent=1000000000) }}{% for i in range(100000) %}{{ [[1]] | tojson(indent=60) }}{% endfor %}",
    ]
    .map(str::to_owned)
    .to_vec();
    sources.push(doubled("ns.v = ns.v ~ ns.v", "{{ ns.v }}"));
    sources.push(doubled("ns.v = ns.v.replace('x', 'xx')", "{{ ns.v }}"));
    sources.push(doubled("ns.v = (ns.v ~ ns.v) | tojson", "{{ ns.v }}"));
    for print in ["{{ ns.l | tojson }}", "{{ ns.l }}", "{{ ns.l | string }}"] {
        sources.push(doubled("ns.l = [ns.l, ns.l]", print));
    }
    for source in &sources {
        let begun = Instant::now();
        let error = expression(source).expect_err(source);
        assert!(begun.elapsed().as_secs() < 600, "{source}: {:?}", begun.elapsed());
        let is_stopped = matches!(error, ChatError::Endless { .. } | ChatError::Failed(_) | ChatError::TooLarge { .. });
        assert!(is_stopped, "{source}: {error}");
        assert!(!error.to_string().contains('\n'), "one sentence: {error}");
    }
    let error = expression(&sources[0]).expect_err("stopped").to_string();
    let (before, after) = ("the model's chat template does too much: it was stopped after 50", " steps; does it loop?");
    assert!(error.starts_with(before) && error.ends_with(after), "{error}");
}

#[test]
fn values_that_are_nested_deeply_do_no_harm() {
    // Many levels with each step, as many steps as there are.
    let nest = format!("{}ns.a{}", "[".repeat(60), "]".repeat(60));
    let large: Vec<Value> = (0..20_000).map(|n| json!({"role": "user", "content": n.to_string()})).collect();
    for print in [
        "{{ ns.a }}",
        "{{ ns.a | tojson }}",
        "{{ ns.a ~ '' }}",
        "{{ ns.a == [ns.a] }}",
        "{{ [ns.a, [ns.a]] | sort }}",
        "{{ ns.a | pprint }}",
        "",
    ] {
        for (steps, messages) in [(300, &user("x")), (5000, &large)] {
            let build = format!("{{% for i in range({steps}) %}}{{% set ns.a = {nest} %}}{{% endfor %}}");
            let source = format!("{{% set ns = namespace(a=[1]) %}}{build}{print}done");
            let template = ChatTemplate::from_source(&source).expect("compiled");
            let got = template.render(&Chat::new(messages), &ChatTokens::default());
            assert!(!print.is_empty() || got.is_ok(), "{steps}: {got:?}");
        }
    }
}

#[test]
fn a_template_that_is_nested_deeply_is_read_or_refused() {
    let long = |before: &str, part: &str, after: &str, count: usize| format!("{before}{}{after}", part.repeat(count));
    for count in [500, 900, 5000, 30_000] {
        for source in [
            long("{{ 1", "+1", " }}", count),
            long("{{ a", "[0]", " }}", count),
            long("{{ 'a'", "|e", " }}", count),
            long("{{ ", "not ", "1 }}", count),
            long("{{ ", "1 if 0 else ", "1 }}", count),
            long("{{ ", "(", "1", count) + &long("", ")", " }}", count),
            long("{{ ", "[", "1", count) + &long("", "]", " }}", count),
            long("{% if 0 %}", "{% elif 0 %}", "{% endif %}", count),
            long("", "{% if 1 %}", "", count) + &long("", "{% endif %}", "", count),
            long("{{ ", "{", "", count),
        ] {
            if let Err(error) = ChatTemplate::from_source(&source) {
                assert!(error.starts_with("the chat template \"default\" ") && !error.contains('\n'), "{error}");
            }
        }
    }
    let error = ChatTemplate::from_source(&"x".repeat(65_537)).expect_err("refused");
    assert_eq!(error, "the chat template \"default\" has 65537 bytes; it may have 65536");
    let error =
        ChatTemplate::from_source(&long("{% if 0 %}", "{% elif 0 %}", "{% endif %}", 1001)).expect_err("refused");
    assert_eq!(error, "the chat template \"default\" has 1001 branches by elif; it may have 1000");
}

#[test]
fn a_template_sees_nothing_but_the_conversation() {
    for source in [
        "{{ ''.__class__ }}",
        "{{ messages.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ lipsum.__globals__['os'] }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{{ messages[0].pop('role') }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os.getcwd() }}",
        "{% extends 'x' %}",
        "{{ debug() }}",
    ] {
        match expression(source) {
            Ok(text) => assert_eq!(text, "", "{source}"),
            Err(ChatError::Failed(_)) => {}
            Err(error) => panic!("{source}: {error}"),
        }
    }
}

#[test]
fn a_refusal_is_told_in_the_templates_own_words() {
    let error = expression("{{ raise_exception('Roles must alternate') }}").expect_err("refused");
    assert_eq!(error, ChatError::Refused("Roles must alternate".to_owned()));
    let check = "{% macro check(m) %}{{ raise_exception('no ' ~ m.role) }}{% endmacro %}";
    let nested = format!("{check}{{% for m in messages %}}{{{{ check(m) }}}}{{% endfor %}}");
    assert_eq!(expression(&nested), Err(ChatError::Refused("no user".to_owned())));
}

#[test]
fn a_template_that_cannot_be_read_names_the_line() {
    let error = ChatTemplate::from_source("ok\n{% if %}").expect_err("refused");
    assert!(error.starts_with("the chat template \"default\" cannot be read: "), "{error}");
    assert!(error.ends_with("(line 2)"), "{error}");
    let error = expression("a\n{{ messages[0].content + 1 }}").expect_err("fails").to_string();
    assert!(error.starts_with("the model's chat template fails on the conversation: "), "{error}");
    assert!(error.ends_with("(line 2)"), "{error}");
}

#[test]
fn a_conversation_beyond_the_limit_is_refused_and_a_large_one_is_not() {
    let template = template("chatml");
    let long = "word ".repeat(300_000);
    let error = template.render(&Chat::new(&user(&long)), &ChatTokens::default()).expect_err("refused");
    assert!(matches!(error, ChatError::TooLarge { bytes } if bytes > 1_500_000), "{error}");
    let fits = "word ".repeat(200_000);
    assert!(template.render(&Chat::new(&user(&fits)), &ChatTokens::default()).is_ok());
    // Many turns, with the largest of the templates.
    let turn = |n: usize| {
        let role = if n.is_multiple_of(2) { "user" } else { "assistant" };
        json!({"role": role, "content": "some words of a turn ".repeat(10)})
    };
    let turns: Vec<Value> = (0..1999).map(turn).collect();
    for name in ["qwen3", "llama31", "mistral_v3", "macros"] {
        let got = super::template(name).render(&Chat::new(&turns), &tokens(Some(""), "", &[]));
        assert!(got.is_ok(), "{name}: {:?}", got.err());
    }
}

#[test]
fn odd_conversations_fail_in_one_sentence() {
    let odd = [
        vec![],
        vec![Value::Null],
        vec![json!("text")],
        vec![json!([1])],
        vec![json!({"role": 7, "content": {}})],
        vec![json!({"content": "no role"})],
        vec![json!({"role": "assistant", "tool_calls": [{}]})],
        vec![json!({"role": "user", "content": 7.5})],
    ];
    for name in ["chatml", "qwen3", "llama31", "mistral_v3", "gemma3", "macros"] {
        let template = template(name);
        for messages in &odd {
            for continue_final_message in [false, true] {
                let chat = Chat { continue_final_message, ..Chat::new(messages) };
                if let Err(error) = template.render(&chat, &tokens(Some("<s>"), "</s>", &[])) {
                    assert!(!error.to_string().contains('\n'), "{name}: {error}");
                }
            }
        }
    }
}

#[test]
fn templates_are_found_where_packages_have_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    let load = || ChatTemplate::load(dir.path());
    let none = ChatTokens::default();
    let text = |chat: &Chat<'_>| load().expect("read").expect("there").render(chat, &none).map(|p| p.text);
    let messages = user("x");
    let chat = Chat::new(&messages);
    assert!(load().expect("read").is_none());
    write("tokenizer_config.json", r#"{"chat_template": "config"}"#);
    assert_eq!(text(&chat).as_deref(), Ok("config"));

    let tools = [json!({})];
    let with_tools = Chat { tools: Some(&tools), ..chat };
    let two = r#"[{"name": "default", "template": "one"}, {"name": "tool_use", "template": "two"}]"#;
    write("tokenizer_config.json", &format!(r#"{{"chat_template": {two}}}"#));
    assert_eq!((text(&chat).as_deref(), text(&with_tools).as_deref()), (Ok("one"), Ok("two")));
    let named = load().expect("read").expect("there");
    assert_eq!(named.render_named(Some("tool_use"), &chat, &none).map(|p| p.text).as_deref(), Ok("two"));
    let error = named.render_named(Some("rag"), &chat, &none).expect_err("refused").to_string();
    assert!(error.ends_with("there is no template \"rag\"; there are default, tool_use"), "{error}");

    write("chat_template.json", r#"{"chat_template": "json"}"#);
    assert_eq!(text(&chat).as_deref(), Ok("json"));
    write("chat_template.jinja", "file");
    assert_eq!(text(&chat).as_deref(), Ok("file"));
    write("additional_chat_templates/tool_use.jinja", "more");
    assert_eq!((text(&chat).as_deref(), text(&with_tools).as_deref()), (Ok("file"), Ok("more")));

    std::fs::remove_file(dir.path().join("chat_template.jinja")).expect("removed");
    std::fs::remove_dir_all(dir.path().join("additional_chat_templates")).expect("removed");
    for bad in ["{", r#"{"chat_template": 7}"#] {
        write("chat_template.json", bad);
        let error = load().expect_err("refused");
        assert!(error.contains("chat_template.json"), "{error}");
    }
}
