//! A fleet's repository whose metadata are written and signed by hand, so that they can be wrong in every way.

use std::collections::BTreeMap;

use linnet_fleet::clock::VirtualClock;
use linnet_fleet::source::Memory;
use linnet_fleet::trust::{Limits, Refreshed, TrustError, Trusted, refresh};
use linnet_proto::fleet::{FLEET_WIRE, Generation, Rollout, Selector};
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tough::schema::key::Key as TufKey;
use tough::schema::{Role as _, Root, Snapshot, Targets, Timestamp};

/// A day in 2027, seconds since 1970.
pub const NOW: u64 = 1_800_000_000;
pub const DAY: u64 = 86_400;
pub const FLEET: &str = "home";

/// An Ed25519 key from a seed: the same seed is the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub u8);

impl Key {
    fn pair(self) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[self.0; 32]).expect("a key")
    }

    fn public(self) -> Value {
        let public = hex::encode(self.pair().public_key().as_ref());
        json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": public } })
    }

    fn id(self) -> String {
        let key: TufKey = serde_json::from_value(self.public()).expect("a key");
        hex::encode(key.key_id().expect("an id"))
    }
}

/// The keys of a role and how many of them must sign.
#[derive(Clone, Debug)]
pub struct Holders {
    pub keys: Vec<Key>,
    pub threshold: u64,
}

impl Holders {
    pub fn of(keys: &[u8], threshold: u64) -> Self {
        Self { keys: keys.iter().copied().map(Key).collect(), threshold }
    }

    fn role(&self) -> Value {
        let ids: Vec<_> = self.keys.iter().map(|key| key.id()).collect();
        json!({ "keyids": ids, "threshold": self.threshold })
    }
}

/// The roles, and for each its version, its expiry, who holds it by the metadata above it, and who really signs.
pub const ROLES: [&str; 6] = ["root", "timestamp", "snapshot", "targets", "releases", "rollouts"];

#[derive(Clone, Debug)]
pub struct RoleState {
    pub version: u64,
    pub expires: u64,
    pub holders: Holders,
    /// Another's keys in place of the holders': an attack.
    pub signed_by: Option<Vec<Key>>,
    /// Fields to lay over the signed part.
    pub overlay: Vec<(&'static str, Value)>,
}

/// A repository; clones share the memory that they are written to, as an attacker's copy shares the mirror.
#[derive(Clone, Debug)]
pub struct Repo {
    pub memory: Memory,
    pub roles: BTreeMap<&'static str, RoleState>,
    pub generations: BTreeMap<u64, (Vec<u8>, Option<Value>)>,
    pub rollouts: BTreeMap<u64, Value>,
    /// Targets under names of the attacker's choice, by role.
    pub more_targets: Vec<(&'static str, String)>,
    /// Whether metadata name lengths and digests of others.
    pub digests: bool,
}

impl Repo {
    /// Version 1 of everything, nothing released; not written yet. The online key is 30.
    pub fn new() -> Self {
        let role =
            |holders| RoleState { version: 1, expires: NOW + 30 * DAY, holders, signed_by: None, overlay: Vec::new() };
        let roles = [
            ("root", role(Holders::of(&[1, 2, 3], 2))),
            ("timestamp", role(Holders::of(&[30], 1))),
            ("snapshot", role(Holders::of(&[30], 1))),
            ("targets", role(Holders::of(&[10, 11], 2))),
            ("releases", role(Holders::of(&[20, 21], 1))),
            ("rollouts", role(Holders::of(&[30], 1))),
        ];
        Self {
            memory: Memory::new(),
            roles: roles.into(),
            generations: BTreeMap::new(),
            rollouts: BTreeMap::new(),
            more_targets: Vec::new(),
            digests: true,
        }
    }

    /// Version 1 with generation 1 released and opened, and a device that trusts its root.
    pub fn begun() -> (Self, Trusted) {
        let mut repo = Self::new();
        repo.release(1);
        repo.open(1);
        repo.write();
        let trusted = repo.device();
        (repo, trusted)
    }

    pub fn role(&mut self, name: &str) -> &mut RoleState {
        self.roles.get_mut(name).expect("a role")
    }

    pub fn version(&self, name: &str) -> u64 {
        self.roles[name].version
    }

