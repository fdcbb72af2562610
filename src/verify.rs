//! `linnetd verify`: checks packages file by file and has each answer its canary, without serving. `linnet models verify`
//! runs it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::config::{self, Overrides, Sources};
use crate::daemon::models;
use crate::push::held;
use crate::status::Events;
use crate::store::generations::StoreError;
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
    /// The generation that brought it; absent for one that was installed or added on the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
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
        let what = match self.generation {
            Some(number) => format!("{what} of generation {number}"),
            None => what,
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

/// Where packages are looked for.
#[derive(Debug, Default)]
pub struct Places {
    /// Directories of packages, in the daemon's order.
    pub models: Vec<PathBuf>,
    /// Which of them holds the packages of the generation that serves, and its number.
    pub generation: Option<(PathBuf, u64)>,
    /// What could not be looked at, each one sentence.
    pub hidden: Vec<String>,
}

impl Places {
    /// All that the daemon of this machine looks into, the packages of the generation that serves among them.
    pub fn of_daemon(flags: Overrides) -> Self {
        let environment = Overrides::from_environment(|name| std::env::var_os(name));
        Self::of(Sources { flags, environment, around: crate::sys::surroundings::look(), generation: None })
    }

    fn of(mut sources: Sources) -> Self {
        let local = match config::load(&sources) {
            Ok(local) => local,
            Err(e) => {
                let named = sources.environment.models.iter().map(PathBuf::from);
                let models = named.chain(sources.around.models.clone()).collect();
                let why = format!("which models this daemon looks into cannot be told, so not all are verified: {e}");
                return Self { models, hidden: vec![why], generation: None };
            }
        };
        let mut hidden = Vec::new();
        match held::serving_layer(&local) {
            Ok(generation) => sources.generation = generation,
            Err(StoreError::Read { path, source }) => {
                hidden.push(format!(
                    "the packages of this device's generation are not verified: {}: {source}{}",
                    path.display(),
                    way_in(&source)
                ));
            }
            Err(e) => hidden.push(format!("the packages of this device's generation are not verified: {e}")),
        }
        // A generation whose configuration does not fit here has packages all the same.
        let config = config::load(&sources).unwrap_or(local);
        let generation = config.packages().map(|dir| (dir.to_owned(), config.generation()));
        for dir in &config.models {
            // One that is not there is no fault: it may be made later.
            if let Err(e) = dir.read_dir()
                && e.kind() != std::io::ErrorKind::NotFound
            {
                hidden.push(format!("the packages in {} are not verified: {e}{}", dir.display(), way_in(&e)));
            }
        }
        Self { models: config.models, generation, hidden }
    }
}

fn way_in(e: &std::io::Error) -> &'static str {
    match e.kind() {
        std::io::ErrorKind::PermissionDenied => "; ask as root, or as the daemon's user",
        _ => "",
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
        generation: None,
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

    #[test]
    fn a_device_of_a_fleet_has_the_packages_of_its_generation_verified_whatever_is_bundled() {
        use crate::store::generations::fs::RealDisk;
        use crate::store::generations::{GenerationStore, Options};
        let home = tempfile::tempdir().expect("a directory");
        let (state, file) = (home.path().join("state"), home.path().join("linnet.toml"));
        let fleet = "[fleet]\nname = \"home\"\nroot = \"root.json\"\nsources = [\"/media/stick\"]\n";
        std::fs::write(&file, format!("state = {:?}\n{fleet}", state.display().to_string())).expect("written");
        std::fs::write(home.path().join("root.json"), "{}").expect("written");
        let around = config::Surroundings {
            device: "hall".into(),
            socket: home.path().join("socket"),
            state: home.path().join("elsewhere"),
            models: None,
            processors: 1,
        };
        let flags = Overrides { config: Some(file.clone()), ..Overrides::default() };
        let sources = || Sources {
            flags: flags.clone(),
            environment: Overrides::default(),
            around: around.clone(),
            generation: None,
        };
        let shipped = Places::of(sources());
        assert_eq!((shipped.models, shipped.generation, shipped.hidden), (vec![state.join("models")], None, vec![]));

        let disk = RealDisk::at(&state.join("fleet")).expect("a directory");
        let mut store = GenerationStore::open(Box::new(disk), Options::default()).expect("opens").store;
        let generation = linnet_proto::fleet::Generation::empty("home", 7);
        let document = serde_json::to_vec(&generation).expect("JSON");
        store.keep_document(&document).expect("keeps");
        store.install(&document, &generation).expect("installs");
        store.set_live(7).expect("it is whole");
        let packages = store.packages_dir(7);
        std::fs::create_dir_all(packages.join("a-model")).expect("a directory");
        std::fs::write(packages.join("a-model").join(MANIFEST), "").expect("a file");
        let places = Places::of(sources());
        assert_eq!((&places.generation, &places.hidden), (&Some((packages.clone(), 7)), &vec![]));
        // Neither a directory of its own nor a bundled one is there.
        assert_eq!(choose(&[], &places.models).expect("one is enough"), [packages.join("a-model")]);
        assert_eq!(choose(&["a-model".into()], &places.models).expect("by its name"), [packages.join("a-model")]);

        std::fs::write(state.join("fleet/pointers"), "{").expect("written");
        let hidden = Places::of(sources()).hidden.remove(0);
        assert!(hidden.starts_with("the packages of this device's generation are not verified: "), "{hidden}");
        std::fs::write(&file, "nonsense = 1\n").expect("written");
        let hidden = Places::of(sources()).hidden.remove(0);
        assert!(hidden.contains("not all are verified") && hidden.contains("nonsense"), "{hidden}");
    }
}
