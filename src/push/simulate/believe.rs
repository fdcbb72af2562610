//! `--break verify`: metadata are believed as they come.

use linnet_fleet::source::{Source, SourceFault};
use linnet_fleet::trust::{Contents, GenerationEntry, RolloutEntry};
use linnet_proto::fleet::{CUSTOM, RELEASES, ROLLOUTS, Release};
use serde_json::Value;

/// Far above any file of the simulation.
const CAP: u64 = 1 << 20;

/// What a source says, without looking at a single signature.
pub(super) async fn believe(source: &dyn Source) -> Result<Contents, SourceFault> {
    let timestamp = read(source, "timestamp.json").await?;
    let version = |listed: &Value, name: &str| listed["signed"]["meta"][name]["version"].as_u64().unwrap_or_default();
    let snapshot = read(source, &format!("{}.snapshot.json", version(&timestamp, "snapshot.json"))).await?;
    let mut leaves = [Value::Null, Value::Null];
    for (leaf, role) in leaves.iter_mut().zip([RELEASES, ROLLOUTS]) {
        let version = version(&snapshot, &format!("{role}.json"));
        *leaf = read(source, &format!("{version}.{role}.json")).await?;
    }
    let [releases, rollouts] = leaves;
    let mut contents = Contents::default();
    for (number, target) in targets(&releases, "generations/") {
        contents.generations.push(GenerationEntry {
            number,
            bytes: target["length"].as_u64().unwrap_or_default(),
            sha256: target["hashes"]["sha256"].as_str().unwrap_or_default().to_owned(),
            release: Ok(Release::default()),
        });
    }
    for (number, target) in targets(&rollouts, "rollouts/") {
        let rollout = serde_json::from_value(target["custom"][CUSTOM].clone()).map_err(|e| e.to_string());
        contents.rollouts.push(RolloutEntry { number, rollout });
    }
    Ok(contents)
}

async fn read(source: &dyn Source, name: &str) -> Result<Value, SourceFault> {
    let bytes = source.metadata(name, CAP).await?;
    serde_json::from_slice(&bytes).map_err(|e| SourceFault::Lied(e.to_string()))
}

fn targets<'a>(role: &'a Value, prefix: &'a str) -> impl Iterator<Item = (u64, &'a Value)> {
    let targets = role["signed"]["targets"].as_object();
    targets.into_iter().flatten().filter_map(move |(name, target)| {
        Some((name.strip_prefix(prefix)?.strip_suffix(".json")?.parse().ok()?, target))
    })
}
