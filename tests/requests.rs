//! Requests as clients send them: who goes first, which model is meant, and what an answer says of its request.

mod harness;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use harness::daemon::linnetd;
use harness::{Daemon, audio, eventually, http, models, noise, sample, wav};
use linnet_features::text::normalize_text;
use linnet_features::wer::word_errors;

const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";

/// Of the words that were said, how many the small bundled model may miss: a loose bound, since models are trained anew. It misses a quarter of one
/// sentence's and none of the other's.
const MOST_WORD_ERRORS: f64 = 0.5;

/// Sends a recording and leaves the answer to be read.
fn send(daemon: &Daemon, headers: &[(&str, &str)], recording: &[u8]) -> UnixStream {
    let mut stream = http::connect(&daemon.socket()).expect("connects");
    let headers = [&[("content-type", "audio/wav")], headers].concat();
    let path = format!("{TRANSCRIPTIONS}?timeout_ms=600000");
    stream.write_all(&http::head("POST", &path, &headers, recording.len())).expect("a head");
    stream.write_all(recording).expect("a body");
    stream
}

/// Waits until a line of the metrics is there.
fn wait_for(daemon: &Daemon, line: &str) {
    let told = || daemon.get("/metrics").text().lines().any(|l| l == line).then_some(());
    eventually(line, told);
}

#[test]
fn a_caller_that_closes_its_writing_half_counts_as_gone() {
    let daemon = Daemon::builder().config("[scheduler]\nworkers = 1\n").start();
    let mut caller = send(&daemon, &[], &noise(600));
    wait_for(&daemon, "linnet_jobs_running 1");
    caller.shutdown(Shutdown::Write).expect("the other half stays open");
    wait_for(&daemon, "linnet_jobs_running 0");
    let mut answer = Vec::new();
    caller.read_to_end(&mut answer).expect("the connection ends in good order");
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(daemon.transcribe(&sample())["model"], "stt-en-small", "the worker is free again");
}

#[test]
fn a_high_priority_in_the_head_overtakes_what_waits() {
    let daemon = Daemon::builder().config("[scheduler]\nworkers = 1\n").start();
    // Ten minutes of noise keep the only worker for long; another ten wait for it.
    let recording = noise(600);
    let running = send(&daemon, &[], &recording);
    wait_for(&daemon, "linnet_jobs_running 1");
    let waiting = send(&daemon, &[], &recording);
    wait_for(&daemon, "linnet_queue_depth 1");
    let mut urgent = send(&daemon, &[("Linnet-Priority", "high")], &sample());
    wait_for(&daemon, "linnet_queue_depth 2");
    running.shutdown(Shutdown::Both).expect("the caller leaves");
    drop(running);
    let answer = http::read_answer(&mut urgent).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    // The one that came before it is still to be answered.
    let metrics = daemon.get("/metrics").text();
    let answered = metrics.lines().find(|l| l.contains("outcome=\"ok\"") && l.contains("requests"));
    assert!(answered.is_some_and(|l| l.ends_with(" 1")), "{metrics}");
    drop(waiting);

    let head = [("content-type", "audio/wav"), ("linnet-priority", "urgent")];
    let refused = daemon.send("POST", TRANSCRIPTIONS, &head, &sample());
    assert_eq!((refused.status, refused.error_code().as_str()), (422, "invalid_option"), "{}", refused.text());
    assert_eq!(refused.json()["error"]["param"], "Linnet-Priority");
    assert!(refused.text().contains("high, normal, low"), "{}", refused.text());
}

#[test]
fn a_full_queue_is_told_with_the_time_to_come_back_and_whoever_waits_is_still_answered() {
    let daemon = Daemon::builder().config("[scheduler]\nworkers = 1\nqueue_length = 1\n").start();
    let running = send(&daemon, &[], &noise(600));
    wait_for(&daemon, "linnet_jobs_running 1");
    let mut waiting = send(&daemon, &[], &sample());
    wait_for(&daemon, "linnet_queue_depth 1");
    for _ in 0..2 {
        let refused = daemon.post(TRANSCRIPTIONS, "audio/wav", &sample());
        assert_eq!((refused.status, refused.error_code().as_str()), (429, "overloaded"), "{}", refused.text());
        let number = |name: &str| refused.header(name).and_then(|value| value.parse::<u64>().ok());
        let (secs, millis) = (number("retry-after").expect("seconds"), number("retry-after-ms").expect("milliseconds"));
        assert!((1..=30).contains(&secs) && millis > 0 && millis.div_ceil(1000) == secs, "{secs} s, {millis} ms");
    }
    assert_eq!(daemon.get("/readyz").status, 200, "to be busy is no fault");
    drop(running);
    let answer = http::read_answer(&mut waiting).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(daemon.transcribe(&sample())["model"], "stt-en-small", "there is room again");
}

