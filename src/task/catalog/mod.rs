//! The models that the daemon has: which serve, which failed and why, and which one a request means.
//!
//! A catalog never changes. A reload loads another one beside it and swaps the [`CatalogHandle`] as a whole, so that a
//! request sees either the old set of models or the new one.

mod load;
mod offers;
mod residency;
mod resolve;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use linnet_proto::manifest::Manifest;
use linnet_proto::status::{ModelState, ModelStatus};

use crate::job::Offers;
use crate::store::Package;

pub(crate) use load::Unproved;
pub use load::{Changed, Families, LoadPipeline, Loader, Loading};
pub use residency::{Budget, Home, Presence};

/// A model that serves: loaded, warm and its canary passed, or to be loaded when somebody needs it.
#[derive(Debug)]
pub struct Served {
    /// Name that requests use.
    pub name: String,
    /// Other names; those that another model has already taken are left out.
    pub aliases: Vec<String>,
    /// Where its package lies.
    pub dir: PathBuf,
    /// What the package says of itself.
    pub manifest: Manifest,
    /// Weights and everything else that workers share, when they are in memory.
    pub home: Arc<Home>,
}

/// A package that does not serve.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    /// Its name; that of its directory when the manifest cannot be read or the name is taken.
    pub name: String,
    /// Where it lies.
    pub dir: PathBuf,
    /// Its manifest, as far as it can be read.
    pub manifest: Option<Box<Manifest>>,
    /// One sentence.
    pub reason: String,
}

/// One package.
#[derive(Debug, Clone)]
pub enum Entry {
    /// It serves.
    Ready(Arc<Served>),
    /// It does not.
    Failed(Failed),
}

/// Every package that was found, in the order of directories and names.
#[derive(Debug, Default)]
pub struct Catalog {
    entries: Vec<Entry>,
    choices: Choices,
    offers: OnceLock<Arc<Offers>>,
}

/// What the configuration says of which model is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choices {
    /// The model of requests that name none.
    pub default_model: Option<String>,
    /// The same for one task; it goes before.
    pub defaults: BTreeMap<String, String>,
    /// Further names of models, each with the model that is meant.
    pub aliases: BTreeMap<String, String>,
}

impl Catalog {
    /// A catalog of these entries.
    pub fn new(entries: Vec<Entry>, default_model: Option<String>) -> Self {
        Self::choosing(entries, Choices { default_model, ..Choices::default() })
    }

    /// A catalog of these entries, from which is chosen as `choices` say.
    pub fn choosing(entries: Vec<Entry>, choices: Choices) -> Self {
        Self { entries, choices, offers: OnceLock::new() }
    }

