//! Other programs that are asked: each with a time limit and a bound on what it may say.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// How long one may take. `linnetd --check` looks at every package, which takes a while on a slow card.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// What a program said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// Exit code; `None` when a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Said {
    pub(super) fn succeeded(&self) -> bool {
        self.code == Some(0)
    }
}

/// Runs `command`; the first `max_bytes` of each of its outputs are kept. `Err` says in words why it said nothing.
pub(super) async fn ask(mut command: Command, max_bytes: u64) -> Result<Said, String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|e| format!("{name}: {e}"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let all = async {
        let (stdout, stderr, status) =
            tokio::join!(bounded(stdout, max_bytes), bounded(stderr, max_bytes), child.wait());
        let status = status.map_err(|e| format!("{name}: {e}"))?;
        Ok(Said { code: status.code(), stdout, stderr })
    };
    let late = |_| Err(format!("{name}: it did not end within {} s", TIME_LIMIT.as_secs()));
    tokio::time::timeout(TIME_LIMIT, all).await.unwrap_or_else(late)
}

/// Reads to the end, so that the program does not wait for its reader, and keeps the beginning.
async fn bounded(pipe: Option<impl AsyncRead + Unpin>, max_bytes: u64) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let mut kept = Vec::new();
    // What cannot be read is as if it had not been said.
    let _ = (&mut pipe).take(max_bytes).read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_says_too_much_is_read_to_its_end_and_kept_in_part() {
        let mut command = Command::new("sh");
        command.args(["-c", "head -c 1000000 /dev/zero | tr '\\0' x; echo why >&2; exit 3"]);
        let said = ask(command, 100).await.expect("it runs");
        assert_eq!((said.code, said.stdout.len(), said.stderr.as_str()), (Some(3), 100, "why\n"));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let e = ask(Command::new("/nowhere/linnetd"), 100).await.expect_err("it is not there");
        assert!(e.starts_with("/nowhere/linnetd: "), "{e}");
    }
}
