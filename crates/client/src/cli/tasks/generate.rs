//! `linnet generate`, and the options of writing that it shares with `linnet chat`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value};

use super::explain::Tokens;
use super::{Via, nonsense, on, text_of};
use crate::cli::output;
use crate::json_request::Task;
use crate::{ClientError, Local};

/// How text is written.
#[derive(Debug, Clone, Args)]
pub struct Writing {
    /// Most tokens to write
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u64>,
    /// 0 takes the likeliest token, up to 2
    #[arg(long, value_name = "T")]
    pub temperature: Option<f64>,
    /// Sample among the likeliest tokens that together reach this probability
    #[arg(long, value_name = "P")]
    pub top_p: Option<f64>,
    /// Sample among the likeliest so many tokens
    #[arg(long, value_name = "K")]
    pub top_k: Option<u32>,
    /// Above 1 discourages what stands there already
    #[arg(long, value_name = "N")]
    pub repetition_penalty: Option<f64>,
    /// The same seed gives the same text
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Where to stop; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// A file with the JSON schema that the answer must match
    #[arg(long, value_name = "FILE", conflicts_with = "regex")]
    pub schema: Option<PathBuf>,
    /// A regular expression that the answer must match
    #[arg(long, value_name = "REGEX")]
    pub regex: Option<String>,
    /// Wait for the whole answer instead of printing it as it is written
    #[arg(long)]
    pub no_stream: bool,
    /// Probability, entropy and rule of each token, behind the text
    #[arg(long)]
    pub explain: bool,
}

impl Writing {
    /// Puts the options into `body`.
    pub(super) async fn add_to(&self, body: &mut Map<String, Value>) -> Result<(), ClientError> {
        let schema = match &self.schema {
            None => Value::Null,
            Some(path) => {
                let name = path.display().to_string();
                let failed = |source| ClientError::Read { path: name.clone(), source };
                let text = tokio::fs::read_to_string(path).await.map_err(failed)?;
                serde_json::from_str(&text).map_err(|e| failed(e.into()))?
            }
        };
        let options: [(&str, Value); 10] = [
            ("max_tokens", self.max_tokens.into()),
            ("temperature", self.temperature.into()),
            ("top_p", self.top_p.into()),
            ("top_k", self.top_k.into()),
            ("repetition_penalty", self.repetition_penalty.into()),
            ("seed", self.seed.into()),
            ("stop", if self.stop.is_empty() { Value::Null } else { self.stop.clone().into() }),
            ("guided_json", schema),
            ("guided_regex", self.regex.clone().into()),
            ("explain", on(self.explain)),
        ];
        let given = options.into_iter().filter(|(_, value)| !value.is_null());
        body.extend(given.map(|(name, value)| (name.to_owned(), value)));
        Ok(())
    }
}

/// Arguments of `linnet generate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    linnet generate 'Once upon a time' --max-tokens 100 --seed 7\n  \
    linnet generate - < prompt.txt\n  \
    linnet generate 'def add(a, b):' --suffix '    return c'")]
pub struct GenerateArgs {
    /// What is continued: a text, a file, or - for standard input
    pub prompt: String,
    /// What stands behind: the model writes what comes between (models for code)
    #[arg(long, value_name = "TEXT")]
    pub suffix: Option<String>,
    #[command(flatten)]
    pub writing: Writing,
    #[command(flatten)]
    pub via: Via,
}

pub(in crate::cli) async fn run(local: &Local, args: GenerateArgs) -> Result<ExitCode, ClientError> {
    let daemon = args.via.daemon(local)?;
    let prompt = text_of(&args.prompt).await?;
    let mut body = args.via.body([("prompt", prompt.into()), ("suffix", args.suffix.clone().into())]);
    args.writing.add_to(&mut body).await?;
    if args.via.json {
        output::json(&daemon.ask(Task::GENERATE, body, args.via.terms()).await?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (mut printed, mut tokens) = (Printed::default(), Tokens::default());
    if args.writing.no_stream {
        let answer = daemon.ask(Task::GENERATE, body, args.via.terms()).await?;
        tokens.take(&answer);
        printed.add(answer["choices"][0]["text"].as_str().ok_or_else(|| nonsense("text"))?)?;
    } else {
        let each = |event: Value| {
            tokens.take(&event);
            let text = event["choices"][0]["text"].as_str().unwrap_or_default();
            if event["final"] == true { printed.complete(text) } else { printed.add(text) }
        };
        daemon.stream(Task::GENERATE, body, args.via.terms(), each).await?;
    }
    printed.end()?;
    if args.writing.explain {
        output::write(tokens.lines())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Text on standard output that ends with a line's end.
#[derive(Debug, Default)]
pub(super) struct Printed {
    open: bool,
    /// All of it.
    pub(super) text: String,
}

impl Printed {
    /// Prints what was just written.
    pub(super) fn add(&mut self, text: &str) -> Result<(), ClientError> {
        if text.is_empty() {
            return Ok(());
        }
        self.open = !text.ends_with('\n');
        self.text.push_str(text);
        output::write(text)
    }

    /// Prints what of the whole answer is not printed yet; all of it, on a line of its own, where that is not how it began.
    pub(super) fn complete(&mut self, whole: &str) -> Result<(), ClientError> {
        if let Some(rest) = whole.strip_prefix(self.text.as_str()) {
            return self.add(rest);
        }
        self.end()?;
        self.text.clear();
        self.add(whole)
    }

    /// Ends the last line.
    pub(super) fn end(&self) -> Result<(), ClientError> {
        if self.open || self.text.is_empty() { output::write("\n") } else { Ok(()) }
    }
}
