//! `linnet chat`: one message, or a conversation at the terminal.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::explain::Tokens;
use super::generate::{Printed, Writing};
use super::{Via, nonsense, text_of};
use crate::cli::output;
use crate::json_request::{Daemon, Task};
use crate::{ClientError, Local};

/// Largest recording beside a message, bytes: base64 and the rest of the message fit into what the daemon takes.
const MAX_RECORDING_BYTES: u64 = 20 << 20;

/// Arguments of `linnet chat`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    linnet chat                                     # a conversation; an empty line or Ctrl-D ends it\n  \
    linnet chat 'Write a limerick about a linnet.'\n  \
    linnet chat --system 'Answer in French.' - < question.txt\n  \
    linnet chat --audio question.wav")]
pub struct ChatArgs {
    /// The message: a text, a file, or - for standard input [default: a conversation, line by line]
    pub message: Option<String>,
    /// What the model is told beforehand
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// A recording of the message; it is transcribed first
    #[arg(long, value_name = "FILE")]
    pub audio: Option<PathBuf>,
    #[command(flatten)]
    pub writing: Writing,
    #[command(flatten)]
    pub via: Via,
}

pub(in crate::cli) async fn run(local: &Local, args: ChatArgs) -> Result<ExitCode, ClientError> {
    let daemon = args.via.daemon(local)?;
    let mut messages: Vec<Value> =
        args.system.iter().map(|system| json!({ "role": "system", "content": system })).collect();
    if args.message.is_none() && args.audio.is_none() {
        converse(&daemon, &args, messages).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut parts = Vec::new();
    if let Some(message) = &args.message {
        parts.push(json!({ "type": "text", "text": text_of(message).await? }));
    }
    if let Some(path) = &args.audio {
        parts.push(recording(path).await?);
    }
    messages.push(match parts.as_slice() {
        [one] if one["type"] == "text" => json!({ "role": "user", "content": one["text"] }),
        _ => json!({ "role": "user", "content": parts }),
    });
    answer(&daemon, &args, &messages).await?;
    Ok(ExitCode::SUCCESS)
}

async fn recording(path: &std::path::Path) -> Result<Value, ClientError> {
    let audio = crate::Audio::open(path).await?.read_within(MAX_RECORDING_BYTES).await?.ok_or_else(|| {
        let reason = format!("larger than {} MiB; transcribe it first", MAX_RECORDING_BYTES >> 20);
        super::unfit(&path.display().to_string(), &reason)
    })?;
    let format = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let data = STANDARD.encode(&audio);
    Ok(json!({ "type": "input_audio", "input_audio": { "data": data, "format": format } }))
}

/// Each line is a message, and what was said before is told with it.
async fn converse(daemon: &Daemon, args: &ChatArgs, mut messages: Vec<Value>) -> Result<(), ClientError> {
    let at_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        if at_terminal {
            eprint!("> ");
        }
        let failed = |source| ClientError::Read { path: "standard input".to_owned(), source };
        let line = lines.next_line().await.map_err(failed)?;
        let Some(line) = line.filter(|line| !line.trim().is_empty()) else {
            if at_terminal {
                eprintln!();
            }
            return Ok(());
        };
        messages.push(json!({ "role": "user", "content": line }));
        let said = answer(daemon, args, &messages).await?;
        messages.push(json!({ "role": "assistant", "content": said }));
    }
}

/// Prints the answer to `messages` and gives it.
async fn answer(daemon: &Daemon, args: &ChatArgs, messages: &[Value]) -> Result<String, ClientError> {
    let mut body = args.via.body([("messages", messages.into())]);
    args.writing.add_to(&mut body).await?;
    let text = |answer: &Value| answer["choices"][0]["message"]["content"].as_str().map(str::to_owned);
    if args.via.json {
        let answer = daemon.ask(Task::CHAT, body, args.via.terms()).await?;
        output::json(&answer)?;
        return Ok(text(&answer).unwrap_or_default());
    }
    let (mut printed, mut tokens) = (Printed::default(), Tokens::default());
    if args.writing.no_stream {
        let answer = daemon.ask(Task::CHAT, body, args.via.terms()).await?;
        tokens.take(&answer);
        printed.add(&text(&answer).ok_or_else(|| nonsense("message"))?)?;
    } else {
        let each = |event: Value| {
            tokens.take(&event);
            match event["choices"][0]["delta"]["content"].as_str() {
                Some(delta) => printed.add(delta),
                // The whole answer, where it comes at the end or nothing is streamed.
                None => text(&event).map_or(Ok(()), |whole| printed.complete(&whole)),
            }
        };
        daemon.stream(Task::CHAT, body, args.via.terms(), each).await?;
    }
    printed.end()?;
    if args.writing.explain {
        output::write(tokens.lines())?;
    }
    Ok(printed.text)
}