#[test]
fn a_deadline_that_passes_is_told_of_what_runs_and_of_what_waits() {
    let daemon = Daemon::builder().config("[scheduler]\nworkers = 1\n").start();
    let within = |ms: u32| format!("{TRANSCRIPTIONS}?timeout_ms={ms}");
    let assert_late = |answer: http::Answer| {
        assert_eq!((answer.status, answer.error_code().as_str()), (504, "deadline_exceeded"), "{}", answer.text());
        assert_eq!(answer.header("retry-after"), None, "what came too late this time would do so again");
    };
    // Ten minutes of noise take longer than this on any machine.
    assert_late(daemon.post(&within(300), "audio/wav", &noise(600)));
    let running = send(&daemon, &[], &noise(600));
    wait_for(&daemon, "linnet_jobs_running 1");
    assert_late(daemon.post(&within(100), "audio/wav", &sample()));
    drop(running);
    assert_eq!(daemon.transcribe(&sample())["model"], "stt-en-small", "the worker is free again");
}

#[test]
fn an_answer_names_the_options_of_its_request_that_did_nothing() {
    let daemon = Daemon::start();
    let ask = |query: &str| daemon.post(&format!("{TRANSCRIPTIONS}?{query}"), "audio/wav", &sample());
    for query in ["temperature=0.4&user=me&language=en", "temperature=0.4&stream=true&user=me"] {
        assert_eq!(ask(query).header("linnet-without-effect"), Some("user, temperature"), "{query}");
    }
    let plain = ask("language=en");
    assert_eq!((plain.status, plain.header("linnet-without-effect")), (200, None));
}

