//! `linnet` as a person uses it, against models that follow a script.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use linnet::scheduler::SchedulerSettings;
use serde_json::{Value, json};

use super::bench::{Bench, play};

fn linnet(bench: &Bench, arguments: &[&str]) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_linnetd")).with_file_name("linnet");
    assert!(program.is_file(), "{} is missing; build it: cargo build --release --workspace", program.display());
    let mut command = Command::new(program);
    command.args(arguments).env_remove("LINNET_MODEL").env("LINNET_SOCKET", bench.socket()).stdin(Stdio::null());
    command
}

fn run(bench: &Bench, arguments: &[&str]) -> Output {
    linnet(bench, arguments).output().expect("linnet runs")
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn says(bench: &Bench, arguments: &[&str]) -> String {
    printed(&run(bench, arguments))
}

fn translators() -> Bench {
    let models: [super::bench::Model<'_>; 2] =
        [("en-de", &["translate"], &["en", "de"]), ("lang-id", &["detect"], &["en", "de"])];
    Bench::with(&models, SchedulerSettings::default(), play)
}

#[test]
fn translate_gives_a_line_for_each_line_in_order() {
    let bench = translators();
    let lines: Vec<String> = (0..300).map(|n| if n % 7 == 3 { String::new() } else { format!("line {n}") }).collect();
    let mut child = linnet(&bench, &["translate", "--from", "en", "--to", "de", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("linnet runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let text = lines.join("\n");
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()).expect("it reads"));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic");
    let wanted: Vec<String> =
        lines.iter().map(|l| if l.is_empty() { String::new() } else { format!("en>de:{l}") }).collect();
    assert_eq!(printed(&output).lines().collect::<Vec<_>>(), wanted);
}

#[test]
fn a_line_that_is_typed_is_translated_before_the_next_one_is_written() {
    let bench = translators();
    let mut child = linnet(&bench, &["translate", "--from", "en", "--to", "de", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("linnet runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut answers = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    for word in ["one", "two", "three"] {
        writeln!(stdin, "{word}").expect("it reads");
        assert_eq!(answers.next().expect("a line").expect("UTF-8"), format!("en>de:{word}"));
    }
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn translate_takes_a_text_a_file_or_a_document() {
    let bench = translators();
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("page.html");
    std::fs::write(&file, "<p>a</p>\n<p>b</p>\n").expect("a file");
    let file = file.display().to_string();
    assert_eq!(says(&bench, &["translate", "--from", "en", "--to", "de", "hello"]), "en>de:hello\n");
    let both = says(&bench, &["translate", "--from", "en", "--to", "de", &file]);
    assert_eq!(both, "en>de:<p>a</p>\nen>de:<p>b</p>\n");
    let whole = says(&bench, &["translate", "--from", "en", "--to", "de", "--html", &file]);
    assert_eq!(whole, "en>de:<p>a</p>\n<p>b</p>\n");
    let line = says(&bench, &["translate", "--to", "de", "en: hello", "--json", "--alternatives", "1"]);
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["detectedLanguage"]["language"], "en");
    assert_eq!(line["alternatives"], json!(["en: hello0"]));
}

#[test]
fn a_pair_that_nothing_translates_is_one_sentence_and_64() {
    let bench = translators();
    let output = run(&bench, &["translate", "--from", "en", "--to", "ja", "hello"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.starts_with("linnet: nothing here translates en to ja") && said.contains("en to de"), "{said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn what_is_written_is_printed_as_it_comes_or_whole_as_json() {
    let bench = Bench::start();
    assert_eq!(says(&bench, &["generate", "once"]), "after once\n");
    assert_eq!(says(&bench, &["generate", "once", "--no-stream"]), "after once\n");
    let whole: Value = serde_json::from_str(&says(&bench, &["generate", "once", "--json"])).expect("JSON");
    assert_eq!(whole["choices"][0]["text"], "after once");
    assert_eq!(says(&bench, &["generate", "a", "--suffix", "b"]), "between a and b\n");
    assert_eq!(says(&bench, &["chat", "hello"]), "answer to 1 messages\n");
    assert_eq!(says(&bench, &["chat", "--system", "Be brief.", "hello"]), "answer to 2 messages\n");
}

#[test]
fn a_conversation_tells_what_was_said_before() {
    let bench = Bench::start();
    let mut child =
        linnet(&bench, &["chat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("linnet runs");
    child.stdin.take().expect("a pipe").write_all(b"one\ntwo\nthree\n").expect("it reads");
    let said = printed(&child.wait_with_output().expect("it ends"));
    assert_eq!(said, "answer to 1 messages\nanswer to 3 messages\nanswer to 5 messages\n");
}

#[test]
fn what_a_model_sees_in_a_text_is_a_line_for_each_result() {
    let bench = Bench::start();
    let filled = says(&bench, &["fill", "the [MASK] sleeps"]);
    assert_eq!(filled, "0.7500\tcat\tthe cat sleeps\n0.2500\tmouse\tthe mouse sleeps\n");
    assert_eq!(says(&bench, &["classify", "fine"]), "0.7500\tgood\n0.2500\tbad\n");
    assert_eq!(says(&bench, &["tag", "Zo\u{eb}"]), "0.5000\tPER\t0-3\tZo\u{eb}\n");
    assert_eq!(says(&bench, &["intent", "light on"]), "0.5000\tlight\n");
    assert_eq!(says(&bench, &["answer", "who?", "--context", "Zo\u{eb}"]), "0.5000\tZo\u{eb}\n");
    assert_eq!(says(&bench, &["summarize", "long text"]), "long\n");
    assert_eq!(says(&bench, &["words", "king", "--minus", "man"]), "0.5000\tking\n");
    assert_eq!(says(&bench, &["embed", "a", "b"]), "1.0\t-2.0\n1.0\t-2.0\n");
    assert_eq!(says(&translators(), &["detect", "de: gut"]), "0.75\tde\n");
    for arguments in [&["classify", "fine", "--json"][..], &["embed", "a", "--json"], &["summarize", "x", "--json"]] {
        let line = says(&bench, arguments);
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        serde_json::from_str::<Value>(&line).expect("JSON");
    }
}

#[test]
fn what_explains_a_result_stands_behind_it_on_lines_that_begin_with_a_tab() {
    let bench = Bench::start();
    for (arguments, plain, explanation) in [
        (
            &["fill", "the [MASK] sleeps"][..],
            "0.7500\tcat\tthe cat sleeps\n0.2500\tmouse\tthe mouse sleeps\n",
            "\ttoken 2\tentropy 0.5000 nats\tsoftmax over the vocabulary\n",
        ),
        (
            &["classify", "fine"],
            "0.7500\tgood\n0.2500\tbad\n",
            "\twhat good gains by each word (occlusion, runs: 1)\n\t+0.2500\tfine\n",
        ),
        (&["tag", "Zo\u{eb}"], "0.5000\tPER\t0-3\tZo\u{eb}\n", "\tZo\u{eb}\tPER 0.5000, O 0.2500\n"),
        (&["intent", "light on"], "0.5000\tlight\n", "\t0.5000\tlight\n\t0.2500\tmusic\n"),
        (
            &["answer", "who?", "--context", "Zo\u{eb}"],
            "0.5000\tZo\u{eb}\n",
            "\tcandidates 7\twindows 1\tno answer 0.1250\tprobability of start times that of end\n",
        ),
        (
            &["generate", "once"],
            "after once\n",
            "\t-0.2500\tentropy 1.5000 nats\tgreedy\t\"after \"\n\t-0.2500\tentropy 1.5000 nats\tgreedy\t\"once\"\n",
        ),
    ] {
        assert_eq!(says(&bench, arguments), plain, "nothing is explained unasked: {arguments:?}");
        let asked = [arguments, &["--explain"]].concat();
        assert_eq!(says(&bench, &asked), format!("{plain}{explanation}"), "{arguments:?}");
    }
    let tokens = |said: &str| said.lines().skip(1).filter(|line| line.starts_with("\t-0.2500\tentropy 1.5000")).count();
    for arguments in [&["generate", "once"][..], &["chat", "hello"]] {
        let streamed = says(&bench, &[arguments, &["--explain"]].concat());
        assert_eq!(says(&bench, &[arguments, &["--explain", "--no-stream"]].concat()), streamed, "{arguments:?}");
        assert!(tokens(&streamed) >= 2 && tokens(&streamed) == streamed.lines().count() - 1, "{streamed}");
    }
}

#[test]
fn json_that_explains_is_the_daemons_own() {
    let bench = Bench::start();
    let explained = |arguments: &[&str]| {
        let line = says(&bench, &[arguments, &["--explain", "--json"]].concat());
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        serde_json::from_str::<Value>(&line).expect("JSON")
    };
    assert_eq!(
        explained(&["fill", "a [MASK]"]),
        bench.ask("/v1/fill-mask", &json!({"input": "a [MASK]", "explain": true}))
    );
    assert_eq!(explained(&["classify", "fine"])["explanation"][0]["words"][0]["change"], 0.25);
    assert_eq!(explained(&["tag", "x"])["explanation"][0][0]["top"][1]["label"], "O");
    assert_eq!(explained(&["answer", "who?", "--context", "x"])["explanation"]["candidates"], 7);
    assert_eq!(explained(&["intent", "x"])["candidates"][1]["label"], "music");
    assert_eq!(explained(&["generate", "once"])["choices"][0]["logprobs"]["rule"], json!(["greedy", "greedy"]));
    assert_eq!(explained(&["chat", "hello"])["choices"][0]["logprobs"]["content"][0]["entropy"], 1.5);
}

#[test]
fn a_translation_is_explained_line_by_line_and_how_once() {
    let bench = translators();
    let both = says(&bench, &["translate", "--from", "en", "--to", "de", "one\ntwo", "--explain"]);
    assert_eq!(both, "en>de:one\n\t1.0000\te\to\n\tone more step for each token\nen>de:two\n\t1.0000\te\tt\n");
    let line = says(&bench, &["translate", "--from", "en", "--to", "de", "one", "--explain", "--json"]);
    let line: Value = serde_json::from_str(&line).expect("JSON");
    let link = json!([{ "source": [0, 1], "target": [0, 1], "weight": 1.0 }]);
    assert_eq!((&line["alignment"], &line["explanation"]), (&link, &json!("one more step for each token")));
}

#[test]
fn a_model_is_named_by_flag_or_by_the_environment() {
    let bench = Bench::start();
    let named = |model: &str| linnet(&bench, &["classify", "x"]).env("LINNET_MODEL", model).output().expect("runs");
    assert!(named("every").status.success());
    assert_eq!(named("none").status.code(), Some(64));
    assert!(run(&bench, &["classify", "x", "--model", "every"]).status.success());
}

#[test]
fn every_command_has_an_example_in_its_help() {
    let bench = Bench::start();
    for command in [
        "translate",
        "detect",
        "generate",
        "chat",
        "summarize",
        "answer",
        "embed",
        "words",
        "fill",
        "classify",
        "tag",
        "intent",
    ] {
        let help = says(&bench, &[command, "--help"]);
        assert!(help.contains("Example") && help.contains(&format!("linnet {command}")), "{help}");
        assert!(help.contains("--json") && help.contains("--mqtt"), "{help}");
    }
}
