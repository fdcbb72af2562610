//! From directories to models that serve: verify, load, prove.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use linnet_proto::manifest::Manifest;

use super::{Budget, Catalog, Choices, Entry, Failed, Home, Presence, Served};
use crate::engine::Engine;
use crate::status::Events;
use crate::store::{self, Package, Stamps, layout};
use crate::task::Pipeline;
use crate::task::detect::{self, DetectPipeline};
use crate::task::encode::EncoderPipeline;
use crate::task::generate::GeneratePipeline;
use crate::task::raw::RawPipeline;
use crate::task::transcribe::{self, MoonshinePipeline, TranscribePipeline, TransducerPipeline, WhisperPipeline};

/// Makes a pipeline of a verified package; the error is one sentence.
pub type LoadPipeline = Arc<dyn Fn(&Package, &dyn Engine, &Events) -> Result<Arc<dyn Pipeline>, String> + Send + Sync>;

/// How each family of models (`family` of the manifest, `model_type` of `config.json`) is loaded.
#[derive(Clone, Default)]
pub struct Families(Vec<(&'static str, LoadPipeline)>);

impl Families {
    /// Every family that this build runs.
    pub fn built_in() -> Self {
        Self::default()
            .with(store::CTC_FAMILY, |package, engine, _| {
                Ok(Arc::new(TranscribePipeline::load(package, engine).map_err(|e| e.to_string())?))
            })
            .with_each(transcribe::ctc::FOREIGN_FAMILIES, |package, engine, _| {
                Ok(Arc::new(TranscribePipeline::load_foreign(package, engine).map_err(|e| e.to_string())?))
            })
            .with(transcribe::moonshine::FAMILY, |package, engine, _| {
                Ok(Arc::new(MoonshinePipeline::load(package, engine).map_err(|e| e.to_string())?))
            })
            .with(transcribe::moonshine::STREAMING_FAMILY, |_, _, _| {
                Err("it is a Moonshine of the second version, which hears while somebody speaks: no exporter writes its graphs in a form \
                     that could be relied on; take one of the first version (model_type \"moonshine\")"
                    .to_owned())
            })
            .with(layout::TRANSDUCER_FAMILY, |package, engine, _| {
                Ok(Arc::new(TransducerPipeline::load(package, engine).map_err(|e| e.to_string())?))
            })
            .with(transcribe::whisper::FAMILY, |package, engine, _| {
                Ok(Arc::new(WhisperPipeline::load(package, engine).map_err(|e| e.to_string())?))
            })
            .with(layout::RAW_FAMILY, |package, engine, _| {
                Ok(Arc::new(RawPipeline::load(package, engine).map_err(|e| e.to_string())?))
            })
            .with(detect::FAMILY, |package, _, _| {
                Ok(Arc::new(DetectPipeline::load(package).map_err(|e| e.to_string())?))
            })
            .with_each(layout::WRITERS, |package, engine, events| {
                Ok(Arc::new(GeneratePipeline::load(package, engine, events).map_err(|e| e.to_string())?))
            })
            .with_each(layout::ENCODERS, |package, engine, _| {
                Ok(Arc::new(EncoderPipeline::load(package, engine).map_err(|e| e.to_string())?))
            })
    }

    /// Adds several families that are loaded alike.
    #[must_use]
    fn with_each(
        self,
        families: &[&'static str],
        load: impl Fn(&Package, &dyn Engine, &Events) -> Result<Arc<dyn Pipeline>, String> + Send + Sync + Clone + 'static,
    ) -> Self {
        families.iter().fold(self, |all, family| all.with(family, load.clone()))
    }

    /// Adds a family.
    #[must_use]
    pub fn with(
        mut self,
        family: &'static str,
        load: impl Fn(&Package, &dyn Engine, &Events) -> Result<Arc<dyn Pipeline>, String> + Send + Sync + 'static,
    ) -> Self {
        self.0.push((family, Arc::new(load)));
        self
    }

    fn of(&self, manifest: &Manifest) -> Result<&LoadPipeline, String> {
        // Whatever is not known serves as it is.
        let family = if manifest.tasks == ["raw"] { layout::RAW_FAMILY } else { manifest.family.as_str() };
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
    /// The memory that all models together may take.
    pub budget: Budget,
}

/// A package that a catalog does not serve yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// The package.
    pub package: Package,
    /// Whether it is loaded before the daemon is ready.
    pub at_start: bool,
}

/// Why a model did not prove itself; each holds one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unproved {
    /// It did not load.
    #[error("{0}")]
    Load(String),
    /// It answered its canary otherwise, or not.
    #[error("{0}")]
    Canary(String),
    /// The engine panicked.
    #[error("the engine panicked on it; the log says where")]
    Panic,
}

/// Which models are loaded, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loading {
    /// Which model is meant.
    pub choices: Choices,
    /// Models, by name, or by a task that they do, that are loaded before the daemon is ready; `all` for every one. The
    /// others are loaded when somebody needs them.
    pub preload: Vec<String>,
    /// Models, by name, that are loaded before the daemon is ready and never let go of.
    pub pinned: Vec<String>,
    /// The type of weights to take where a package has several.
    pub dtype: Option<String>,
}

impl Loading {
    /// Everything at once, and nothing is ever let go of.
    pub fn all() -> Self {
        Self { preload: vec!["all".to_owned()], ..Self::default() }
    }

    fn pins(&self, manifest: &Manifest) -> bool {
        self.pinned.contains(&manifest.name)
    }

    fn preloads(&self, manifest: &Manifest) -> bool {
        let wanted = |word: &String| *word == "all" || *word == manifest.name || manifest.tasks.contains(word);
        self.preload.iter().any(wanted) || self.pins(manifest)
    }
}

impl Loader {
    /// Loads every package in `dirs`. One that fails is kept with its reason, and the others serve. Where a name stands in
    /// two directories, the earlier directory's package is meant and the later one is passed over. Models that `before` serves from
    /// the same directory with the same files are taken over as they are, without loading them twice.
    ///
    /// It reads and runs everything once, so it takes as long as that: call it from a thread that may block.
    pub fn load(&self, dirs: &[PathBuf], loading: &Loading, before: Option<&Catalog>) -> Catalog {
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
                    Ok(package) => self.bring_up(package, &names, loading, before),
                    Err(error) => {
                        let failed = self.failed(&package_dir, error.to_string(), &names);
                        self.events.model_failed(&failed.name, &failed.reason);
                        Entry::Failed(failed)
                    }
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
        Catalog::choosing(entries, loading.choices.clone())
    }

    fn bring_up(
        &self,
        mut package: Package,
        names: &BTreeSet<String>,
        loading: &Loading,
        before: Option<&Catalog>,
    ) -> Entry {
        let name = package.manifest.name.clone();
        if !package.unlisted.is_empty() {
            let (place, unlisted) = (package.dir.display(), package.unlisted.join(", "));
            log::warn!(MODEL = name.as_str(); "{place}: the manifest does not list {unlisted}; never read");
        }
        if package.manifest.dtype.is_none() {
            package.manifest.dtype.clone_from(&loading.dtype);
        }
        let aliases: Vec<String> = package.manifest.aliases.iter().filter(|a| !names.contains(*a)).cloned().collect();
        let (pinned, preloads) = (loading.pins(&package.manifest), loading.preloads(&package.manifest));
        let own = before.and_then(|catalog| catalog.of_content(&package)).filter(|own| own.home.is_pinned() == pinned);
        // What lies on disk is what will be loaded next time: a change that the manifest does not tell is found now. Files that bear the mark
        // of those that were loaded are not read for it.
        if let Some(own) = own.filter(|own| own.home.peek().is_some())
            && let Err(error) = own.home.look_at(&package)
        {
            let failed = self.failed(&package.dir, error.to_string(), names);
            self.events.model_failed(&failed.name, &failed.reason);
            return Entry::Failed(failed);
        }
        let home = match own {
            Some(own) if own.aliases == aliases && own.dir == package.dir => return Entry::Ready(Arc::clone(own)),
            Some(own) => Arc::clone(&own.home),
            None => Home::empty(package.clone(), self.clone(), self.budget.clone(), pinned),
        };
        if preloads && let Err(error) = home.pipeline(&mut || Ok(())) {
            let reason = match home.presence() {
                Presence::Failed(reason) => reason,
                _ => error.message,
            };
            return Entry::Failed(self.failed(&package.dir, reason, names));
        }
        Entry::Ready(Arc::new(Served::new(&package, aliases, home)))
    }

    /// The packages in `dirs` that [`Loader::load`] would serve and that `before` does not serve already, as they would be loaded;
    /// the error is a package that cannot be read, with its directory.
    pub fn changed(
        &self,
        dirs: &[PathBuf],
        loading: &Loading,
        before: &Catalog,
    ) -> Result<Vec<Changed>, (PathBuf, String)> {
        let mut names = BTreeSet::new();
        let mut changed = Vec::new();
        for (dir, package) in dirs.iter().flat_map(|dir| store::scan(dir)) {
            let mut package = match package {
                Ok(package) if names.contains(&package.manifest.name) => continue,
                Ok(package) => package,
                // What does not serve now is no fault of what comes.
                Err(_) if before.failed().any(|failed| failed.dir == dir) => continue,
                Err(error) => return Err((dir, error.to_string())),
            };
            names.insert(package.manifest.name.clone());
            names.extend(package.manifest.aliases.iter().cloned());
            if package.manifest.dtype.is_none() {
                package.manifest.dtype.clone_from(&loading.dtype);
            }
            if before.of_content(&package).is_none() {
                let at_start = loading.preloads(&package.manifest);
                changed.push(Changed { package, at_start });
            }
        }
        Ok(changed)
    }

    /// Verifies, loads and proves the package of a model that is needed, and tells of it. Its files as they were verified come with it.
    pub(super) fn bring_in(&self, package: &Package) -> Result<(Arc<dyn Pipeline>, Stamps), String> {
        let began = Instant::now();
        let name = &package.manifest.name;
        let loaded = package
            .verify()
            .map_err(|e| e.to_string())
            .and_then(|stamps| self.prove(package).map(|pipeline| (pipeline, stamps)));
        // A graph that is rewritten for this machine leaves more freed memory behind than its weights take.
        linnet_kernels::allocator::give_back();
        match &loaded {
            Ok((pipeline, _)) => {
                self.events.model_ready(name, &package.manifest.version, began.elapsed(), pipeline.memory_bytes());
            }
            Err(reason) => self.events.model_failed(name, reason),
        }
        loaded
    }

    /// As [`Loader::try_out`]; the error is one sentence.
    pub(crate) fn prove(&self, package: &Package) -> Result<Arc<dyn Pipeline>, String> {
        self.try_out(package).map_err(|unproved| unproved.to_string())
    }

    /// Loads the package and has it answer its canary, which is its warm-up, too. A panic on the way is a failure of the
    /// package, not of the daemon.
    pub(crate) fn try_out(&self, package: &Package) -> Result<Arc<dyn Pipeline>, Unproved> {
        let load = self.families.of(&package.manifest).map_err(Unproved::Load)?;
        let proved = catch_unwind(AssertUnwindSafe(|| {
            let began = Instant::now();
            let pipeline = load(package, &*self.engine, &self.events).map_err(Unproved::Load)?;
            let loaded = began.elapsed();
            if let Some(canary) = &package.manifest.canary {
                pipeline.prove(canary).map_err(Unproved::Canary)?;
            }
            let proved = began.elapsed() - loaded;
            let name = &package.manifest.name;
            log::debug!(MODEL = name.as_str(); "{name}: loaded in {loaded:.1?}, canary in {proved:.1?}");
            Ok(pipeline)
        }));
        proved.unwrap_or_else(|panic| {
            // Whatever it holds may panic again when it is dropped.
            std::mem::forget(panic);
            Err(Unproved::Panic)
        })
    }

    fn failed(&self, dir: &Path, reason: String, names: &BTreeSet<String>) -> Failed {
        let manifest = store::read_manifest(dir).ok().map(Box::new);
        let own = manifest.as_ref().map(|m| m.name.clone()).filter(|name| !names.contains(name));
        let name = own.unwrap_or_else(|| directory_name(dir));
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
        Self::listed_with(dirs, std::iter::empty())
    }

    /// The same with packages of which only the name is known.
    pub fn listed_with(dirs: &[PathBuf], names: impl Iterator<Item = String>) -> Self {
        let entry = |name, dir, manifest| Entry::Failed(Failed { name, dir, manifest, reason: "not loaded".into() });
        let listed = dirs.iter().filter_map(|dir| store::package_directories(dir).ok()).flatten().map(|dir| {
            let manifest = store::read_manifest(&dir).ok().map(Box::new);
            let name = manifest.as_ref().map_or_else(|| directory_name(&dir), |m| m.name.clone());
            entry(name, dir, manifest)
        });
        Self::new(listed.chain(names.map(|name| entry(name, PathBuf::new(), None))).collect(), None)
    }
}

impl Served {
    fn new(package: &Package, aliases: Vec<String>, home: Arc<Home>) -> Self {
        Self {
            name: package.manifest.name.clone(),
            aliases,
            dir: package.dir.clone(),
            manifest: package.manifest.clone(),
            home,
        }
    }
}
