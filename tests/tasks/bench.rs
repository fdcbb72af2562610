//! An HTTP server with a real scheduler in this process, on models that follow a script.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use linnet::config::transport::{HttpSettings, IntakeSettings};
use linnet::job::chain::Chains;
use linnet::job::{Answer, Job, Part, TaskRequest};
use linnet::scheduler::{Scheduler, SchedulerSettings};
use linnet::status::{BrokerLink, DaemonStatus, Events};
use linnet::sys::liveness::Loops;
use linnet::task::TaskContext;
use linnet::task::catalog::{Catalog, CatalogHandle, Entry};
use linnet::task::fake::FakePipeline;
use linnet::transport::http::{HttpServer, Listeners};
use linnet_features::audio::AudioLimits;
use linnet_proto::WireError;
use linnet_proto::generate::{Choice, Delta, FinishReason, GenerateInput, Generated, TokenLogprob};
use linnet_proto::status::Limits;
use linnet_proto::text::*;
use linnet_proto::translate::{Aligned, Detected, DetectedLanguage, Translated, Translation};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::http;

/// A server; ends when dropped.
pub struct Bench {
    home: TempDir,
    runtime: tokio::runtime::Runtime,
    server: Option<HttpServer>,
    scheduler: Arc<Scheduler>,
}

/// One model of a bench: name, tasks, languages.
pub type Model<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

impl Bench {
    /// A bench whose one model does every task as [`play`] does.
    pub fn start() -> Self {
        let every =
            ["generate", "chat", "embed", "fill", "classify", "tag", "answer", "intent", "words", "summarize", "raw"];
        Self::with(&[("every", &every, &["en"])], SchedulerSettings::default(), play)
    }

