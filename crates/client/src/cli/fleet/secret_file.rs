//! A file that holds a secret, and comes whole or not at all.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::quoted;
use crate::ClientError;

/// A file that is to come. It lies unnamed in its directory until it is whole; dropped before, nothing is left of it.
pub(super) struct SecretFile {
    path: PathBuf,
    dir: PathBuf,
    unfinished: NamedTempFile,
}

impl SecretFile {
    /// Looks whether it can be written, and finds what is in the way.
    pub(super) fn begin(path: &Path) -> Result<Self, ClientError> {
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
            _ => PathBuf::from("."),
        };
        if path.symlink_metadata().is_ok() {
            let what =
                if path.is_dir() { "a directory" } else { "there already, and may be the only copy of another claim" };
            return Err(ClientError::BadUrl(format!("{} is {what}; name another file with -o", path.display())));
        }
        // The path's own parts leave a slash at its end out.
        if path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(ClientError::BadUrl(format!("{} names no file; name one with -o", path.display())));
        }
        if !dir.is_dir() {
            return Err(ClientError::NoDirectory(format!(
                "{} cannot be written: there is no directory {}; make it (`mkdir -p {}`), or name another file with -o",
                path.display(),
                dir.display(),
                quoted(&dir.display().to_string())
            )));
        }
        // Its mode is 0600.
        let unfinished = NamedTempFile::with_prefix_in(".linnet-claim-", &dir);
        let unfinished = unfinished.map_err(|e| {
            // Its own words name the file that nobody has asked for.
            ClientError::Write { path: path.to_owned(), source: e.kind().into() }
        })?;
        Ok(Self { path: path.to_owned(), dir, unfinished })
    }

    /// Writes it and gives it its name, which nobody may have taken meanwhile.
    pub(super) fn end(mut self, content: &[u8]) -> Result<(), ClientError> {
        let failed = |source| ClientError::Write { path: self.path.clone(), source };
        self.unfinished.write_all(content).and_then(|()| self.unfinished.as_file().sync_all()).map_err(failed)?;
        self.unfinished
            .persist_noclobber(&self.path)
            .map_err(|e| ClientError::Write { path: self.path.clone(), source: e.error })?;
        // A file system that cannot do this has no better way.
        let _ = File::open(&self.dir).and_then(|dir| dir.sync_all());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_comes_whole_and_for_its_owner_alone_or_not_at_all() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("claim.toml");
        let begun = SecretFile::begin(&path).expect("it can be written");
        assert!(!path.exists());
        assert!(SecretFile::begin(Path::new(&format!("{}/claims/", home.path().display()))).is_err(), "no file");
        drop(begun);
        assert_eq!(std::fs::read_dir(home.path()).expect("a directory").count(), 0, "nothing is left of it");
        let (one, other) = (SecretFile::begin(&path).expect("free"), SecretFile::begin(&path).expect("still free"));
        one.end(b"one").expect("written");
        assert!(other.end(b"other").is_err(), "nothing is overwritten");
        assert_eq!(std::fs::read(&path).expect("there"), b"one");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(home.path()).expect("a directory").count(), 1);
    }
}
