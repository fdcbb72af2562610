//! The authorities that sources are verified by, looked at before anything is asked of a source.

use linnet_fleet::source::fault_of_authorities;

use crate::config::{Config, ConfigError};

/// Whether `fleet.ca_file`, where it is set, is a file that servers can be verified by. The running daemon does without a source that it
/// cannot verify, and says so; `linnetd --check` refuses.
pub fn check_authorities(config: &Config) -> Result<(), ConfigError> {
    let Some(file) = config.authorities() else { return Ok(()) };
    match fault_of_authorities(file) {
        Some(why) => Err(config.fault("fleet.ca_file", format!("{}: {why}", file.display()))),
        None => Ok(()),
    }
}
