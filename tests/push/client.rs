//! The client, as an operator calls it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The client, which lies beside the daemon.
pub fn linnet() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_linnetd")).with_file_name("linnet");
    assert!(program.is_file(), "{} is missing: cargo build --release --workspace makes it", program.display());
    let mut command = Command::new(program);
    for name in ["LINNET_FLEET_DIR", "LINNET_MQTT_URL", "LINNET_MQTT_PASSWORD", "LINNET_SOCKET"] {
        command.env_remove(name);
    }
    command
}

/// What a command said.
pub struct Said {
    pub ok: bool,
    /// Everything.
    pub text: String,
    /// The object on the last line, where there is one.
    pub last: Value,
}

/// Runs it to its end.
pub fn said(mut command: Command) -> Said {
    let output = command.output().expect("linnet runs");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = out.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null);
    Said { ok: output.status.success(), text, last }
}
