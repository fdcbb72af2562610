//! Which models there are: the families that this daemon knows, and the directories they are loaded from.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use linnet_proto::fleet::Generation;

use super::{DaemonError, on_own_thread};
use crate::config::{Config, ConfigError, OWN_MODELS};
use crate::engine::tract::TractEngine;
use crate::status::Events;
use crate::sys::notify;
use crate::task::catalog::{Budget, Catalog, Changed, Choices, Families, Loader, Loading};

/// The loader of this daemon.
pub fn loader(events: Events) -> Loader {
    Loader {
        engine: Arc::new(TractEngine::default()),
        families: Families::built_in(),
        events,
        budget: Budget::default(),
    }
}

/// Loads, warms and proves every package of the configured directories, on a thread of its own. What `before` serves
/// unchanged is taken over. systemd is told as long as it takes.
pub async fn load(loader: &Loader, config: &Config, before: Option<Arc<Catalog>>) -> Result<Catalog, DaemonError> {
    let directories = readable(config)?;
    check_default(config, &Catalog::listed(&directories))?;
    let (loader, loading, at_start) = (loader.clone(), loading(config), before.is_none());
    loader.budget.set_limit(config.memory.limit_bytes);
    let load = move || loader.load(&directories, &loading, before.as_deref());
    notify::while_loading(at_start, on_own_thread("models", load)).await.map_err(DaemonError::Thread)
}

/// Packages that this device has beside a generation's, by name, in order; empty without a generation.
pub fn added_locally(config: &Config) -> Vec<String> {
    let mut names: Vec<_> = own(config).into_iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    names
}

/// Name and directory of each package that is this device's own beside a generation's.
fn own(config: &Config) -> Vec<(String, PathBuf)> {
    let Some(packages) = config.packages() else { return Vec::new() };
    let own = config.models.iter().take_while(|dir| dir.as_path() != packages).cloned().collect::<Vec<_>>();
    Catalog::listed(&own).failed().map(|package| (package.name.clone(), package.dir.clone())).collect()
}

/// Why the generation's packages cannot stand beside those that are this device's own: two of one name. `None` when all is well.
pub fn clash(config: &Config) -> Option<String> {
    let packages = config.packages()?;
    let own = own(config);
    let pushed = Catalog::listed(&[packages.to_owned()]);
    let (name, place) = pushed.failed().find_map(|pushed| own.iter().find(|(name, _)| *name == pushed.name))?;
    let way_out = if place.starts_with(config.state_dir.join(OWN_MODELS)) {
        format!("remove that one (linnet models remove {name}), or add it under another name")
    } else {
        "remove that one, or have the fleet's operator publish without it".to_owned()
    };
    Some(format!(
        "the generation has a model {name}, and so has this device of its own in {}; {way_out}",
        place.display()
    ))
}

/// What [`load`] would have to load under `config`, beside what `before` serves; the error is a package that cannot be read.
pub fn changed(loader: &Loader, config: &Config, before: &Catalog) -> Result<Vec<Changed>, (PathBuf, String)> {
    let directories: Vec<_> = config.models.iter().filter(|dir| dir.is_dir()).cloned().collect();
    loader.changed(&directories, &loading(config), before)
}

/// Which models are loaded, and when.
fn loading(config: &Config) -> Loading {
    Loading {
        choices: Choices {
            default_model: config.default_model.clone(),
            defaults: config.defaults.clone(),
            aliases: config.aliases.clone(),
        },
        preload: config.memory.preload.clone(),
        pinned: config.memory.pinned.clone(),
        dtype: config.memory.dtype.clone(),
    }
}

/// What stands in the configured directories as the manifests say, with the packages that `generation` names and that do not lie
/// here: who is there to be meant by a name.
pub fn listed(config: &Config, generation: Option<&Generation>) -> Catalog {
    let named = generation.filter(|_| config.packages().is_none()).map(|generation| &generation.packages);
    let names = named.into_iter().flatten().map(|package| package.name.clone());
    Catalog::listed_with(&config.models, names)
}

/// A model that the configuration means must be a package of the catalog; whether it serves is told to who asks for it.
pub fn check_default(config: &Config, catalog: &Catalog) -> Result<(), ConfigError> {
    let meant = |name: &str| config.aliases.get(name).map_or(name, String::as_str).to_owned();
    let default = config.default_model.iter().map(|name| ("default_model".to_owned(), name));
    let of_tasks = config.defaults.iter().map(|(task, name)| (format!("defaults.{task}"), name));
    let aliases = config.aliases.values().map(|name| ("aliases".to_owned(), name));
    for (key, name) in default.chain(of_tasks).chain(aliases) {
        if let Some(why) = catalog.unknown_name(&meant(name)) {
            return Err(config.fault(&key, why));
        }
    }
    Ok(())
}

/// Has the models of `packages` that serve and are in memory answer their canaries once more. The error is one sentence.
pub fn prove_again(catalog: &Catalog, packages: &Path) -> Result<(), String> {
    for served in catalog.served().filter(|served| served.dir.starts_with(packages)) {
        let (Some(pipeline), Some(canary)) = (served.home.peek(), &served.manifest.canary) else { continue };
        let proved = catch_unwind(AssertUnwindSafe(|| pipeline.prove(canary)));
        proved
            .unwrap_or_else(|_| Err("it panicked".to_owned()))
            .map_err(|reason| format!("{}: {reason}", served.name))?;
    }
    Ok(())
}

/// The directories that can be read. One is enough: a site's own may be made later.
fn readable(config: &Config) -> Result<Vec<PathBuf>, DaemonError> {
    let added = config.state_dir.join(OWN_MODELS);
    let mut refused = None;
    let mut found = Vec::new();
    for path in &config.models {
        match std::fs::read_dir(path) {
            Ok(_) => found.push(path.clone()),
            // Nothing was added on this device yet.
            Err(source) if source.kind() == std::io::ErrorKind::NotFound && *path == added => {}
            Err(source) => {
                if config.models.len() > 1 {
                    log::warn!("{}: the directory of models is passed over: {source}", path.display());
                }
                refused.get_or_insert(DaemonError::Models { path: path.clone(), source });
            }
        }
    }
    if found.is_empty() { Err(refused.unwrap_or(DaemonError::NoModels)) } else { Ok(found) }
}
