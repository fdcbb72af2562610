//! `linnetd`: arguments in, documented exit code out. Everything else is the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match linnet::cli::Cli::try_parse() {
        Ok(cli) => linnet::run(cli).into(),
        Err(asked) => {
            // Help and version are printed to stdout and are no error. A closed pipe there is nobody's fault.
            let _ = asked.print();
            if asked.use_stderr() { linnet::exit::Exit::Usage.into() } else { ExitCode::SUCCESS }
        }
    }
}