/// Copies the bundled model under another name; its files are as they were, so it verifies.
fn package(directory: &Path, name: &str, version: &str) {
    let (from, to) = (models().join("stt-en-small"), directory.join(name));
    std::fs::create_dir_all(&to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("the bundled model") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
    let manifest = std::fs::read_to_string(to.join("manifest.toml")).expect("its manifest");
    let mut lines: Vec<String> = manifest.lines().map(str::to_owned).collect();
    for line in &mut lines {
        match line.split_once(" = ").map(|(key, _)| key) {
            Some("name") => *line = format!("name = \"{name}\""),
            Some("version") => *line = format!("version = \"{version}\""),
            Some("aliases") => *line = "aliases = []".to_owned(),
            _ => {}
        }
    }
    std::fs::write(to.join("manifest.toml"), lines.join("\n")).expect("its manifest");
}

#[test]
fn of_two_directories_the_first_serves_a_name_and_the_default_is_the_configured_one() {
    let home = tempfile::tempdir().expect("a directory");
    let (own, shipped, absent) = (home.path().join("own"), home.path().join("shipped"), home.path().join("absent"));
    package(&own, "model-b", "2.0.0");
    package(&shipped, "model-a", "1.0.0");
    package(&shipped, "model-b", "1.0.0");
    let config = "models = [\"own\", \"absent\", \"shipped\"]\ndefault_model = \"model-b\"\n";
    let daemon = Daemon::builder().in_home(home.path()).models_of_the_configuration().config(config).start();
    let status = daemon.get("/v1/status").json();
    let served: Vec<_> =
        status["models"].as_array().expect("a list").iter().map(|m| (&m["name"], &m["version"])).collect();
    assert_eq!(
        format!("{served:?}"),
        r#"[(String("model-a"), String("1.0.0")), (String("model-b"), String("2.0.0"))]"#
    );
    assert_eq!(daemon.transcribe(&sample())["model"], "model-b");
    let log = daemon.log();
    assert!(log.contains("the model model-b is served from an earlier directory"), "{log}");
    assert!(log.contains(&format!("{}: the directory of models is passed over", absent.display())), "{log}");

    // A flag goes before the file, and the order of flags is that of the directories.
    daemon.stop();
    let daemon = Daemon::builder().in_home(home.path()).models(&shipped).flag("--models").flag(&own).config(config);
    let daemon = daemon.flag("--default-model").flag("model-a").start();
    assert_eq!(daemon.transcribe(&sample())["model"], "model-a");
    let versions = daemon.get("/v1/status").json()["models"][1]["version"].clone();
    assert_eq!(versions, "1.0.0");

    // A reload that names no model of ours is refused, and what served goes on.
    daemon.stop();
    let daemon = Daemon::builder().in_home(home.path()).models_of_the_configuration().config(config).start();
    daemon.write_config(&config.replace("model-b", "model-c"));
    daemon.signal("HUP");
    daemon.wait_for_log("did you mean model-");
    assert_eq!(daemon.transcribe(&sample())["model"], "model-b");
}

#[test]
fn a_default_model_that_is_not_there_is_named_with_the_nearest_by_check_and_start() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("linnet.toml");
    let text = format!("models = \"{}\"\n\ndefault_model = \"stt-en-smal\"\n", models().display());
    std::fs::write(&file, &text).expect("the configuration");
    let check = |file: &Path| {
        let output = Command::output(linnetd().arg("--check").arg(file)).expect("linnetd starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let there = "generate-stories, lang-id, stt-en-small, translate-en-de";
    let says = &format!(
        "linnet.toml:3: default_model: there is no model \"stt-en-smal\"; there is: {there}; did you mean stt-en-small?"
    );
    let (code, why) = check(&file);
    assert_eq!(code, Some(78));
    assert!(why.contains(says), "{why}");
    let started = Daemon::builder().in_home(home.path()).models_of_the_configuration().config(&*text).spawn().wait();
    assert_eq!(started.status.code(), Some(78), "{}", started.log);
    assert!(started.log.contains(says), "{}", started.log);
    for right in ["stt-en-small", "whisper-1"] {
        std::fs::write(&file, text.replace("stt-en-smal", right)).expect("the configuration");
        assert_eq!(check(&file).0, Some(0), "{right}");
    }
}

/// A bundled recording, 16 kHz, and what is said in it.
fn spoken(name: &str) -> (Vec<i16>, String) {
    let wav = std::fs::read(audio(&format!("{name}.wav"))).expect("the recording");
    let samples = wav[44..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    (samples, std::fs::read_to_string(audio(&format!("{name}.txt"))).expect("what is said in it"))
}

/// Samples of 16 kHz at another rate, by straight lines between them, in `channels` that are all the same.
fn at_rate(rate: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
    let count = samples.len() as u64 * u64::from(rate) / 16_000;
    let at = |index: u64| {
        let place = index as f64 * 16_000.0 / f64::from(rate);
        let here = f64::from(samples[place as usize]);
        let next = f64::from(*samples.get(place as usize + 1).unwrap_or(&0));
        (here + (next - here) * place.fract()) as i16
    };
    let frames = (0..count).flat_map(|index| std::iter::repeat_n(at(index), usize::from(channels)));
    wav(rate, channels, &frames.collect::<Vec<_>>())
}

/// Everything from the file to the words is right, or words are missed: a resampler, a splitter or a decoder that is off is seen here, where
/// comparing one answer with another sees nothing.
#[test]
fn what_is_heard_is_what_was_said_at_any_rate_and_across_pauses() {
    let daemon = Daemon::start();
    let assert_heard = |what: &str, recording: &[u8], said: &str| {
        let heard = daemon.transcribe(recording)["text"].as_str().expect("a text").to_owned();
        let errors = word_errors(&normalize_text(said), &normalize_text(&heard)).rate().expect("words");
        assert!(errors <= MOST_WORD_ERRORS, "{what}: {errors:.2} of the words of {said:?} are wrong: {heard:?}");
    };
    let sentences = ["sample", "sample2"].map(|name| (name, spoken(name)));
    for (name, (samples, said)) in &sentences {
        assert_heard(name, &wav(16_000, 1, samples), said);
        assert_heard(&format!("{name} at 48 kHz, stereo"), &at_rate(48_000, 2, samples), said);
        assert_heard(&format!("{name} at 44.1 kHz"), &at_rate(44_100, 1, samples), said);
    }
    let (mut long, mut all) = (Vec::new(), String::new());
    for (_, (samples, said)) in sentences.iter().cycle().take(10) {
        long.extend(samples);
        long.extend([0; 16_000]);
        all.extend([said.trim(), " "]);
    }
    assert_heard("ten sentences with pauses", &wav(16_000, 1, &long), &all);
}
