//! `linnet translate` and `linnet detect`.

use std::process::ExitCode;

use clap::Args;
use linnet_proto::ErrorCode;
use serde_json::{Value, json};

use super::lines::{answer_in_order, lines_of};
use super::{Via, explain, nonsense, on, text_of};
use crate::cli::output;
use crate::json_request::{Daemon, Task};
use crate::{ClientError, Local};

/// Arguments of `linnet translate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    linnet translate --from de --to en 'Guten Morgen!'\n  \
    linnet translate --from en --to de - < lines.txt > zeilen.txt\n  \
    linnet translate --to en --html page.html > page.en.html")]
pub struct TranslateArgs {
    /// A text, a file, or - for standard input: one line in, one line out, in order
    pub input: String,
    /// Language of the text, as a tag: en; auto finds it out
    #[arg(long, value_name = "TAG", default_value = "auto")]
    pub from: String,
    /// Language wanted
    #[arg(long, value_name = "TAG")]
    pub to: String,
    /// The input is one HTML document; its tags stay where they are
    #[arg(long)]
    pub html: bool,
    /// Other translations to give beside the best, 0 to 8; with --json
    #[arg(long, value_name = "N", requires = "json")]
    pub alternatives: Option<u32>,
    /// Beam width, 1 to 16
    #[arg(long, value_name = "N")]
    pub num_beams: Option<u32>,
    /// Which words come from which, where the model tells
    #[arg(long)]
    pub explain: bool,
    #[command(flatten)]
    pub via: Via,
}

pub(in crate::cli) async fn run(local: &Local, args: TranslateArgs) -> Result<ExitCode, ClientError> {
    let daemon = args.via.daemon(local)?;
    if args.html {
        let html = text_of(&args.input).await?;
        let answer = ask(&daemon, &args, json!(html)).await?;
        if args.via.json {
            output::json(&answer)?;
        } else {
            let text = answer["translatedText"].as_str().ok_or_else(|| nonsense("translation"))?;
            output::write(&format!("{text}\n"))?;
            output::write(&Told::default().lines(&html, &answer))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let source = lines_of(&args.input).await?;
    let args = std::sync::Arc::new(args);
    let ask_lot = |lot: Vec<String>| {
        let (daemon, args) = (daemon.clone(), std::sync::Arc::clone(&args));
        async move { translate(&daemon, &args, lot).await }
    };
    let mut told = Told::default();
    answer_in_order(source, ask_lot, |lines: Vec<(String, Value)>| {
        lines.iter().try_for_each(|(source, line)| {
            if args.via.json {
                return output::json(line);
            }
            let text = line["translatedText"].as_str().ok_or_else(|| nonsense("translation"))?;
            // A translation is one line, whatever the model wrote.
            output::write(&format!("{}\n", text.replace(['\n', '\r'], " ")))?;
            output::write(&told.lines(source, line))
        })
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

/// What explained the last line: the daemon says the same of every line of its kind, and people read it once.
#[derive(Debug, Default)]
struct Told {
    explanation: String,
}

impl Told {
    /// What explains the translation of `source`; nothing where that was not asked for.
    fn lines(&mut self, source: &str, line: &Value) -> String {
        let mut lines = explain::alignment(source, line);
        if let Some(explanation) = line["explanation"].as_str()
            && explanation != self.explanation
        {
            explanation.clone_into(&mut self.explanation);
            lines += &format!("\t{explanation}\n");
        }
        lines
    }
}

/// Translates lines; gives each with one object, as the daemon would have answered it alone.
async fn translate(
    daemon: &Daemon,
    args: &TranslateArgs,
    lines: Vec<String>,
) -> Result<Vec<(String, Value)>, ClientError> {
    // An empty line stays one, and asks nothing.
    let texts: Vec<&String> = lines.iter().filter(|line| !line.trim().is_empty()).collect();
    let mut answers = Vec::new();
    if !texts.is_empty() {
        let answer = ask(daemon, args, json!(texts)).await?;
        let list = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
        let translated = list("translatedText");
        let beside = ["alternatives", "detectedLanguage", "alignment"].map(|name| (name, list(name)));
        if translated.len() != texts.len() {
            return Err(nonsense("translation of every line"));
        }
        for (at, text) in translated.into_iter().enumerate() {
            let mut line = json!({ "translatedText": text, "models": answer["models"] });
            if let Some(explanation) = answer.get("explanation") {
                line["explanation"] = explanation.clone();
            }
            for (name, values) in &beside {
                if let Some(value) = values.get(at) {
                    line[*name] = value.clone();
                }
            }
            answers.push(line);
        }
    }
    let mut answers = answers.into_iter();
    let each = lines.into_iter().map(|line| match line.trim().is_empty() {
        true => (line.clone(), json!({ "translatedText": line })),
        false => (line, answers.next().unwrap_or_default()),
    });
    Ok(each.collect())
}

async fn ask(daemon: &Daemon, args: &TranslateArgs, q: Value) -> Result<Value, ClientError> {
    loop {
        let body = args.via.body([
            ("q", q.clone()),
            ("source", args.from.clone().into()),
            ("target", args.to.clone().into()),
            ("format", if args.html { "html".into() } else { Value::Null }),
            ("alternatives", args.alternatives.into()),
            ("num_beams", args.num_beams.into()),
            ("explain", on(args.explain)),
        ]);
        match daemon.ask(Task::TRANSLATE, body, args.via.terms()).await {
            // Several requests are on their way at once, and a small queue may have no place for the last of them.
            Err(ClientError::Refused(full)) if full.code == ErrorCode::Overloaded => {
                let pause = full.retry_after_ms.unwrap_or(1000).clamp(50, 10_000);
                tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
            }
            answer => return answer,
        }
    }
}

/// Arguments of `linnet detect`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  linnet detect 'Buenos días'")]
pub struct DetectArgs {
    /// A text, a file, or - for standard input
    pub input: String,
    #[command(flatten)]
    pub via: Via,
}

pub(in crate::cli) async fn detect(local: &Local, args: DetectArgs) -> Result<ExitCode, ClientError> {
    let daemon = args.via.daemon(local)?;
    let text = text_of(&args.input).await?;
    let answer = daemon.ask(Task::DETECT, args.via.body([("q", text.into())]), args.via.terms()).await?;
    if args.via.json {
        output::json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    for found in answer.as_array().ok_or_else(|| nonsense("list of languages"))? {
        let language = found["language"].as_str().ok_or_else(|| nonsense("language"))?;
        output::write(&format!("{:.2}\t{language}\n", found["confidence"].as_f64().unwrap_or_default() / 100.0))?;
    }
    Ok(ExitCode::SUCCESS)
}
