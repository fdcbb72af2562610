//! `linnet fill`, `classify`, `tag`, `intent`: what a model sees in a text.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::{Via, explain, nonsense, on, score, text_of};
use crate::cli::output;
use crate::json_request::Task;
use crate::{ClientError, Local};

/// Arguments of `linnet fill`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  linnet fill 'The cat [MASK] on the mat.' --top-k 3")]
pub struct FillArgs {
    /// A text with `[MASK]`, a file, or - for standard input
    pub input: String,
    /// Candidates for each mask, 1 to 100
    #[arg(long, value_name = "N")]
    pub top_k: Option<u32>,
    /// Score only these words; may be repeated
    #[arg(long = "target", value_name = "WORD")]
    pub targets: Vec<String>,
    /// How sure the model was of each mask: the entropy of all its candidates
    #[arg(long)]
    pub explain: bool,
    #[command(flatten)]
    pub via: Via,
}

/// Arguments of `linnet classify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    linnet classify 'What a lovely day!'\n  \
    linnet classify 'The engine makes a noise.' --labels car,food,music")]
pub struct ClassifyArgs {
    /// A text, a file, or - for standard input
    pub input: String,
    /// Labels to choose among, parted by commas; the model's own when absent
    #[arg(long, value_name = "LABELS", value_delimiter = ',')]
    pub labels: Vec<String>,
    /// Several labels may hold at once
    #[arg(long)]
    pub multi_label: bool,
    /// Labels to print
    #[arg(long, value_name = "N")]
    pub top_k: Option<u32>,
    /// What each word does to the best label; a run of the model for each word
    #[arg(long)]
    pub explain: bool,
    #[command(flatten)]
    pub via: Via,
}

/// Arguments of `linnet tag`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  linnet tag 'Ada Lovelace was born in London.'")]
pub struct TagArgs {
    /// A text, a file, or - for standard input
    pub input: String,
    /// How tokens become entities: none, simple, first, average, max
    #[arg(long, value_name = "HOW")]
    pub aggregation: Option<String>,
    /// The likeliest labels of each word
    #[arg(long)]
    pub explain: bool,
    #[command(flatten)]
    pub via: Via,
}

/// Arguments of `linnet intent`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  linnet intent 'turn the kitchen light on'")]
pub struct IntentArgs {
    /// What was said: a text, a file, or - for standard input
    pub input: String,
    /// Below this score it is out of scope, 0 to 1
    #[arg(long, value_name = "SCORE")]
    pub threshold: Option<f64>,
    /// Every intent with its score
    #[arg(long)]
    pub explain: bool,
    #[command(flatten)]
    pub via: Via,
}

fn list(texts: &[String]) -> Value {
    if texts.is_empty() { Value::Null } else { texts.into() }
}

/// The results as one list: those of several masks one after the other.
fn results(answer: &Value) -> Result<Vec<Value>, ClientError> {
    let results = answer["results"].as_array().ok_or_else(|| nonsense("list of results"))?;
    Ok(results.iter().flat_map(|result| result.as_array().cloned().unwrap_or_else(|| vec![result.clone()])).collect())
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// Prints `answer` as it is, or a line for each of its results and `explanation` behind them.
fn print(
    via: &Via,
    answer: &Value,
    line: impl Fn(&Value) -> String,
    explanation: Option<String>,
) -> Result<ExitCode, ClientError> {
    if via.json {
        output::json(answer)?;
    } else {
        for result in results(answer)? {
            output::write(&format!("{}\n", line(&result)))?;
        }
        output::write(&explanation.unwrap_or_default())?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(in crate::cli) async fn fill(local: &Local, args: FillArgs) -> Result<ExitCode, ClientError> {
    let input = text_of(&args.input).await?;
    let body = args.via.body([
        ("input", input.into()),
        ("top_k", args.top_k.into()),
        ("targets", list(&args.targets)),
        ("explain", on(args.explain)),
    ]);
    let answer = args.via.daemon(local)?.ask(Task::FILL, body, args.via.terms()).await?;
    let line = |r: &Value| format!("{}\t{}\t{}", score(&r["score"]), text(r, "token_str"), text(r, "sequence"));
    print(&args.via, &answer, line, args.explain.then(|| explain::fill(&answer)))
}

pub(in crate::cli) async fn classify(local: &Local, args: ClassifyArgs) -> Result<ExitCode, ClientError> {
    let input = text_of(&args.input).await?;
    let body = args.via.body([
        ("input", input.into()),
        ("labels", list(&args.labels)),
        ("multi_label", on(args.multi_label)),
        ("top_k", args.top_k.into()),
        ("explain", on(args.explain)),
    ]);
    let answer = args.via.daemon(local)?.ask(Task::CLASSIFY, body, args.via.terms()).await?;
    let line = |r: &Value| format!("{}\t{}", score(&r["score"]), text(r, "label"));
    print(&args.via, &answer, line, args.explain.then(|| explain::classify(&answer)))
}

pub(in crate::cli) async fn tag(local: &Local, args: TagArgs) -> Result<ExitCode, ClientError> {
    let input = text_of(&args.input).await?;
    let body = args.via.body([
        ("input", input.into()),
        ("aggregation", args.aggregation.clone().into()),
        ("explain", on(args.explain)),
    ]);
    let answer = args.via.daemon(local)?.ask(Task::TAG, body, args.via.terms()).await?;
    let line = |r: &Value| {
        format!("{}\t{}\t{}-{}\t{}", score(&r["score"]), text(r, "label"), r["start"], r["end"], text(r, "word"))
    };
    print(&args.via, &answer, line, args.explain.then(|| explain::tag(&answer)))
}

pub(in crate::cli) async fn intent(local: &Local, args: IntentArgs) -> Result<ExitCode, ClientError> {
    let input = text_of(&args.input).await?;
    let body =
        args.via.body([("input", input.into()), ("threshold", args.threshold.into()), ("explain", on(args.explain))]);
    let answer = args.via.daemon(local)?.ask(Task::INTENT, body, args.via.terms()).await?;
    if args.via.json {
        output::json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let name = answer["intent"].as_str().unwrap_or("out of scope");
    output::write(&format!("{}\t{name}\n", score(&answer["score"])))?;
    for slot in answer["slots"].as_array().into_iter().flatten() {
        output::write(&format!("\t{}\t{}\n", text(slot, "label"), text(slot, "word")))?;
    }
    if args.explain {
        output::write(&explain::intent(&answer))?;
    }
    Ok(ExitCode::SUCCESS)
}
