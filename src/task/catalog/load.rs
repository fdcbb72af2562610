//! From directories to models that serve: verify, load, prove.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::{Catalog, Entry, Failed, Served};
use crate::engine::Engine;
use crate::status::Events;
use crate::store::{self, Package};
use crate::task::Pipeline;
use crate::task::transcribe::TranscribePipeline;

/// Makes a pipeline of a verified package; the error is one sentence.
pub type LoadPipeline = Arc<dyn Fn(&Package, &dyn Engine) -> Result<Arc<dyn Pipeline>, String> + Send + Sync>;

/// How each family of models (`family` of the manifest, `model_type` of `config.json`) is loaded.
#[derive(Clone, Default)]
pub struct Families(Vec<(&'static str, LoadPipeline)>);

impl Families {
    /// Every family that this build runs.
    pub fn built_in() -> Self {
        Self::default().with(store::CTC_FAMILY, |package, engine| {
            let pipeline = TranscribePipeline::load(package, engine).map_err(|e| e.to_string())?;
            Ok(Arc::new(pipeline))
        })
    }

    /// Adds a family.
    #[must_use]
    pub fn with(
        mut self,
        family: &'static str,
        load: impl Fn(&Package, &dyn Engine) -> Result<Arc<dyn Pipeline>, String> + Send + Sync + 'static,
    ) -> Self {
        self.0.push((family, Arc::new(load)));
        self
    }

    fn of(&self, family: &str) -> Result<&LoadPipeline, String> {
        self.0.iter().find(|(name, _)| *name == family).map(|(_, load)| load).ok_or_else(|| {
            let known: Vec<_> = self.0.iter().map(|(name, _)| *name).collect();
            format!("its family is {family:?}, which this linnetd does not know; it knows {}", known.join(", "))
        })
    }
}

impl fmt::Debug for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Loads catalogs; the daemon keeps one for its reloads.
#[derive(Clone)]
pub struct Loader {
    /// Runs the graphs.
    pub engine: Arc<dyn Engine>,
    /// What to make of a package.
    pub families: Families,
    /// Where each model is told.
    pub events: Events,
}

impl Loader {
    /// Loads every package in `dirs`. One that fails is kept with its reason, and the others serve. Where a name stands in
    /// two directories, the earlier directory's package is meant and the later one is passed over. Models that `before` serves from
    /// the same directory with the same files are taken over as they are, without loading them twice.
    ///
    /// It reads and runs everything once, so it takes as long as that: call it from a thread that may block.
    pub fn load(&self, dirs: &[PathBuf], default_model: Option<&str>, before: Option<&Catalog>) -> Catalog {
        let mut names = BTreeSet::new();
        let mut entries = Vec::new();
        for dir in dirs {
            for (package_dir, package) in store::scan(dir) {
                let entry = match package {
                    Ok(package) if names.contains(&package.manifest.name) => {
                        let (name, place) = (package.manifest.name, package_dir.display());
                        log::info!(MODEL = name.as_str(); "{place}: passed over; the model {name} is served from an earlier directory");
                        continue;
                    }
                    Ok(package) => self.bring_up(package, &names, before),
                    Err(error) => Entry::Failed(self.failed(&package_dir, error.to_string(), &names)),
                };
                match &entry {
                    Entry::Ready(served) => {
                        names.insert(served.name.clone());
                        names.extend(served.aliases.iter().cloned());
                    }
                    Entry::Failed(failed) => {
                        names.insert(failed.name.clone());
                    }
                }
                entries.push(entry);
            }
        }
        Catalog::new(entries, default_model.map(str::to_owned))
    }

    fn bring_up(&self, package: Package, names: &BTreeSet<String>, before: Option<&Catalog>) -> Entry {
        let began = Instant::now();
        let name = &package.manifest.name;
        if !package.unlisted.is_empty() {
            let (place, unlisted) = (package.dir.display(), package.unlisted.join(", "));
            log::warn!(MODEL = name.as_str(); "{place}: the manifest does not list {unlisted}; never read");
        }
        let aliases: Vec<String> = package.manifest.aliases.iter().filter(|a| !names.contains(*a)).cloned().collect();
        let same = |s: &&Arc<Served>| s.dir == package.dir && s.manifest == package.manifest;
        if let Some(own) = before.and_then(|catalog| catalog.served().find(same)) {
            if own.aliases == aliases {
                return Entry::Ready(Arc::clone(own));
            }
            return Entry::Ready(Arc::new(Served::new(&package, aliases, Arc::clone(&own.pipeline))));
        }
        match self.prove(&package) {
            Ok(pipeline) => {
                self.events.model_ready(name, &package.manifest.version, began.elapsed(), pipeline.memory_bytes());
                Entry::Ready(Arc::new(Served::new(&package, aliases, pipeline)))
            }
            Err(reason) => Entry::Failed(self.failed(&package.dir, reason, names)),
        }
    }

    /// Loads the package and has it answer its canary, which is its warm-up, too. A panic on the way is a failure of the
    /// package, not of the daemon.
    pub(crate) fn prove(&self, package: &Package) -> Result<Arc<dyn Pipeline>, String> {
        let load = self.families.of(&package.manifest.family)?;
        let proved = catch_unwind(AssertUnwindSafe(|| {
            let began = Instant::now();
            let pipeline = load(package, &*self.engine)?;
            let loaded = began.elapsed();
            if let Some(canary) = &package.manifest.canary {
                pipeline.prove(canary)?;
            }
            let proved = began.elapsed() - loaded;
            let name = &package.manifest.name;
            log::debug!(MODEL = name.as_str(); "{name}: loaded in {loaded:.1?}, canary in {proved:.1?}");
            Ok(pipeline)
        }));
        proved.unwrap_or_else(|panic| {
            // Whatever it holds may panic again when it is dropped.
            std::mem::forget(panic);
            Err("the engine panicked on it; the log says where".to_owned())
        })
    }

    fn failed(&self, dir: &Path, reason: String, names: &BTreeSet<String>) -> Failed {
        let manifest = store::read_manifest(dir).ok().map(Box::new);
        let own = manifest.as_ref().map(|m| m.name.clone()).filter(|name| !names.contains(name));
        let name = own.unwrap_or_else(|| directory_name(dir));
        self.events.model_failed(&name, &reason);
        Failed { name, dir: dir.to_owned(), manifest, reason }
    }
}

/// What a package is called whose manifest does not say.
fn directory_name(dir: &Path) -> String {
    dir.file_name().map_or_else(|| dir.display().to_string(), |n| n.to_string_lossy().into_owned())
}

impl Catalog {
    /// What stands in `dirs` as the manifests say, nothing verified, loaded or serving: who is there to be meant by a name.
    pub fn listed(dirs: &[PathBuf]) -> Self {
        let listed = dirs.iter().filter_map(|dir| store::package_directories(dir).ok()).flatten().map(|dir| {
            let manifest = store::read_manifest(&dir).ok().map(Box::new);
            let name = manifest.as_ref().map_or_else(|| directory_name(&dir), |m| m.name.clone());
            Entry::Failed(Failed { name, dir, manifest, reason: "not loaded".into() })
        });
        Self::new(listed.collect(), None)
    }
}

impl Served {
    fn new(package: &Package, aliases: Vec<String>, pipeline: Arc<dyn Pipeline>) -> Self {
        Self {
            name: package.manifest.name.clone(),
            aliases,
            dir: package.dir.clone(),
            manifest: package.manifest.clone(),
            pipeline,
        }
    }
}
