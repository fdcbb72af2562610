//! What a manifest must say.

use linnet_proto::manifest::{Canary, MANIFEST_VERSION, Manifest};

use super::{CONFIG, CTC_FAMILY, MANIFEST, MAX_FILES, TOKENIZER, paths};

/// Longest name or alias, bytes.
const MAX_NAME_BYTES: usize = 64;

/// Checks everything that the manifest alone can answer for; the error names the key.
pub(super) fn check(manifest: &Manifest) -> Result<(), String> {
    if manifest.manifest_version != MANIFEST_VERSION {
        return Err(format!(
            "manifest_version is {}, but this build reads {MANIFEST_VERSION}; update linnetd or the package",
            manifest.manifest_version
        ));
    }
    check_names(manifest)?;
    check_version(&manifest.version)?;
    check_words("tasks", &manifest.tasks, |t| t.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))?;
    if manifest.tasks.is_empty() {
        return Err("tasks is empty; name at least one".into());
    }
    // A model of code or of numbers may speak no language.
    check_words("languages", &manifest.languages, |l| {
        (2..=3).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_lowercase())
    })?;
    if manifest.license.trim().is_empty() {
        return Err("license is empty; it is an SPDX expression such as \"MIT OR Apache-2.0\"".into());
    }
    if manifest.family.is_empty() || manifest.family.len() > MAX_NAME_BYTES {
        return Err("family is empty or too long; it is the model_type of config.json".into());
    }
    if manifest.files.len() > MAX_FILES {
        return Err(format!("files lists {} files, more than the {MAX_FILES} allowed", manifest.files.len()));
    }
    for (name, entry) in &manifest.files {
        paths::check(name).map_err(|rule| format!("files lists `{}`, which {rule}", name.escape_debug()))?;
        if name == MANIFEST {
            return Err(format!("files lists `{MANIFEST}`, which cannot hold its own digest"));
        }
        if entry.sha256.len() != 64 || !entry.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(format!("files.\"{name}\".sha256 is not 64 lower-case hexadecimal digits"));
        }
    }
    let needed = if manifest.family == CTC_FAMILY { &[CONFIG, TOKENIZER][..] } else { &[] };
    for needed in needed {
        if !manifest.files.contains_key(*needed) {
            return Err(format!("files does not list `{needed}`, which the package needs"));
        }
    }
    match &manifest.canary {
        None => Err("canary is missing; it is the canned request that proves the model on this machine".into()),
        Some(Canary::Speech(canary)) => {
            if !manifest.files.contains_key(&canary.audio) {
                return Err(format!("files does not list `{}`, which the canary needs", canary.audio));
            }
            check_fingerprint(canary.logprob, canary.logprob_tolerance)
        }
        Some(Canary::Tokens(canary)) => check_fingerprint(canary.logprob, canary.logprob_tolerance),
        Some(Canary::Outputs(canary)) => {
            if !canary.tolerance.is_finite() || canary.tolerance <= 0.0 {
                return Err(format!("canary.tolerance is {}, but must be above 0", canary.tolerance));
            }
            match canary.rms.iter().find(|(_, rms)| !rms.is_finite() || **rms < 0.0) {
                Some((name, rms)) => Err(format!("canary.rms.\"{name}\" is {rms}, which no root mean square is")),
                None => Ok(()),
            }
        }
    }
}

/// Checks name and aliases.
pub fn check_names(manifest: &Manifest) -> Result<(), String> {
    check_name("name", &manifest.name)?;
    manifest.aliases.iter().try_for_each(|alias| check_name("aliases", alias))
}

fn check_fingerprint(logprob: f64, tolerance: f64) -> Result<(), String> {
    if !logprob.is_finite() || logprob > 0.0 {
        return Err(format!("canary.logprob is {logprob}, but a log-probability is finite and at most 0"));
    }
    if !tolerance.is_finite() || tolerance <= 0.0 {
        return Err(format!("canary.logprob_tolerance is {tolerance}, but must be above 0"));
    }
    Ok(())
}

fn check_name(key: &str, name: &str) -> Result<(), String> {
    let mut bytes = name.bytes();
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let good = bytes.next().is_some_and(lower)
        && bytes.all(|b| lower(b) || matches!(b, b'.' | b'_' | b'-'))
        && name.len() <= MAX_NAME_BYTES;
    if good {
        return Ok(());
    }
    Err(format!(
        "{key} has \"{}\", but a name is a-z or 0-9, then up to 63 of a-z, 0-9, `.`, `_` and `-`",
        name.escape_debug()
    ))
}

/// `MAJOR.MINOR.PATCH`, with what semantic versioning allows behind it.
fn check_version(version: &str) -> Result<(), String> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    let number = |n: &&str| {
        !n.is_empty() && n.len() <= 9 && n.bytes().all(|b| b.is_ascii_digit()) && (*n == "0" || !n.starts_with('0'))
    };
    let tail = &version[core.len()..];
    let good = numbers.len() == 3
        && numbers.iter().all(number)
        && (tail.is_empty() || tail.len() > 1)
        && tail.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+'));
    if good {
        return Ok(());
    }
    Err(format!("version is \"{}\", but must be semantic, such as \"1.0.0\"", version.escape_debug()))
}

fn check_words(key: &str, words: &[String], rule: impl Fn(&str) -> bool) -> Result<(), String> {
    match words.iter().find(|w| w.is_empty() || w.len() > MAX_NAME_BYTES || !rule(w)) {
        Some(word) => Err(format!("{key} has \"{}\", which is not one", word.escape_debug())),
        None => Ok(()),
    }
}
