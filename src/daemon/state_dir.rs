//! The state directory: made at the start, and needed by MQTT alone.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::DaemonError;
use crate::config::Config;

/// Makes the state directory and tries whether it can be written. Without MQTT nothing needs it, so that a failure is only
/// worth a warning.
pub fn prepare(config: &Config) -> Result<(), DaemonError> {
    let path = &config.state_dir;
    let Err(source) = make_writable(path) else { return Ok(()) };
    if config.mqtt.is_some() {
        return Err(DaemonError::State { path: path.clone(), source });
    }
    log::warn!(
        "{}: the state directory cannot be written: {source}; nothing needs it while MQTT is off",
        path.display()
    );
    Ok(())
}

fn make_writable(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // The kernel's answer, and not the mode bits: a read-only mount or a full quota shows only when it is tried.
    tempfile::tempfile_in(path).map(|_| ())
}
