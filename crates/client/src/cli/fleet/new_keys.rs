//! Making keys, and saying where they lie.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use linnet_fleet::keys::{Locator, generate};
use linnet_fleet::repository::{Role, RoleFounding};

use super::args::KeyArgs;
use super::ask;
use crate::ClientError;

/// Most keys of one role.
const MAX_KEYS: u32 = 16;

/// The directory of keys: `keys`, else the repository's name and `.keys`.
pub(super) fn keys_dir(dir: &Path, keys: Option<&Path>) -> Result<PathBuf, ClientError> {
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|source| ClientError::Read { path: path.display().to_string(), source })
    };
    if let Some(keys) = keys {
        return absolute(keys);
    }
    let dir = absolute(dir)?;
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".keys");
    Ok(dir.with_file_name(name))
}

/// The keys of `roles`: those that were named, and new ones in files where none was named. `suffix` goes into the new files' names.
pub(super) fn found(
    roles: &[Role],
    dir: &Path,
    args: &KeyArgs,
    suffix: &str,
) -> Result<BTreeMap<Role, RoleFounding>, ClientError> {
    let refuse = |text: String| Err(ClientError::BadUrl(text));
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|source| ClientError::Read { path: path.display().to_string(), source })
    };
    let dir = absolute(dir)?;
    let keys = keys_dir(&dir, args.keys.as_deref())?;
    let named = args.count.iter().map(|it| it.role).chain(args.threshold.iter().map(|it| it.role));
    let named = named.chain(args.key.iter().map(|it| it.role)).chain(args.key_command.iter().map(|it| it.role));
    if let Some(role) = named.into_iter().find(|role| !roles.contains(role)) {
        return refuse(format!("something is said of {role}, whose key is not asked for here"));
    }
    let mut founding = BTreeMap::new();
    let mut new: Vec<(Role, PathBuf)> = Vec::new();
    for role in roles {
        let mut locators = Vec::new();
        for key in args.key.iter().filter(|key| key.role == *role) {
            locators.push(Locator::File(absolute(&key.value)?));
        }
        for command in args.key_command.iter().filter(|command| command.role == *role) {
            locators.push(Locator::Command(command.value.split_whitespace().map(str::to_owned).collect()));
        }
        let count = args.count.iter().rev().find(|count| count.role == *role).map(|count| count.value);
        let count = count.unwrap_or(if locators.is_empty() { 1 } else { 0 });
        if count > MAX_KEYS {
            return refuse(format!("{role}: {count} keys; at most {MAX_KEYS} are made"));
        }
        for n in 1..=count {
            let name = if count == 1 { format!("{role}{suffix}.pem") } else { format!("{role}{suffix}-{n}.pem") };
            locators.push(Locator::File(keys.join(&name)));
            new.push((*role, keys.join(name)));
        }
        let threshold = args.threshold.iter().rev().find(|it| it.role == *role).map_or(1, |it| it.value);
        founding.insert(*role, RoleFounding { keys: locators, threshold });
    }
    for locator in founding.values().flat_map(|role| &role.keys) {
        if let Locator::File(path) = locator
            && path.starts_with(&dir)
        {
            return refuse(format!(
                "the key {} would lie in the repository, which others read; name a directory elsewhere with --keys",
                path.display()
            ));
        }
    }
    if !new.is_empty() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&keys);
        made.map_err(|e| ClientError::Beside(format!("{} cannot be made: {e}", keys.display())))?;
    }
    let offline = |role: Role| !Role::ONLINE.contains(&role);
    let passphrase = match args.passphrase && new.iter().any(|(role, _)| offline(*role)) {
        true => Some(ask::new_passphrase()?),
        false => None,
    };
    for (role, path) in &new {
        let passphrase = passphrase.as_ref().filter(|_| offline(*role)).map(|text| text.as_str());
        generate(path, passphrase).map_err(|e| ClientError::Fleet(e.into()))?;
    }
    Ok(founding)
}

/// What is to be done with keys, for people.
pub(super) fn warnings(founding: &BTreeMap<Role, RoleFounding>) -> String {
    let mut text = String::new();
    for (role, keys) in founding {
        let places: Vec<String> = keys.keys.iter().map(Locator::to_string).collect();
        let advice = match role {
            Role::Root => "replaces every other key: off this machine, twice, apart (a stick in a safe)",
            Role::Targets => "replaces the two below: with root",
            Role::Releases => "signs what devices run: off this machine, or under a passphrase, with who releases",
            Role::Rollouts | Role::Snapshot | Role::Timestamp => "stays here; used by push and refresh",
        };
        text.push_str(&format!("  {role:<10}{} ({advice})\n", places.join(", ")));
    }
    text
}
