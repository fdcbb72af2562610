//! `linnet answer`, `summarize`, `embed`, `words`.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::{Via, explain, nonsense, on, score, text_of};
use crate::cli::output;
use crate::json_request::Task;
use crate::{ClientError, Local};

/// Arguments of `linnet answer`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  linnet answer 'Who wrote it?' --context letter.txt")]
pub struct AnswerArgs {
    /// The question
    pub question: String,
    /// The text that holds the answer: a file, a text, or - for standard input
    #[arg(long, value_name = "TEXT|FILE|-")]
    pub context: String,
    /// Answers to give
    #[arg(long, value_name = "N")]
    pub top_k: Option<u32>,
    /// There may be none
    #[arg(long)]
    pub allow_no_answer: bool,
    /// What it was chosen among
    #[arg(long)]
    pub explain: bool,
    #[command(flatten)]
    pub via: Via,
}

/// Arguments of `linnet summarize`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  linnet summarize report.txt --max-tokens 80")]
pub struct SummarizeArgs {
    /// A file, a text, or - for standard input
    pub input: String,
    /// Fewest tokens of the summary
    #[arg(long, value_name = "N")]
    pub min_tokens: Option<u64>,
    /// Most tokens of the summary
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u64>,
    #[command(flatten)]
    pub via: Via,
}

/// Arguments of `linnet embed`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    linnet embed 'a cat' 'a dog' --json | jq '.data[].embedding | length'\n  \
    linnet embed - < sentences.txt > vectors.tsv")]
pub struct EmbedArgs {
    /// Texts; - takes the lines of standard input
    #[arg(required = true)]
    pub input: Vec<String>,
    /// Numbers of each vector to keep
    #[arg(long, value_name = "N")]
    pub dimensions: Option<u32>,
    /// One of the model's prompts: query, passage
    #[arg(long, value_name = "NAME")]
    pub prompt_name: Option<String>,
    #[command(flatten)]
    pub via: Via,
}

/// Arguments of `linnet words`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  linnet words king woman --minus man     # nearest to king + woman - man")]
pub struct WordsArgs {
    /// Words that are added
    #[arg(required = true)]
    pub words: Vec<String>,
    /// A word that is subtracted; may be repeated
    #[arg(long, value_name = "WORD")]
    pub minus: Vec<String>,
    /// Neighbours to give
    #[arg(long, value_name = "N")]
    pub top_k: Option<u32>,
    #[command(flatten)]
    pub via: Via,
}

pub(in crate::cli) async fn answer(local: &Local, args: AnswerArgs) -> Result<ExitCode, ClientError> {
    let context = text_of(&args.context).await?;
    let body = args.via.body([
        ("question", args.question.clone().into()),
        ("context", context.into()),
        ("top_k", args.top_k.into()),
        ("allow_no_answer", on(args.allow_no_answer)),
        ("explain", on(args.explain)),
    ]);
    let answer = args.via.daemon(local)?.ask(Task::ANSWER, body, args.via.terms()).await?;
    if args.via.json {
        output::json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    for result in answer["results"].as_array().ok_or_else(|| nonsense("list of results"))? {
        let text = result["answer"].as_str().ok_or_else(|| nonsense("answer"))?;
        output::write(&format!("{}\t{text}\n", score(&result["score"])))?;
    }
    if args.explain {
        output::write(&explain::answer(&answer))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(in crate::cli) async fn summarize(local: &Local, args: SummarizeArgs) -> Result<ExitCode, ClientError> {
    let input = text_of(&args.input).await?;
    let body = args.via.body([
        ("input", input.into()),
        ("min_tokens", args.min_tokens.into()),
        ("max_tokens", args.max_tokens.into()),
    ]);
    let answer = args.via.daemon(local)?.ask(Task::SUMMARIZE, body, args.via.terms()).await?;
    if args.via.json {
        output::json(&answer)?;
    } else {
        let summary = answer["summary"].as_str().ok_or_else(|| nonsense("summary"))?;
        output::write(&format!("{summary}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(in crate::cli) async fn embed(local: &Local, args: EmbedArgs) -> Result<ExitCode, ClientError> {
    let mut texts = Vec::new();
    for input in &args.input {
        match input.as_str() {
            "-" => texts.extend(text_of("-").await?.lines().map(str::to_owned)),
            text => texts.push(text.to_owned()),
        }
    }
    let body = args.via.body([
        ("input", texts.into()),
        ("dimensions", args.dimensions.into()),
        ("prompt_name", args.prompt_name.clone().into()),
    ]);
    let answer = args.via.daemon(local)?.ask(Task::EMBED, body, args.via.terms()).await?;
    if args.via.json {
        output::json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    for vector in answer["data"].as_array().ok_or_else(|| nonsense("list of vectors"))? {
        let numbers = vector["embedding"].as_array().ok_or_else(|| nonsense("vector"))?;
        let line: Vec<_> = numbers.iter().map(Value::to_string).collect();
        output::write(&format!("{}\n", line.join("\t")))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(in crate::cli) async fn words(local: &Local, args: WordsArgs) -> Result<ExitCode, ClientError> {
    let minus = if args.minus.is_empty() { Value::Null } else { args.minus.clone().into() };
    let body =
        args.via.body([("positive", args.words.clone().into()), ("negative", minus), ("top_k", args.top_k.into())]);
    let answer = args.via.daemon(local)?.ask(Task::WORDS, body, args.via.terms()).await?;
    if args.via.json {
        output::json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    for result in answer["results"].as_array().ok_or_else(|| nonsense("list of results"))? {
        let word = result["label"].as_str().ok_or_else(|| nonsense("word"))?;
        output::write(&format!("{}\t{word}\n", score(&result["score"])))?;
    }
    Ok(ExitCode::SUCCESS)
}
