//! Files that are whole or absent.

use std::io::Write;
use std::path::Path;

use crate::error::{Failure, Result};

/// Writes `content` beside `path`, syncs it, and moves it there: a reader sees the old file or the new one.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    create_dir(dir)?;
    let failed = |e| Failure::write(path, e);
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The process's mask is applied to it, as to any other file.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.prefix(".part-").tempfile_in(dir).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|e| Failure::write(path, e.error))?;
    Ok(())
}

/// Makes a directory and its parents.
pub fn create_dir(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(|e| Failure::write(dir, e))
}
