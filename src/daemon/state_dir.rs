//! The state directory: made at the start, and used by MQTT alone.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::config::Config;

/// Makes the state directory and tries whether it can be written. The daemon serves without one: what that costs is told
/// here, and by MQTT's part of the status for as long as it lasts.
pub fn prepare(config: &Config) {
    let path = &config.state_dir;
    let Err(source) = make_writable(path) else { return };
    let then = if config.mqtt.is_some() {
        "MQTT serves without it: answers that wait are lost when linnetd ends, and a request that takes it down is not \
         recognised; make it writable, or name another with --state DIR"
    } else {
        "nothing needs it while MQTT is off"
    };
    log::warn!("{}: the state directory cannot be written: {source}; {then}", path.display());
}

fn make_writable(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // The kernel's answer, and not the mode bits: a read-only mount or a full quota shows only when it is tried.
    tempfile::tempfile_in(path).map(|_| ())
}
