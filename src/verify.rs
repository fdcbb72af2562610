//! `linnetd verify`: checks packages file by file and has each answer its canary, without serving. `linnet models verify`
//! runs it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::daemon::models;
use crate::status::Events;
use crate::store::{self, MANIFEST, Package};
use crate::task::catalog::Loader;

/// What was found of one package; serialized, it is one line of `--json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The package's directory.
    pub dir: PathBuf,
    /// Its name, where the manifest could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its version, where the manifest could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether it would serve.
    pub ok: bool,
    /// Why not; one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Bytes that were read and agree with the manifest.
    pub bytes: u64,
    /// Files that the manifest does not list; they are never read.
    pub unlisted: Vec<String>,
    /// How long it took, milliseconds.
    pub ms: u64,
}

impl Report {
    /// One line for people.
    pub fn line(&self) -> String {
        let what = match (&self.name, &self.version) {
            (Some(name), Some(version)) => format!("{name} {version} ({})", self.dir.display()),
            _ => self.dir.display().to_string(),
        };
        let mut line = match &self.reason {
            None => format!(
                "{what}: ok, {:.1} MiB and its canary in {} ms",
                self.bytes as f64 / f64::from(1 << 20),
                self.ms
            ),
            Some(reason) => format!("{what}: FAILED: {reason}"),
        };
        if !self.unlisted.is_empty() {
            line.push_str(&format!("; not listed and never read: {}", self.unlisted.join(", ")));
        }
        line
    }
}

/// Nothing that could be verified was named.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// No directory of packages is known.
    #[error("no directory of model packages is known; name a package's directory, or set --models or LINNET_MODELS")]
    NoModels,
    /// The directory cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Models {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A name is neither a directory nor a package there.
    #[error("`{name}` is neither a package's directory nor the name of a package in {models}")]
    Unknown {
        /// As it was given.
        name: String,
        /// Where was looked.
        models: String,
    },
}

/// The directories that `wanted` means: each a package's directory or the name of one in `models`; without any, all of
/// `models`.
pub fn choose(wanted: &[String], models: &[PathBuf]) -> Result<Vec<PathBuf>, VerifyError> {
    if !wanted.is_empty() {
        return wanted.iter().map(|name| find(name, models)).collect();
    }
    if models.is_empty() {
        return Err(VerifyError::NoModels);
    }
    let (mut all, mut readable, mut refused) = (Vec::new(), false, None);
    for models in models {
        // One is enough, as where the daemon serves: a site's own may be made later.
        match store::package_directories(models) {
            Ok(dirs) => {
                readable = true;
                all.extend(dirs.into_iter().filter(|dir| dir.join(MANIFEST).is_file()));
            }
            Err(source) => refused = refused.or(Some(VerifyError::Models { path: models.clone(), source })),
        }
    }
    match refused {
        Some(refused) if !readable => Err(refused),
        _ => Ok(all),
    }
}

fn find(name: &str, models: &[PathBuf]) -> Result<PathBuf, VerifyError> {
    let there = models.iter().filter(|_| !name.contains('/')).map(|models| models.join(name));
    std::iter::once(PathBuf::from(name)).chain(there).find(|dir| dir.is_dir()).ok_or_else(|| {
        let models: Vec<_> = models.iter().map(|models| models.display().to_string()).collect();
        let models = match models.len() {
            0 => "a directory of models, of which none is known".to_owned(),
            _ => models.join(", "),
        };
        VerifyError::Unknown { name: name.to_owned(), models }
    })
}

/// Verifies the package in `dir` and runs its canary.
pub fn verify(dir: &Path) -> Report {
    let began = Instant::now();
    let loader = models::loader(Events::default());
    let mut report = inspect(dir, &loader);
    report.ms = u64::try_from(began.elapsed().max(Duration::from_millis(1)).as_millis()).unwrap_or(u64::MAX);
    report
}

fn inspect(dir: &Path, loader: &Loader) -> Report {
    let manifest = store::read_manifest(dir).ok();
    let mut report = Report {
        dir: dir.to_owned(),
        name: manifest.as_ref().map(|m| m.name.clone()),
        version: manifest.map(|m| m.version),
        ok: false,
        reason: None,
        bytes: 0,
        unlisted: Vec::new(),
        ms: 0,
    };
    match Package::open(dir) {
        Ok(package) => {
            report.bytes = package.manifest.files.values().map(|f| f.bytes).sum();
            report.unlisted.clone_from(&package.unlisted);
            match loader.prove(&package) {
                Ok(_) => report.ok = true,
                Err(reason) => report.reason = Some(reason),
            }
        }
        Err(error) => report.reason = Some(error.to_string()),
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_a_directory_first_and_a_bundled_package_second() {
        let models = tempfile::tempdir().expect("a directory");
        for name in ["b-model", "a-model", "no-package"] {
            std::fs::create_dir(models.path().join(name)).expect("a directory");
        }
        for name in ["b-model", "a-model"] {
            std::fs::write(models.path().join(name).join(MANIFEST), "").expect("a file");
        }
        let own = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(own.path().join("z-model")).expect("a directory");
        std::fs::write(own.path().join("z-model").join(MANIFEST), "").expect("a file");
        let dirs = [own.path().to_owned(), models.path().to_owned()];
        let all = choose(&[], &dirs).expect("all");
        let wanted = [own.path().join("z-model"), models.path().join("a-model"), models.path().join("b-model")];
        assert_eq!(all, wanted, "the order of directories, then of names");
        let one = choose(&["a-model".into()], &dirs).expect("one");
        assert_eq!(one, [models.path().join("a-model")]);
        let path = models.path().join("no-package").display().to_string();
        assert_eq!(choose(std::slice::from_ref(&path), &[]).expect("a path"), [PathBuf::from(path)]);
        let e = choose(&["c-model".into()], &dirs).expect_err("unknown").to_string();
        assert!(e.contains("`c-model`") && dirs.iter().all(|d| e.contains(&d.display().to_string())), "{e}");
        assert!(matches!(choose(&[], &[]), Err(VerifyError::NoModels)));
    }

    #[test]
    fn a_package_that_cannot_be_read_is_reported_with_its_reason() {
        let dir = tempfile::tempdir().expect("a directory");
        let report = verify(dir.path());
        assert!(!report.ok);
        assert!(report.line().contains("manifest.toml"), "{}", report.line());
        assert!(serde_json::to_string(&report).expect("JSON").contains("\"ok\":false"));
    }
}