    /// Raises versions and writes.
    pub fn publish(&mut self, roles: &[&str]) {
        for role in roles {
            self.role(role).version += 1;
        }
        self.write();
    }

    /// Raises everything that a change of generations and rollouts raises, and writes.
    pub fn publish_all(&mut self) {
        self.publish(&["timestamp", "snapshot", "releases", "rollouts"]);
    }

    pub fn release(&mut self, number: u64) {
        self.generations.insert(number, (serde_json::to_vec(&generation(number)).expect("JSON"), None));
    }

    pub fn open(&mut self, number: u64) {
        let rollout = serde_json::to_value(self.rollout(number)).expect("JSON");
        self.rollouts.insert(number, rollout);
    }

    pub fn rollout(&self, number: u64) -> Rollout {
        let sha256 = self.generations.get(&number).map(|(content, _)| sha256(content)).unwrap_or_default();
        Rollout {
            wire: FLEET_WIRE,
            fleet: FLEET.into(),
            number,
            sha256,
            to: Selector::default(),
            salt: "salt".into(),
            opened: Rollout::BUCKETS,
            wave: 1,
            paused: false,
            attempt: 1,
        }
    }

    /// A new root with other online keys: for timestamp, snapshot and (by targets) rollouts.
    pub fn rotate_online(&mut self, to: u8) {
        for role in ["timestamp", "snapshot", "rollouts"] {
            self.role(role).holders = Holders::of(&[to], 1);
        }
        self.role("root").version += 1;
        self.role("targets").version += 1;
    }

    /// A device with this repository's root, which has refreshed nothing yet.
    pub fn device(&self) -> Trusted {
        Trusted::begin(&self.file("root")).expect("a root")
    }

    /// Writes everything to the memory, each file under the name of its version.
    pub fn write(&self) {
        for role in ROLES {
            self.memory.put_metadata(&self.name(role), self.file(role));
        }
        for (number, (content, _)) in &self.generations {
            self.memory.put_file(&format!("generations/{}.{number}.json", sha256(content)), content.clone());
        }
    }

    pub fn name(&self, role: &str) -> String {
        if role == "timestamp" { "timestamp.json".into() } else { format!("{}.{role}.json", self.version(role)) }
    }

    /// A role's file as it is written.
    pub fn file(&self, role: &str) -> Vec<u8> {
        let state = &self.roles[role];
        let keys = state.signed_by.as_ref().unwrap_or(&state.holders.keys);
        sign(self.signed(role), keys)
    }

    /// The signed part of a role.
    fn signed(&self, role: &str) -> Value {
        let state = &self.roles[role];
        let expires = jiff::Timestamp::from_second(state.expires as i64).expect("a time").to_string();
        let kind = if matches!(role, "releases" | "rollouts") { "targets" } else { role };
        let mut signed = json!({
            "_type": kind, "spec_version": "1.0.31", "version": state.version, "expires": expires,
        });
        let more = match role {
            "root" => self.root(),
            "timestamp" => json!({ "meta": { "snapshot.json": self.meta("snapshot") } }),
            "snapshot" => {
                let roles = ["targets", "releases", "rollouts"];
                let meta: BTreeMap<_, _> = roles.map(|role| (format!("{role}.json"), self.meta(role))).into();
                json!({ "meta": meta })
            }
            "targets" => json!({ "targets": self.targets(role), "delegations": self.delegations() }),
            _ => json!({ "targets": self.targets(role) }),
        };
        let overlay = state.overlay.iter().map(|(field, value)| (field.to_string(), value.clone()));
        let fields = more.as_object().expect("an object").clone().into_iter().chain(overlay);
        signed.as_object_mut().expect("an object").extend(fields);
        signed
    }

    fn root(&self) -> Value {
        let top = ["root", "timestamp", "snapshot", "targets"];
        let keys = top.iter().flat_map(|role| &self.roles[role].holders.keys);
        let keys: BTreeMap<_, _> = keys.map(|key| (key.id(), key.public())).collect();
        let roles: BTreeMap<_, _> = top.iter().map(|role| (*role, self.roles[role].holders.role())).collect();
        json!({ "consistent_snapshot": true, "keys": keys, "roles": roles })
    }

