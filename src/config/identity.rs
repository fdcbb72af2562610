//! What this device was granted by its claim: a layer of its own, between the defaults and the device's file.
//!
//! It lies in the state directory as a file in the form of `linnet.toml`, written once ([`crate::provision`]). The file of the configuration goes before it
//! in everything but the two names, which must agree where both say them. It counts only while `fleet.claim` is set.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::Surroundings;
use super::document::{self, Values};
use super::error::{ConfigError, Fault};

/// Directory of the device's key and of what it was granted, inside the state directory.
pub const IDENTITY_DIR: &str = "identity";
/// The layer, in that directory.
pub const GRANTED_FILE: &str = "granted.toml";

/// How far this device has come with its claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Identity {
    /// No claim is configured.
    #[default]
    None,
    /// It has a claim and no name yet; with a sentence where what was granted cannot be read.
    Claimed(Option<String>),
    /// It has the name that this file gives.
    Granted(PathBuf),
}

/// Keys that the device's own file may only say as they were granted.
const NAMES: [(&str, &str); 3] = [("device", "device"), ("mqtt.device", "device"), ("fleet.name", "fleet.name")];

/// The layer for a device whose own file, environment and flags come to `own`.
pub(super) fn read(own: &Values, around: &Surroundings) -> Result<(Identity, Values), ConfigError> {
    if own.get("fleet.claim").is_none() {
        return Ok((Identity::None, Values::default()));
    }
    let path = place(own, around);
    if std::fs::metadata(&path).is_err_and(|e| e.kind() == ErrorKind::NotFound) {
        return Ok((Identity::Claimed(None), Values::default()));
    }
    // Damage takes nobody down: the device asks again, with the same key, and is given the same.
    let granted = match document::read_file(&path) {
        Ok(granted) if granted.get("device").is_some() => granted,
        Ok(_) => {
            return Ok((Identity::Claimed(Some(format!("{}: it gives no name", path.display()))), Values::default()));
        }
        Err(e) => return Ok((Identity::Claimed(Some(e.to_string())), Values::default())),
    };
    agreed(own, granted, path)
}

/// The layer as it would be if the file held `text`.
pub(super) fn offered(own: &Values, around: &Surroundings, text: &str) -> Result<(Identity, Values), ConfigError> {
    let path = place(own, around);
    let granted = document::parse(text, &path, path.parent().unwrap_or(Path::new(".")))?;
    agreed(own, granted, path)
}

fn place(own: &Values, around: &Surroundings) -> PathBuf {
    let state = own.get("state").and_then(toml::Value::as_str).map_or_else(|| around.state.clone(), PathBuf::from);
    state.join(IDENTITY_DIR).join(GRANTED_FILE)
}

/// The layer, unless the device's own file says other names.
fn agreed(own: &Values, granted: Values, path: PathBuf) -> Result<(Identity, Values), ConfigError> {
    let faults: Vec<Fault> = NAMES
        .iter()
        .filter(|(key, of)| own.get(key).is_some_and(|said| Some(said) != granted.get(of)))
        .map(|(key, of)| conflict(own, key, granted.get(of), &path))
        .collect();
    if faults.is_empty() { Ok((Identity::Granted(path), granted)) } else { Err(ConfigError::Faults(faults)) }
}

fn conflict(own: &Values, key: &str, granted: Option<&toml::Value>, path: &Path) -> Fault {
    let shown = granted.map_or_else(|| "another".to_owned(), ToString::to_string);
    let message = format!(
        "this device was granted {shown} by its claim ({}): take this line out; or remove that file, and it asks again for a name",
        path.display()
    );
    Fault { place: own.place(key), key: key.to_owned(), message }
}
