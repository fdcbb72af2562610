//! `linnet`: see `linnet --help` and `docs/cli.md`.

use std::process::ExitCode;

fn main() -> ExitCode {
    linnet_client::cli::main()
}
