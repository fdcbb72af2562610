//! The command line: arguments, what each command does, exit codes.

mod args;
mod at_rest;
mod doctor;
mod fleet;
mod models;
mod output;
mod progress;
mod pull;
mod quoting;
mod shell;
mod status;
mod tasks;
mod transcribe;

use std::process::ExitCode;

use clap::Parser;

pub use args::{Cli, Command};

use crate::{ClientError, Local, socket};

/// Runs the process: parses the arguments, answers, and chooses the exit code (`sysexits.h`).
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are no mistake; everything else is one of the command line.
            let mistake = e.use_stderr();
            let _ = e.print();
            return if mistake { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("linnet: no runtime: {e}");
            return ExitCode::from(71);
        }
    };
    let after_interrupt = cli.command.after_interrupt();
    let done = runtime.block_on(async {
        tokio::select! {
            done = run(cli) => done,
            _ = tokio::signal::ctrl_c() => Err(ClientError::Interrupted(after_interrupt)),
        }
    });
    // A read of standard input may still be blocked in its thread; it must not hold up the end.
    runtime.shutdown_background();
    match done {
        Ok(code) => code,
        // The reader of a pipe has had enough (`linnet … | head`).
        Err(ClientError::Output(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("linnet: {e}");
            ExitCode::from(e.exit_code())
        }
    }
}

async fn run(cli: Cli) -> Result<ExitCode, ClientError> {
    let local = Local::new(cli.socket.unwrap_or_else(socket::default_path));
    match cli.command {
        Command::Transcribe(args) => transcribe::run(&local, *args).await,
        Command::Translate(args) => tasks::translate::run(&local, *args).await,
        Command::Detect(args) => tasks::translate::detect(&local, *args).await,
        Command::Generate(args) => tasks::generate::run(&local, *args).await,
        Command::Chat(args) => tasks::chat::run(&local, *args).await,
        Command::Summarize(args) => tasks::reading::summarize(&local, *args).await,
        Command::Answer(args) => tasks::reading::answer(&local, *args).await,
        Command::Embed(args) => tasks::reading::embed(&local, *args).await,
        Command::Words(args) => tasks::reading::words(&local, *args).await,
        Command::Fill(args) => tasks::labels::fill(&local, *args).await,
        Command::Classify(args) => tasks::labels::classify(&local, *args).await,
        Command::Tag(args) => tasks::labels::tag(&local, *args).await,
        Command::Intent(args) => tasks::labels::intent(&local, *args).await,
        Command::Status(args) => status::run(&local, args.json).await,
        Command::Doctor(args) => doctor::run(&local, args).await,
        Command::Models(args) => models::run(&local, args).await,
        Command::Bench { model, threads, prompt_tokens, new_tokens, rounds, json } => {
            let numbers = [threads, prompt_tokens, new_tokens, rounds];
            models::bench(&model, numbers, json).await
        }
        Command::Fleet(args) => fleet::run(*args).await,
        Command::Completions { shell } => shell::completions(shell),
        Command::Man { dir } => shell::man(dir.as_deref()),
    }
}
