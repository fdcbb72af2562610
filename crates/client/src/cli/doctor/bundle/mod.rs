//! The support file: what somebody who helps needs to know, and nothing that anybody said or that opens anything.
//!
//! It holds only what is listed in [`parts`]; audio, texts, answers that wait, keys, tokens and passwords are not among it. As a second
//! line, whatever stands in the secret files that the configuration names is taken out of every part ([`scrub`]).

mod journal;
mod parts;
mod scrub;

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use tempfile::NamedTempFile;

use self::parts::Part;
use self::scrub::Scrub;
use super::Seen;
use super::report::Report;
use super::settings::Checked;
use crate::{ClientError, Local};

/// Directory of everything in the file.
const DIRECTORY: &str = "linnet-support";

/// The file that was written, and what is in it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Written {
    file: String,
    bytes: u64,
    holds: Vec<Held>,
}

/// One file of it.
#[derive(Debug, Clone, Serialize)]
struct Held {
    name: String,
    bytes: usize,
    what: &'static str,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({} KiB) holds:", self.file, self.bytes.div_ceil(1024))?;
        for held in &self.holds {
            writeln!(f, "  {:<14}{:>8} B  {}", held.name, held.bytes, held.what)?;
        }
        writeln!(
            f,
            "No audio, text, answer, token, password or key is in it. Names of this machine, of models, files, users and of the \
             broker are: look through it before you pass it on."
        )
    }
}

/// Writes the support file, readable by this user alone. A file of that name is replaced once the new one is whole.
pub(super) async fn write(path: &Path, local: &Local, seen: &Seen, report: &Report) -> Result<Written, ClientError> {
    let scrub = Scrub::of(&seen.settings, matches!(seen.checked, Checked::Right | Checked::NoFile));
    let mut parts = parts::gather(local, seen, report).await;
    for part in &mut parts {
        part.text = scrub.clean(&part.text);
    }
    let failed = |source| ClientError::Write { path: path.to_owned(), source };
    let bytes = pack(path, &parts, u64::try_from(seen.now).unwrap_or(0)).map_err(failed)?;
    let held = |part: &Part| Held { name: part.name.to_owned(), bytes: part.text.len(), what: part.what };
    Ok(Written { file: path.display().to_string(), bytes, holds: parts.iter().map(held).collect() })
}

/// Gives the file's size.
fn pack(path: &Path, parts: &[Part], now_secs: u64) -> io::Result<u64> {
    let directory = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    // Made with mode 0600.
    let file = NamedTempFile::new_in(directory)?;
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for part in parts {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o600);
        header.set_mtime(now_secs);
        header.set_size(part.text.len() as u64);
        archive.append_data(&mut header, format!("{DIRECTORY}/{}", part.name), part.text.as_bytes())?;
    }
    let mut file = archive.into_inner()?.finish()?;
    file.flush()?;
    let file: File = file.persist(path).map_err(|e| e.error)?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}