    /// Every package.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Models that serve.
    pub fn served(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Ready(served) => Some(served),
            Entry::Failed(_) => None,
        })
    }

    /// Packages that do not serve.
    pub fn failed(&self) -> impl Iterator<Item = &Failed> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Ready(_) => None,
            Entry::Failed(failed) => Some(failed),
        })
    }

    /// Whether any model serves.
    pub fn serves(&self) -> bool {
        self.served().next().is_some()
    }

    /// Whether any package does not serve.
    pub fn has_failed(&self) -> bool {
        self.failed().next().is_some() || self.served().any(|s| matches!(s.home.presence(), Presence::Failed(_)))
    }

    /// Whether this very model is in the catalog.
    pub fn holds(&self, served: &Arc<Served>) -> bool {
        self.served().any(|own| Arc::ptr_eq(own, served))
    }

    /// The model that is served from the very content of `package`: from the same directory, or from files of the same digests
    /// elsewhere, as when a generation holds a package that the one before it held.
    pub fn of_content(&self, package: &Package) -> Option<&Arc<Served>> {
        let same = |s: &&Arc<Served>| {
            s.manifest == package.manifest && (s.dir == package.dir || !package.manifest.files.is_empty())
        };
        self.served().find(same)
    }

    /// The models of both, to look for what either serves; nobody is to be served from it.
    #[must_use]
    pub fn beside(&self, other: &Self) -> Self {
        Self::new(self.entries.iter().chain(&other.entries).cloned().collect(), None)
    }

    /// Has every model be loaded from the directory that this catalog names, from its next load on: another catalog may have
    /// served the same content from elsewhere.
    pub fn settle(&self) {
        for served in self.served() {
            served.home.lies_in(&served.dir);
        }
    }

    /// Lets go of the weights of every model, pinned ones too, but for those that `keep` serves; gives what was let go of. What runs on
    /// them keeps them until it ends.
    pub fn let_go(&self, keep: Option<&Self>) -> Vec<Arc<Served>> {
        let kept = |home: &Arc<Home>| keep.is_some_and(|keep| keep.served().any(|s| Arc::ptr_eq(&s.home, home)));
        let gone = self.served().filter(|served| !kept(&served.home) && served.home.put_down());
        gone.cloned().collect()
    }

    /// Whether any model is being loaded.
    pub fn is_loading(&self) -> bool {
        self.served().any(|served| served.home.presence() == Presence::Loading)
    }

    /// Memory that the weights of the models take that are there now and that `keep` does not serve, bytes.
    pub fn held_beside(&self, keep: Option<&Self>) -> u64 {
        let kept = |home: &Arc<Home>| keep.is_some_and(|keep| keep.served().any(|s| Arc::ptr_eq(&s.home, home)));
        let own = self.served().filter(|served| !kept(&served.home));
        own.filter_map(|served| served.home.peek()).map(|pipeline| pipeline.memory_bytes()).sum()
    }

    /// What `GET /v1/status` says of every model, in name order.
    pub fn status(&self) -> Vec<ModelStatus> {
        let mut status: Vec<_> = self.entries.iter().map(Entry::status).collect();
        for model in &mut status {
            let given = self.choices.aliases.iter().filter(|(_, of)| **of == model.name || model.aliases.contains(of));
            let given: Vec<_> = given.map(|(alias, _)| alias.clone()).filter(|a| !model.aliases.contains(a)).collect();
            model.aliases.extend(given);
        }
        status.sort_by(|a, b| a.name.cmp(&b.name));
        status
    }

    /// Name, whether it serves, and bytes of its weights, for metrics.
    pub fn memory(&self) -> Vec<(String, bool, u64)> {
        self.entries
            .iter()
            .map(|entry| match entry {
                Entry::Ready(served) => match served.home.presence() {
                    Presence::In(bytes) => (served.name.clone(), true, bytes),
                    Presence::Failed(_) => (served.name.clone(), false, 0),
                    Presence::Out | Presence::Loading => (served.name.clone(), true, 0),
                },
                Entry::Failed(failed) => (failed.name.clone(), false, 0),
            })
            .collect()
    }
}

impl Entry {
    fn status(&self) -> ModelStatus {
        let (name, aliases, manifest, state, memory_bytes) = match self {
            Self::Ready(s) => {
                let (state, bytes) = match s.home.presence() {
                    Presence::In(bytes) => (ModelState::Ready, bytes),
                    Presence::Out => (ModelState::Unloaded, 0),
                    Presence::Loading => (ModelState::Loading, 0),
                    Presence::Failed(reason) => (ModelState::Failed { reason }, 0),
                };
                (&s.name, s.aliases.clone(), Some(&s.manifest), state, bytes)
            }
            Self::Failed(f) => {
                let aliases = f.manifest.as_ref().map(|m| m.aliases.clone()).unwrap_or_default();
                (&f.name, aliases, f.manifest.as_deref(), ModelState::Failed { reason: f.reason.clone() }, 0)
            }
        };
        ModelStatus {
            name: name.clone(),
            version: manifest.map(|m| m.version.clone()).unwrap_or_default(),
            aliases,
            tasks: manifest.map(|m| m.tasks.clone()).unwrap_or_default(),
            languages: manifest.map(|m| m.languages.clone()).unwrap_or_default(),
            family: manifest.map(|m| m.family.clone()).unwrap_or_default(),
            state,
            memory_mib: memory_bytes.div_ceil(1 << 20),
        }
    }
}

/// The catalog that serves now. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct CatalogHandle(Arc<RwLock<Arc<Catalog>>>);

impl CatalogHandle {
    /// A handle that begins with `catalog`.
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Self(Arc::new(RwLock::new(catalog)))
    }

    /// The catalog of now; whoever holds it keeps its models alive.
    pub fn get(&self) -> Arc<Catalog> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another in its place and gives back the one before. While a scheduler runs, call
    /// [`crate::scheduler::Scheduler::swap_catalog`] instead: it has idle workers let go of models that are gone.
    pub fn swap(&self, catalog: Arc<Catalog>) -> Arc<Catalog> {
        std::mem::replace(&mut self.0.write().unwrap_or_else(PoisonError::into_inner), catalog)
    }
}
