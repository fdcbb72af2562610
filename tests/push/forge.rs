//! Metadata as a thief makes them: of any role, changed as he likes, signed by the keys that he has, written where a device looks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use linnet_fleet::keys::{Keys, Locator};
use linnet_proto::fleet::{FLEET_WIRE, Rollout, Selector};
use olpc_cjson::CanonicalFormatter;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::operator::FLEET;

/// Roles whose metadata stand in a snapshot.
const LISTED: [&str; 3] = ["targets", "releases", "rollouts"];

/// What lies in a repository's directory, and what is to replace it.
pub struct Forge {
    dir: PathBuf,
    roles: BTreeMap<&'static str, Forged>,
}

/// One role.
struct Forged {
    signed: Value,
    /// Files of the keys that sign it.
    by: Vec<PathBuf>,
    is_changed: bool,
}

impl Forge {
    /// Of the repository in `dir`, with every key of the directory `keys` in its own role.
    pub fn of(dir: &Path, keys: &Path) -> Self {
        let metadata = dir.join("metadata");
        let read = |name: String| -> Value {
            let file: Value =
                serde_json::from_slice(&std::fs::read(metadata.join(name)).expect("readable")).expect("JSON");
            file["signed"].clone()
        };
        let version = |of: &Value, name: &str| of["meta"][name]["version"].as_u64().expect("a version");
        let newest_root =
            (1..).take_while(|n| metadata.join(format!("{n}.root.json")).exists()).last().expect("a root");
        let timestamp = read("timestamp.json".into());
        let snapshot = read(format!("{}.snapshot.json", version(&timestamp, "snapshot.json")));
        let mut signed = BTreeMap::from([("root", read(format!("{newest_root}.root.json"))), ("timestamp", timestamp)]);
        for role in LISTED {
            signed.insert(role, read(format!("{}.{role}.json", version(&snapshot, &format!("{role}.json")))));
        }
        signed.insert("snapshot", snapshot);
        let forged =
            |(role, signed)| (role, Forged { signed, by: vec![keys.join(format!("{role}.pem"))], is_changed: false });
        Self { dir: dir.to_owned(), roles: signed.into_iter().map(forged).collect() }
    }

    fn role(&mut self, role: &str) -> &mut Forged {
        self.roles.get_mut(role).expect("a role")
    }

    /// The role's version.
    pub fn version(&self, role: &str) -> u64 {
        self.roles[role].signed["version"].as_u64().expect("a version")
    }

    /// Raises the role's version and lets `change` do what it likes with the signed part, the version too.
    pub fn change(&mut self, role: &str, change: impl FnOnce(&mut Value)) -> &mut Self {
        let forged = self.role(role);
        forged.is_changed = true;
        forged.signed["version"] = (forged.signed["version"].as_u64().expect("a version") + 1).into();
        change(&mut forged.signed);
        self
    }

    /// Signs the role by these keys and no others.
    pub fn signed_by(&mut self, role: &str, keys: &[PathBuf]) -> &mut Self {
        self.role(role).by = keys.to_vec();
        self
    }

    /// Releases `document` under `number` and opens it for everybody.
    pub fn generation(&mut self, number: u64, document: &[u8]) -> &mut Self {
        let path = self.dir.join(format!("targets/generations/{}.{number}.json", sha256(document)));
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, document).expect("written");
        self.release(number, document, json!({ "wire": FLEET_WIRE })).open(number, &sha256(document))
    }

    /// The entry of a generation, with the custom part that `releases` says of it.
    pub fn release(&mut self, number: u64, document: &[u8], custom: Value) -> &mut Self {
        let target = target(document, custom);
        self.change("releases", |signed| signed["targets"][format!("generations/{number}.json")] = target)
    }

    /// The entry of a rollout for everybody.
    pub fn open(&mut self, number: u64, sha256: &str) -> &mut Self {
        let rollout = serde_json::to_value(rollout(number, sha256)).expect("JSON");
        self.rollout(number, rollout)
    }

    /// The entry of a rollout that says what it likes.
    pub fn rollout(&mut self, number: u64, rollout: Value) -> &mut Self {
        let target = target(b"", rollout);
        self.change("rollouts", |signed| signed["targets"][format!("rollouts/{number}.json")] = target)
    }

    /// Writes what was changed, and the snapshot and timestamp over it; the timestamp last.
    pub fn write(&mut self) {
        if self.roles["root"].is_changed {
            self.put("root");
        }
        let changed: Vec<_> = LISTED.into_iter().filter(|role| self.roles[role].is_changed).collect();
        for role in &changed {
            let meta = self.put(role);
            let raise = !self.roles["snapshot"].is_changed;
            let snapshot = self.role("snapshot");
            snapshot.signed["meta"][format!("{role}.json")] = meta;
            if raise {
                self.change("snapshot", |_| {});
            }
        }
        if self.roles["snapshot"].is_changed {
            let meta = self.put("snapshot");
            let raise = !self.roles["timestamp"].is_changed;
            self.role("timestamp").signed["meta"]["snapshot.json"] = meta;
            if raise {
                self.change("timestamp", |_| {});
            }
        }
        if self.roles["timestamp"].is_changed {
            self.put("timestamp");
        }
        for forged in self.roles.values_mut() {
            forged.is_changed = false;
        }
    }

    /// Signs a role and writes its file; what a snapshot or timestamp says of it.
    fn put(&self, role: &str) -> Value {
        let Forged { signed, by, .. } = &self.roles[role];
        let message = canonical(signed);
        let mut keys = Keys::default();
        let signatures: Vec<_> = by
            .iter()
            .map(|key| {
                let key = keys.get(&Locator::File(key.clone())).expect("a key");
                let id = hex::encode(key.public().key_id().expect("an id"));
                json!({ "keyid": id, "sig": hex::encode(key.sign(&message).expect("signed")) })
            })
            .collect();
        let file = serde_json::to_vec(&json!({ "signed": signed, "signatures": signatures })).expect("JSON");
        let version = signed["version"].as_u64().expect("a version");
        std::fs::write(self.dir.join("metadata").join(name(role, version)), &file).expect("written");
        json!({ "version": version, "length": file.len(), "hashes": { "sha256": sha256(&file) } })
    }

    /// The name of the role's file.
    pub fn file(&self, role: &str) -> PathBuf {
        self.dir.join("metadata").join(name(role, self.version(role)))
    }
}

fn name(role: &str, version: u64) -> String {
    if role == "timestamp" { "timestamp.json".into() } else { format!("{version}.{role}.json") }
}

/// A rollout of everything to everybody.
pub fn rollout(number: u64, sha256: &str) -> Rollout {
    Rollout {
        wire: FLEET_WIRE,
        fleet: FLEET.into(),
        number,
        sha256: sha256.into(),
        to: Selector::default(),
        salt: "salt".into(),
        opened: Rollout::BUCKETS,
        wave: 1,
        paused: false,
        attempt: 1,
    }
}

/// A target as a role lists it.
pub fn target(content: &[u8], custom: Value) -> Value {
    json!({ "length": content.len(), "hashes": { "sha256": sha256(content) }, "custom": { "linnet": custom } })
}

/// SHA-256 in hexadecimal digits.
pub fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

/// The form that TUF signs.
fn canonical(signed: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut form = serde_json::Serializer::with_formatter(&mut bytes, CanonicalFormatter::new());
    signed.serialize(&mut form).expect("canonical JSON");
    bytes
}
