//! What makes a TUF repository a fleet's: exactly the delegations that Linnet knows.

use linnet_proto::fleet::{RELEASES, RELEASES_PATHS, ROLLOUTS, ROLLOUTS_PATHS};
use tough::schema::{DelegatedRole, Delegations, PathSet, Root, Targets};

use super::error::TrustError;

/// Highest version of a root: far above any real one, and far below where counting on would overflow.
const MAX_ROOT_VERSION: u64 = 1 << 53;

/// The rules for a root, beside its signatures.
pub(super) fn require_root(root: &Root) -> Result<(), TrustError> {
    if !root.consistent_snapshot {
        return Err(TrustError::Shape("its root does not use consistent snapshots".into()));
    }
    if root.version.get() > MAX_ROOT_VERSION {
        return Err(TrustError::Shape(format!("its root's version {} is above {MAX_ROOT_VERSION}", root.version)));
    }
    Ok(())
}

/// The two delegations of the targets role, which signs for nothing itself.
pub(super) fn require_delegations(targets: &Targets) -> Result<&Delegations, TrustError> {
    let refuse = |why: &str| Err(TrustError::Shape(why.to_owned()));
    if !targets.targets.is_empty() {
        return refuse("its targets role signs for files itself");
    }
    let Some(delegations) = &targets.delegations else {
        return refuse("its targets role delegates nothing");
    };
    let known = [(RELEASES, RELEASES_PATHS), (ROLLOUTS, ROLLOUTS_PATHS)];
    if delegations.roles.len() != known.len() {
        return refuse(&format!(
            "its targets role delegates to {} roles instead of {RELEASES} and {ROLLOUTS}",
            delegations.roles.len()
        ));
    }
    for (name, path) in known {
        let role = delegated(delegations, name)?;
        let PathSet::Paths(paths) = &role.paths else {
            return refuse(&format!("its role {name} has no paths but hash prefixes"));
        };
        if paths.len() != 1 || paths[0].value() != path {
            return refuse(&format!("its role {name} may sign for other paths than {path}"));
        }
    }
    Ok(delegations)
}

/// A delegated role by name.
pub(super) fn delegated<'a>(delegations: &'a Delegations, name: &str) -> Result<&'a DelegatedRole, TrustError> {
    let role = delegations.roles.iter().find(|role| role.name == name);
    role.ok_or_else(|| TrustError::Shape(format!("its targets role does not delegate to {name}")))
}

/// The rules for a delegated role's own metadata.
pub(super) fn require_leaf(name: &str, role: &Targets) -> Result<(), TrustError> {
    match &role.delegations {
        Some(delegations) if !delegations.roles.is_empty() => {
            Err(TrustError::Extraneous(format!("{name} delegates further, which nobody allowed it")))
        }
        _ => Ok(()),
    }
}
