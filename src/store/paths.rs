//! Which paths a package may name.

use std::path::{Component, Path};

use linnet_proto::manifest::Manifest;

use super::MANIFEST;

/// Longest relative path, bytes.
const MAX_PATH_BYTES: usize = 512;
/// Most names that [`unlisted`] gives.
const MAX_UNLISTED: usize = 64;
/// Deepest directory that [`unlisted`] enters.
const MAX_DEPTH: usize = 8;

/// A path inside the package is relative, with `/`, without `.` or `..`. The error completes "…, which".
pub(super) fn check(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > MAX_PATH_BYTES {
        return Err("is empty or longer than 512 bytes");
    }
    if name.contains(['\\', '\0', '\n']) {
        return Err("has a backslash, a line end or a zero byte in it");
    }
    if name.starts_with('/') {
        return Err("is absolute; a package may only name its own files");
    }
    if name.split('/').any(|part| matches!(part, "" | "." | ".."))
        || Path::new(name).components().any(|c| !matches!(c, Component::Normal(_)))
    {
        return Err("has an empty, `.` or `..` part; a package may only name its own files");
    }
    Ok(())
}

/// Files under `root` that `manifest` does not list, sorted; at most [`MAX_UNLISTED`]. Symbolic links are named, not
/// followed.
pub(super) fn unlisted(root: &Path, manifest: &Manifest) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    walk(root, "", 0, &mut |name| {
        if name != MANIFEST && !manifest.files.contains_key(name) && found.len() < MAX_UNLISTED {
            found.push(name.to_owned());
        }
    })?;
    found.sort();
    Ok(found)
}

fn walk(dir: &Path, prefix: &str, depth: usize, each: &mut dyn FnMut(&str)) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() && depth < MAX_DEPTH {
            walk(&entry.path(), &format!("{name}/"), depth + 1, each)?;
        } else {
            each(&name);
        }
    }
    Ok(())
}
