//! What trusted metadata say of generations and rollouts.

use linnet_proto::fleet::{
    CUSTOM, FLEET_WIRE, FLEET_WIRE_NEWEST, RELEASES, RELEASES_PATHS, ROLLOUTS, ROLLOUTS_PATHS, Release, Rollout,
    generation_target, rollout_target,
};
use serde::Deserialize;
use serde_json::Value;
use tough::schema::{Target, Targets};

use super::error::TrustError;

/// Everything that is released and opened; each list rises by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// What `releases` signs for.
    pub generations: Vec<GenerationEntry>,
    /// What `rollouts` signs for.
    pub rollouts: Vec<RolloutEntry>,
}

/// A generation as its target names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationEntry {
    /// Its number.
    pub number: u64,
    /// Bytes of its target.
    pub bytes: u64,
    /// SHA-256 of its target, lower-case hexadecimal digits.
    pub sha256: String,
    /// The custom part; a fault is one sentence. Every device may be meant where there is none.
    pub release: Result<Release, String>,
}

/// A rollout as its target's custom part says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutEntry {
    /// The generation's number.
    pub number: u64,
    /// The rollout; a fault is one sentence.
    pub rollout: Result<Rollout, String>,
}

impl Contents {
    /// The generation of a number.
    pub fn generation(&self, number: u64) -> Option<&GenerationEntry> {
        self.generations.iter().find(|entry| entry.number == number)
    }

    /// The rollout of a generation.
    pub fn rollout(&self, number: u64) -> Option<&RolloutEntry> {
        self.rollouts.iter().find(|entry| entry.number == number)
    }

    /// Reads both roles. A role that signs for anything outside its paths is refused as a whole; a single release or rollout that
    /// cannot be understood keeps its fault, and the others count.
    pub(crate) fn read(releases: &Targets, rollouts: &Targets) -> Result<Self, TrustError> {
        let mut contents = Self::default();
        for (number, target) in numbered(releases, RELEASES, RELEASES_PATHS, generation_target)? {
            contents.generations.push(GenerationEntry {
                number,
                bytes: target.length,
                sha256: hex::encode(&target.hashes.sha256),
                release: match target.custom.get(CUSTOM) {
                    None => Ok(Release::default()),
                    Some(custom) => read_custom::<Release>(custom, "release").and_then(|release| {
                        release.check()?;
                        Ok(release)
                    }),
                },
            });
        }
        for (number, target) in numbered(rollouts, ROLLOUTS, ROLLOUTS_PATHS, rollout_target)? {
            contents.rollouts.push(RolloutEntry { number, rollout: read_rollout(number, target) });
        }
        contents.generations.sort_by_key(|entry| entry.number);
        contents.rollouts.sort_by_key(|entry| entry.number);
        Ok(contents)
    }
}

fn read_rollout(number: u64, target: &Target) -> Result<Rollout, String> {
    let custom = target.custom.get(CUSTOM).ok_or_else(|| format!("the rollout of generation {number} says nothing"))?;
    let rollout: Rollout = read_custom(custom, "rollout")?;
    rollout.check()?;
    if rollout.number != number {
        return Err(format!("the rollout of generation {number} speaks of generation {}", rollout.number));
    }
    Ok(rollout)
}

/// Reads a custom part; a newer form is named as such before its fields are looked at.
fn read_custom<T: for<'de> Deserialize<'de>>(custom: &Value, what: &str) -> Result<T, String> {
    let wire = custom.get("wire").and_then(Value::as_u64);
    match wire {
        Some(wire) if wire > u64::from(FLEET_WIRE_NEWEST) => Err(format!(
            "the {what} is written in form {wire}, this linnetd reads forms {FLEET_WIRE} to {FLEET_WIRE_NEWEST}; update linnetd first"
        )),
        _ => T::deserialize(custom).map_err(|e| format!("the {what} cannot be read: {e}")),
    }
}

/// The targets of a role by number. A name inside the role's paths that is no number is left alone: it may mean something to a
/// newer program.
fn numbered<'a>(
    role: &'a Targets,
    name: &str,
    paths: &str,
    target_name: fn(u64) -> String,
) -> Result<Vec<(u64, &'a Target)>, TrustError> {
    let prefix = paths.trim_end_matches('*');
    let mut found = Vec::new();
    for (target, content) in &role.targets {
        let raw = target.raw();
        let Some(rest) = raw.strip_prefix(prefix).filter(|_| raw == target.resolved()) else {
            return Err(TrustError::Extraneous(format!(
                "{name} signs for `{}`, which was not delegated to it",
                raw.escape_debug()
            )));
        };
        let number = rest.strip_suffix(".json").and_then(|number| number.parse().ok());
        if let Some(number) = number.filter(|&number| target_name(number) == raw) {
            found.push((number, content));
        }
    }
    Ok(found)
}
