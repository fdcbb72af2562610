//! What generations hold on this device, read beside a daemon that may run: the layer that serves, and the names of models that are taken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::machine::Persisted;
use super::open::FLEET;
use crate::config::{Config, GenerationLayer};
use crate::store::generations::StoreError;
use crate::store::generations::serving::{serving, update, update_document};
use crate::store::read_manifest;

/// The layer that serves on the device of `local`, a configuration without any generation; `None` where it belongs to no fleet, or where
/// what was shipped serves.
pub fn serving_layer(local: &Config) -> Result<Option<GenerationLayer>, StoreError> {
    let Some(root) = fleet_dir(local) else { return Ok(None) };
    Ok(serving(&root)?.map(|found| GenerationLayer::of(&found.generation, Some(found.packages))))
}

/// The directory of generations, where the device belongs to a fleet.
pub fn fleet_dir(config: &Config) -> Option<PathBuf> {
    config.fleet.as_ref().map(|_| config.state_dir.join(FLEET))
}

/// Names and aliases of models that the generation that serves has, and names that one on its way has; each with its generation's number.
/// What cannot be read holds nothing: the switch looks again, and rejects a generation that clashes.
pub fn held_names(root: &Path) -> BTreeMap<String, u64> {
    let mut names = BTreeMap::new();
    if let Ok(Some(Persisted { generation: number, sha256, state, .. })) =
        update(root).map(|bytes| bytes.and_then(|bytes| Persisted::parse(&bytes).ok()))
        && !state.is_end()
        && let Some(coming) = update_document(root, &sha256)
    {
        names.extend(coming.packages.into_iter().map(|package| (package.name, number)));
    }
    if let Ok(Some(found)) = serving(root) {
        let number = found.generation.number;
        for package in found.generation.packages {
            let aliases = read_manifest(&found.packages.join(&package.name)).map(|manifest| manifest.aliases);
            names.extend(aliases.unwrap_or_default().into_iter().map(|alias| (alias, number)));
            names.insert(package.name, number);
        }
    }
    names
}

/// Why a model of these names cannot be added or removed by hand: the first of them that a generation holds. One sentence.
pub fn refusal<'n>(root: &Path, names: impl IntoIterator<Item = &'n str>) -> Option<String> {
    let held = held_names(root);
    names.into_iter().find_map(|name| {
        let number = held.get(name)?;
        Some(format!(
            "the name {name} belongs to generation {number} of this device's fleet; add the model under another --name, or have the \
             fleet's operator publish without it (linnet fleet publish --without {name})"
        ))
    })
}