    /// A bench of `models` that do as `script` does.
    pub fn with(
        models: &[Model<'_>],
        settings: SchedulerSettings,
        script: impl Fn(&Job, &mut TaskContext) -> Result<Answer, WireError> + Send + Sync + 'static,
    ) -> Self {
        let pipeline = FakePipeline::new(script);
        let entry = |(name, tasks, languages): &Model<'_>| Entry::Ready(pipeline.serving(name, tasks, languages));
        let catalog = CatalogHandle::new(Arc::new(Catalog::new(models.iter().map(entry).collect(), None)));
        let events = Events::default();
        let scheduler = Scheduler::start(settings, catalog.clone(), events.clone()).expect("threads start");
        let scheduler = Arc::new(scheduler);
        scheduler.open();
        let home = tempfile::tempdir().expect("a directory");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let loops = Loops::under(None);
        let told = Limits {
            max_upload_bytes: 1 << 27,
            max_audio_secs: 3600,
            max_packet_bytes: 0,
            queue_length: 64,
            default_deadline_ms: 60_000,
            max_deadline_ms: 60_000,
        };
        let link = BrokerLink::default();
        let status = DaemonStatus::new("bench", catalog, Arc::clone(&scheduler), link, told, events, loops.clone());
        let server = {
            let _inside = runtime.enter();
            let unix = tokio::net::UnixListener::bind(home.path().join("socket")).expect("a socket");
            let chains = Chains::new(Arc::clone(&scheduler) as _);
            let (admit, status) = (Arc::new(chains) as _, Arc::new(status) as _);
            let listeners = Listeners { unix, tcp: None };
            HttpServer::start(http_settings(), intake(), listeners, admit, status, &loops).expect("it starts")
        };
        Self { home, runtime, server: Some(server), scheduler }
    }

    pub fn socket(&self) -> PathBuf {
        self.home.path().join("socket")
    }

    pub fn connect(&self) -> UnixStream {
        http::connect(&self.socket()).expect("connects")
    }

    /// Posts JSON.
    pub fn post(&self, path: &str, body: &Value) -> http::Answer {
        self.send(path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    pub fn send(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> http::Answer {
        http::request(&self.socket(), "POST", path, headers, body).expect("an answer")
    }

    /// Posts JSON and expects JSON.
    pub fn ask(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
        answer.json()
    }

    /// Jobs that workers run now.
    pub fn running(&self) -> usize {
        self.scheduler.load().running
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // It spawns, so it ends on its runtime.
        let _inside = self.runtime.enter();
        self.server.take();
    }
}

fn http_settings() -> HttpSettings {
    HttpSettings {
        socket: PathBuf::new(),
        socket_mode: 0o600,
        socket_group: None,
        tcp: None,
        max_connections: 64,
        header_timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(20),
    }
}

fn intake() -> IntakeSettings {
    IntakeSettings {
        max_upload_bytes: 1 << 27,
        max_upload_total_bytes: 1 << 28,
        audio: AudioLimits::default(),
        default_timeout: Duration::from_secs(60),
        max_timeout: Duration::from_secs(60),
    }
}

/// The words of `text`, each with the blank behind it.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

/// What [`play`] writes after a prompt.
pub fn continuation(input: &GenerateInput) -> String {
    match input {
        GenerateInput::Text(text) => format!("after {text}"),
        GenerateInput::Tokens(ids) => format!("after {} ids", ids.len()),
        GenerateInput::Infill { prefix, suffix } => format!("between {prefix} and {suffix}"),
        GenerateInput::Chat(chat) => format!("answer to {} messages", chat.messages.len()),
    }
}

/// Answers every task in a way that a test can foresee: a generation writes [`continuation`] word by word.
pub fn play(job: &Job, ctx: &mut TaskContext) -> Result<Answer, WireError> {
    let model = "every".to_owned();
    let label = |label: &str, score| Label { label: label.to_owned(), score };
    Ok(match &job.request.task {
        TaskRequest::Generate(asked) => {
            let text = continuation(&asked.input);
            let explain = asked.options.explain;
            let logprob = |word: &str| TokenLogprob {
                id: word.len() as u32,
                token: word.to_owned(),
                bytes: word.as_bytes().to_vec(),
                logprob: -0.25,
                entropy: explain.then_some(1.5),
                rule: explain.then(|| "greedy".to_owned()),
                ..TokenLogprob::default()
            };
            let wants = asked.options.logprobs.is_some();
            let logprobs = |text: &str| if wants { words(text).map(logprob).collect() } else { Vec::new() };
            let ids = |text: &str| words(text).map(|word| word.len() as u32).collect::<Vec<_>>();
            let n = asked.options.n.unwrap_or(1);
            let mut choices = Vec::new();
            for index in 0..n {
                if asked.stream {
                    for word in words(&text) {
                        let token_ids = if asked.options.return_token_ids { ids(word) } else { Vec::new() };
                        let delta = Delta {
                            index,
                            text: word.to_owned(),
                            token_ids,
                            logprobs: logprobs(word),
                            ..Delta::default()
                        };
                        ctx.emit(Part::Delta(delta))?;
                    }
                }
                choices.push(Choice {
                    index,
                    text: text.clone(),
                    token_ids: asked.options.return_token_ids.then(|| ids(&text)),
                    logprobs: logprobs(&text),
                    finish_reason: FinishReason::Stop,
                    ..Choice::default()
                });
            }
            let prompt_token_ids = asked.options.return_token_ids.then(|| match &asked.input {
                GenerateInput::Tokens(ids) => ids.clone(),
                _ => vec![1, 2, 3],
            });
            Answer::Generated(Generated {
                choices,
                prompt_token_ids,
                model,
                prompt_tokens: 3,
                completion_tokens: u64::from(n) * words(&text).count() as u64,
                ..Generated::default()
            })
        }
        TaskRequest::Embed(asked) => {
            let count = asked.input.texts().len() + asked.tokens.len();
            Answer::Embedded(Embedded { vectors: vec![vec![1.0, -2.0]; count], tokens: 4, model })
        }
        TaskRequest::Fill(asked) => {
            let candidates = |text: &String| {
                let fill = |word: &str, score| FillCandidate {
                    token_str: word.to_owned(),
                    token: word.len() as u32,
                    score,
                    sequence: text.replace("[MASK]", word),
                };
                Nested::One(vec![fill("cat", 0.75), fill("mouse", 0.25)])
            };
            let mut each: Vec<_> = asked.input.texts().iter().map(candidates).collect();
            let results = if each.len() == 1 { each.remove(0) } else { Nested::Many(each) };
            let mask = json!({ "mask": 2, "entropy": 0.5, "rule": "softmax over the vocabulary" });
            let explanation = asked.explain.then(|| json!([[mask]]));
            Answer::Filled(Results { results, model, explanation })
        }
        TaskRequest::Classify(asked) => {
            let word = json!({ "word": "fine", "start": 0, "change": 0.25 });
            let of = json!({ "label": "good", "method": "occlusion", "words": [word], "runs": 1, "complete": true });
            let explanation = asked.explain.then(|| json!([of]));
            let results = Nested::One(vec![label("good", 0.75), label("bad", 0.25)]);
            Answer::Classified(Results { results, model, explanation })
        }
        TaskRequest::Tag(asked) => {
            let word = asked.input.texts()[0].clone();
            let end = word.chars().count();
            let top = json!([{ "label": "PER", "score": 0.5 }, { "label": "O", "score": 0.25 }]);
            let explanation = asked.explain.then(|| json!([[{ "word": word, "top": top }]]));
            let results = Nested::One(vec![Tagged { label: "PER".into(), score: 0.5, word, start: 0, end }]);
            Answer::Tagged(Results { results, model, explanation })
        }
        TaskRequest::Answer(asked) => {
            let end = asked.context.chars().count();
            let results = vec![SpanAnswer { answer: asked.context.clone(), score: 0.5, start: 0, end }];
            let rule = "probability of start times that of end";
            let of = json!({ "windows": 1, "candidates": 7, "no_answer": 0.125, "rule": rule });
            Answer::Answered(Results { results, model, explanation: asked.explain.then_some(of) })
        }
        TaskRequest::Intent(asked) => {
            let candidates = if asked.explain { vec![label("light", 0.5), label("music", 0.25)] } else { Vec::new() };
            Answer::Intent(Intent { intent: Some("light".into()), score: 0.5, model, candidates, ..Intent::default() })
        }
        TaskRequest::Words(asked) => {
            let results = asked.positive.iter().map(|word| label(word, 0.5)).collect();
            Answer::Words(Results { results, model, explanation: None })
        }
        TaskRequest::Summarize(asked) => {
            let summary = words(&asked.input).next().unwrap_or_default().trim().to_owned();
            Answer::Summary(Summary { summary, sections: 1, model })
        }
        TaskRequest::Translate(asked) => {
            let translation = |text: &String| Translation {
                text: format!("{}>{}:{text}", asked.source, asked.target),
                alternatives: (0..asked.alternatives).map(|n| format!("{text}{n}")).collect(),
                detected: None,
                alignment: if asked.explain {
                    vec![Aligned { source: (0, 1), target: (0, 1), weight: 1.0 }]
                } else {
                    Vec::new()
                },
            };
            let translations = asked.texts.iter().map(translation).collect();
            let explanation = asked.explain.then(|| "one more step for each token".to_owned());
            Answer::Translated(Translated { translations, models: vec![model], inference_ms: 1.0, explanation })
        }
        TaskRequest::Detect(asked) => {
            // A text says itself what it is in: `de: …`.
            let found = |text: &String| {
                let language = text.split(':').next().unwrap_or_default().to_owned();
                vec![DetectedLanguage { language, confidence: 0.75 }]
            };
            Answer::Detected(Detected { results: asked.texts.iter().map(found).collect(), model })
        }
        TaskRequest::Raw(asked) => Answer::Raw(RawAnswer { outputs: asked.inputs.clone(), model }),
        other => panic!("no script for {}", other.name()),
    })
}
