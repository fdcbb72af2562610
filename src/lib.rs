//! The daemon as a library, so that the binary is thin and everything is testable.
//!
//! A request reads as a sentence: [`transport`] decodes a `linnet_proto` message, [`job`] admits it, [`scheduler`]
//! orders it, a worker runs a [`task`] pipeline on an [`engine`] session, and the reply leaves by the transport that
//! it came from. `docs/ARCHITECTURE.md` is the map.

pub mod cli;
pub mod config;
pub mod daemon;
#[cfg(feature = "demo")]
pub mod demo;
pub mod engine;
pub mod exit;
pub mod job;
pub mod limits;
pub mod logging;
pub mod scheduler;
pub mod status;
pub mod store;
pub mod sys;
pub mod task;
pub mod transport;

use std::path::Path;

use cli::{Cli, Verb};
use exit::Exit;

/// Does what the command line asks; errors are one sentence on stderr.
pub fn run(cli: Cli) -> Exit {
    match cli.verb {
        #[cfg(feature = "demo")]
        Some(Verb::Demo { file, models }) => run_demo(file, models),
        Some(Verb::ExplainCpu) => print(&engine::tract::cpu_report().to_string()),
        None => match &cli.serve.check {
            Some(file) => check(file),
            None => serve(&cli.serve),
        },
    }
}

/// `linnetd` without a verb.
fn serve(flags: &cli::Serve) -> Exit {
    let sources = config::Sources {
        flags: flags.overrides(),
        environment: config::Overrides::from_environment(|name| std::env::var_os(name)),
        around: sys::surroundings::look(),
    };
    match daemon::serve(sources) {
        Ok(()) => Exit::Ok,
        Err(e) => fail(e.exit(), &e),
    }
}

/// `linnetd --check FILE`.
fn check(file: &Path) -> Exit {
    match config::check_file(file, &sys::surroundings::look()) {
        Ok(_) => print(&format!("{}: ok\n", file.display())),
        Err(refused) => fail(Exit::Config, &refused),
    }
}

#[cfg(feature = "demo")]
fn run_demo(file: Option<std::path::PathBuf>, models: Option<std::path::PathBuf>) -> Exit {
    use demo::DemoError;
    match demo::run(&demo::DemoOptions { file, models }) {
        Ok(()) => Exit::Ok,
        Err(e) => fail(
            match &e {
                DemoError::File { .. } => Exit::NoInput,
                DemoError::Start(_) | DemoError::Answer { .. } => Exit::Unavailable,
                DemoError::Interrupted => Exit::Interrupted,
            },
            &e,
        ),
    }
}

/// Prints to stdout. A reader that has gone away (`| head`) is no error.
fn print(text: &str) -> Exit {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => fail(Exit::IoError, &format!("stdout: {e}")),
        _ => Exit::Ok,
    }
}

/// Says why on stderr.
fn fail(exit: Exit, why: &dyn std::fmt::Display) -> Exit {
    eprintln!("linnetd: {why}");
    exit
}