    fn meta(&self, role: &str) -> Value {
        if self.digests {
            let file = self.file(role);
            json!({ "version": self.version(role), "length": file.len(), "hashes": { "sha256": sha256(&file) } })
        } else {
            json!({ "version": self.version(role) })
        }
    }

    pub fn delegations(&self) -> Value {
        let leaves = [("releases", "generations/*"), ("rollouts", "rollouts/*")];
        let keys = leaves.iter().flat_map(|(role, _)| &self.roles[role].holders.keys);
        let keys: BTreeMap<_, _> = keys.map(|key| (key.id(), key.public())).collect();
        let roles = leaves.map(|(role, path)| delegation(role, &self.roles[role].holders, json!([path])));
        json!({ "keys": keys, "roles": roles })
    }

    fn targets(&self, role: &str) -> Value {
        let mut targets = BTreeMap::new();
        if role == "releases" {
            for (number, (content, custom)) in &self.generations {
                targets.insert(format!("generations/{number}.json"), target(content, custom.clone()));
            }
        }
        if role == "rollouts" {
            for (number, rollout) in &self.rollouts {
                targets.insert(format!("rollouts/{number}.json"), target(b"", Some(rollout.clone())));
            }
        }
        for (_, name) in self.more_targets.iter().filter(|(of, _)| *of == role) {
            targets.insert(name.clone(), target(b"", None));
        }
        json!(targets)
    }
}

pub fn delegation(name: &str, holders: &Holders, paths: Value) -> Value {
    let mut role = holders.role();
    let more = json!({ "name": name, "paths": paths, "terminating": false });
    role.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    role
}

fn target(content: &[u8], custom: Option<Value>) -> Value {
    let mut target = json!({ "length": content.len(), "hashes": { "sha256": sha256(content) } });
    if let Some(custom) = custom {
        target["custom"] = json!({ "linnet": custom });
    }
    target
}

/// A generation without packages.
pub fn generation(number: u64) -> Generation {
    Generation {
        wire: FLEET_WIRE,
        fleet: FLEET.into(),
        number,
        content_of: None,
        created_secs: NOW,
        expires_secs: NOW + 300 * DAY,
        min_linnetd: None,
        max_linnetd: None,
        config_version: 1,
        config: format!("# generation {number}\n"),
        packages: Vec::new(),
        audience: Selector::default(),
        notes: String::new(),
    }
}

pub fn sha256(content: &[u8]) -> String {
    hex::encode(digest(&SHA256, content))
}

/// The file of a signed part, with the signatures of `keys`.
pub fn sign(signed: Value, keys: &[Key]) -> Vec<u8> {
    // tough's own canonical form: what is read back is what was signed.
    let read = "the schema takes it";
    let canonical = match signed["_type"].as_str() {
        Some("root") => Root::canonical_form(&serde_json::from_value(signed.clone()).expect(read)),
        Some("timestamp") => Timestamp::canonical_form(&serde_json::from_value(signed.clone()).expect(read)),
        Some("snapshot") => Snapshot::canonical_form(&serde_json::from_value(signed.clone()).expect(read)),
        _ => Targets::canonical_form(&serde_json::from_value(signed.clone()).expect(read)),
    };
    let canonical = canonical.expect("canonical JSON");
    let signatures: Vec<_> =
        keys.iter().map(|key| json!({ "keyid": key.id(), "sig": hex::encode(key.pair().sign(&canonical)) })).collect();
    serde_json::to_vec(&json!({ "signed": signed, "signatures": signatures })).expect("JSON")
}

/// Refreshes from the memory by a clock that is right.
pub async fn ask(trusted: &Trusted, repo: &Repo) -> Result<Refreshed, TrustError> {
    refresh(trusted, &repo.memory, &VirtualClock::at(NOW), &Limits::default()).await
}

/// Refreshes where nothing is wrong.
pub async fn accepted(trusted: &Trusted, repo: &Repo) -> Trusted {
    ask(trusted, repo).await.expect("accepted").trusted
}

/// The word for the refusal, after which the repository is asked again as it was when it was honest.
pub async fn refused(trusted: &Trusted, repo: &Repo) -> &'static str {
    let e = ask(trusted, repo).await.expect_err("refused");
    let sentence = e.to_string();
    assert!(!sentence.is_empty() && !sentence.contains('\n'), "one sentence: {sentence:?}");
    e.code()
}
