//! The operator's side: a signed repository, the waves, and what is decided as reports come.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use linnet_fleet::keys::Keys;
use linnet_fleet::repository::{Draft, Editor, Founding, Repository, Role};
use linnet_fleet::source::Memory;
use linnet_fleet::waves::{Decision, Outcome, Tally, Wave, Why, decide, waves};
use linnet_proto::fleet::{Generation, Rollout, Selector};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::SimulateError;
use super::arguments::Plan;
use super::bounds::{MAX_RESUMED, MODEL_BYTES, RESUME_AFTER};
use super::names::Names;
use super::random::Random;

/// The generation that every device runs when the push begins.
pub(super) const OLD: u64 = 1;
/// The generation that is pushed.
pub(super) const NEW: u64 = 2;
/// When virtual time begins, seconds since 1970-01-01 UTC.
pub(super) const BEGAN_SECS: u64 = 1_800_000_000;
/// How long a generation may be begun with.
const LIFETIME_SECS: u64 = 365 * 86_400;
/// An Ed25519 key's PKCS#8 form before its 32 bytes (RFC 8410).
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// What the repository holds from one moment on.
#[derive(Debug)]
pub(super) struct Publication {
    /// From 0, the state before the push.
    pub(super) number: u32,
    /// As devices reach it.
    pub(super) memory: Memory,
    /// Every metadata file by name.
    pub(super) metadata: Vec<(String, Bytes)>,
    /// The signed rollouts that count, as they are.
    pub(super) rollouts: Bytes,
}

/// A repository on disk with keys out of a seed.
pub(super) struct Home {
    dir: TempDir,
    editor: Editor,
    keys: Keys<'static>,
    published: u32,
}

impl Home {
    /// A repository without generations.
    pub(super) fn found(scratch: &Path, mut random: Random, names: &Names) -> Result<Self, SimulateError> {
        let dir =
            tempfile::Builder::new().prefix("linnet-simulate-").tempdir_in(scratch).map_err(SimulateError::disk)?;
        let at = dir.path().join("keys");
        std::fs::create_dir(&at).map_err(SimulateError::disk)?;
        for role in Role::ALL {
            write_key(&at.join(format!("{role}.pem")), &random.bytes())?;
        }
        let mut keys = Keys::default();
        let editor =
            Editor::init(&dir.path().join("repository"), &Founding::simple(names.fleet(), &at), &mut keys, BEGAN_SECS)?;
        Ok(Self { dir, editor, keys, published: 0 })
    }

    /// Publishes a generation of two packages: one that stays as it is, and one of `content`.
    pub(super) fn publish(&mut self, content: &[u8]) -> Result<u64, SimulateError> {
        let steady = vec![7; MODEL_BYTES.1];
        let packages = vec![self.package("steady", &steady)?, self.package("speech", content)?];
        let draft = Draft {
            config: "log = \"info\"\n".into(),
            config_version: 1,
            packages,
            lifetime_secs: LIFETIME_SECS,
            notes: "simulated".into(),
            ..Draft::default()
        };
        let prepared = self.editor.prepare(&draft, BEGAN_SECS)?;
        self.editor.publish(&prepared, &mut self.keys, BEGAN_SECS)?;
        Ok(prepared.generation.number)
    }

    /// Writes a package's directory.
    fn package(&self, name: &str, content: &[u8]) -> Result<PathBuf, SimulateError> {
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(&dir).map_err(SimulateError::disk)?;
        let manifest = format!(
            "manifest_version = 1\nname = \"{name}\"\nversion = \"1.0.0\"\ntasks = []\nlanguages = []\nlicense = \"MIT\"\n\
             description = \"\"\nfamily = \"raw\"\nmemory_mib = 1\n[files.\"model.onnx\"]\nbytes = {}\nsha256 = \"{}\"\n",
            content.len(),
            hex::encode(Sha256::digest(content))
        );
        std::fs::write(dir.join("model.onnx"), content).map_err(SimulateError::disk)?;
        std::fs::write(dir.join("manifest.toml"), manifest).map_err(SimulateError::disk)?;
        Ok(dir)
    }

    /// A rollout that opens nothing yet.
    pub(super) fn rollout(&self, number: u64, salt: &str) -> Result<Rollout, SimulateError> {
        Ok(self.editor.new_rollout(number, Selector::default(), salt)?)
    }

    /// Signs a rollout.
    pub(super) fn sign(&mut self, rollout: &Rollout, at_ms: u64) -> Result<(), SimulateError> {
        Ok(self.editor.roll_out(rollout, &mut self.keys, BEGAN_SECS + at_ms / 1000)?)
    }

    /// The repository as it is.
    pub(super) fn repository(&self) -> &Repository {
        self.editor.repository()
    }

    /// What is there now, as devices reach it.
    pub(super) fn now(&mut self) -> Result<Publication, SimulateError> {
        let files = self.editor.metadata_files()?;
        let metadata: Vec<(String, Bytes)> = files.into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
        let memory = Memory::new();
        for (name, bytes) in &metadata {
            memory.put_metadata(name, bytes.clone());
        }
        let current = format!("{}.rollouts.json", self.editor.version(Role::Rollouts));
        let rollouts = metadata.iter().find(|(name, _)| *name == current).map(|(_, bytes)| bytes.clone());
        for (path, bytes) in self.files()? {
            memory.put_file(&path, bytes);
        }
        let number = self.published;
        self.published += 1;
        Ok(Publication { number, memory, metadata, rollouts: rollouts.unwrap_or_default() })
    }

    /// Generations and their packages' files, by the path that devices ask for.
    pub(super) fn files(&self) -> Result<Vec<(String, Vec<u8>)>, SimulateError> {
        let mut files = Vec::new();
        for (number, sha256) in self.editor.generations() {
            let generation = self.editor.generation(number)?;
            let document = serde_json::to_vec(&generation).map_err(|e| SimulateError::Model(e.to_string()))?;
            files.push((format!("generations/{sha256}.{number}.json"), document));
            for file in generation.files() {
                let content = std::fs::read(self.editor.file(&file.sha256)).map_err(SimulateError::disk)?;
                files.push((format!("files/{}", file.sha256), content));
            }
        }
        Ok(files)
    }

    /// A generation.
    pub(super) fn generation(&self, number: u64) -> Result<Generation, SimulateError> {
        Ok(self.editor.generation(number)?)
    }
}

/// The content of the file that changes, of a seed.
pub(super) fn model(mut random: Random) -> Vec<u8> {
    let mut content = Vec::with_capacity(MODEL_BYTES.0);
    while content.len() < MODEL_BYTES.0 {
        content.extend(random.bytes());
    }
    content
}

fn write_key(path: &Path, secret: &[u8; 32]) -> Result<(), SimulateError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let der = [&PKCS8_HEAD[..], secret].concat();
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(pem.as_bytes())).map_err(SimulateError::disk)
}

/// How the push stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Reports of the newest wave are waited for.
    Running,
    /// Too few devices have reported; it is taken up again when enough have been heard of. Since when, milliseconds.
    Silent(u64),
    /// Too many have failed, or nobody says anything: nobody begins any more.
    Halted(Why),
    /// Every wave is open.
    Done,
}

/// One wave as it went.
#[derive(Debug, Clone)]
pub(super) struct WaveLog {
    /// When it was opened, milliseconds.
    pub(super) opened_ms: u64,
    /// When the next one was, or the push ended.
    pub(super) decided_ms: Option<u64>,
}

/// What the operator has signed, and whom to hint to look.
pub(super) struct Signed {
    pub(super) publication: Arc<Publication>,
    pub(super) hint: Hint,
}

/// Devices that are told to look.
#[derive(Debug, Clone)]
pub(super) struct Hint {
    /// Their buckets.
    pub(super) buckets: Range<u32>,
    /// By device, which of them have ended and are not told; none where nothing has begun.
    ended: Arc<[bool]>,
}

impl Hint {
    /// Nobody.
    fn nobody() -> Self {
        Self { buckets: 0..0, ended: Arc::default() }
    }

    /// Whether a device is told.
    pub(super) fn is_for(&self, device: u32, bucket: u32) -> bool {
        self.buckets.contains(&bucket) && !self.ended.get(device as usize).copied().unwrap_or(false)
    }
}

/// Who pushes.
pub(super) struct Operator {
    home: Home,
    plan: Plan,
    rollout: Rollout,
    pub(super) waves: Vec<Wave>,
    /// The wave that each device is in.
    wave_of: Vec<u8>,
    outcomes: Vec<Outcome>,
    /// Heard of since the push began.
    is_heard: Vec<bool>,
    /// By wave, the devices that it adds.
    pub(super) tallies: Vec<Tally>,
    /// By wave, devices heard of.
    heard: Vec<usize>,
    pub(super) log: Vec<WaveLog>,
    pub(super) standing: Standing,
    /// How often it was taken up again.
    pub(super) resumed: u32,
    /// How often the rollout was signed.
    pub(super) signatures: usize,
    /// When the newest wave's reports began to be waited for, milliseconds.
    waits_since_ms: u64,
}

impl Operator {
    /// Knows every device by its name and bucket, and whether it is connected now. Nothing is opened yet.
    pub(super) fn new(
        home: Home,
        plan: &Plan,
        salt: &str,
        names: &BTreeSet<String>,
        buckets: &[u32],
        is_there: impl Fn(usize) -> bool,
    ) -> Result<Self, SimulateError> {
        let rollout = home.rollout(NEW, salt)?;
        let waves = waves(&plan.rules, salt, names);
        let wave_of: Vec<u8> =
            buckets.iter().map(|bucket| waves.partition_point(|wave| wave.opened <= *bucket) as u8).collect();
        let mut tallies = vec![Tally::default(); waves.len()];
        let mut heard = vec![0; waves.len()];
        let is_heard: Vec<bool> = (0..buckets.len()).map(is_there).collect();
        for (wave, is_heard) in wave_of.iter().zip(&is_heard) {
            tallies[usize::from(*wave)].silent += 1;
            heard[usize::from(*wave)] += usize::from(*is_heard);
        }
        let outcomes = vec![Outcome::Silent; buckets.len()];
        Ok(Self {
            home,
            plan: plan.clone(),
            rollout,
            waves,
            wave_of,
            outcomes,
            is_heard,
            tallies,
            heard,
            log: Vec::new(),
            standing: Standing::Running,
            resumed: 0,
            signatures: 0,
            waits_since_ms: 0,
        })
    }

    /// The directory of the repository.
    pub(super) fn directory(&self) -> &Path {
        self.home.repository().dir()
    }

    /// Opens the first wave.
    pub(super) fn begin(&mut self, now_ms: u64) -> Result<Signed, SimulateError> {
        self.open(now_ms)
    }

    /// Takes in what a device has reported.
    pub(super) fn hear(&mut self, device: usize, outcome: Outcome) {
        let wave = usize::from(self.wave_of[device]);
        if !std::mem::replace(&mut self.is_heard[device], true) {
            self.heard[wave] += 1;
        }
        let before = std::mem::replace(&mut self.outcomes[device], outcome);
        let tally = &mut self.tallies[wave];
        match before {
            Outcome::Silent => tally.silent -= 1,
            Outcome::Working => tally.working -= 1,
            Outcome::Confirmed => tally.confirmed -= 1,
            Outcome::Failed => tally.failed -= 1,
        }
        tally.add(outcome);
    }

    /// Decides by what has been heard; what was signed, if anything.
    pub(super) fn decide(&mut self, now_ms: u64) -> Result<Option<Signed>, SimulateError> {
        match self.standing {
            Standing::Done | Standing::Halted(_) => Ok(None),
            Standing::Silent(since_ms) => {
                let newest = self.newest();
                let is_due = now_ms >= since_ms + RESUME_AFTER.as_millis() as u64;
                let are_enough = self.heard[self.log.len() - 1] >= self.plan.rules.min_reported.of(newest.devices());
                if is_due && are_enough { self.resume(now_ms).map(Some) } else { Ok(None) }
            }
            Standing::Running => {
                let all = self.tallies[..self.log.len()].iter().fold(Tally::default(), |all, one| Tally {
                    silent: all.silent + one.silent,
                    working: all.working + one.working,
                    confirmed: all.confirmed + one.confirmed,
                    failed: all.failed + one.failed,
                });
                let waited_secs = (now_ms - self.waits_since_ms) / 1000;
                let is_last = self.log.len() == self.waves.len();
                match decide(&self.plan.rules, &self.newest(), &all, waited_secs, is_last) {
                    Decision::Wait => Ok(None),
                    Decision::Open => {
                        self.decided(now_ms);
                        self.open(now_ms).map(Some)
                    }
                    Decision::Done => {
                        self.decided(now_ms);
                        self.standing = Standing::Done;
                        Ok(None)
                    }
                    Decision::Pause(why) => {
                        self.standing = match why {
                            Why::Silent { .. } if self.resumed < MAX_RESUMED => Standing::Silent(now_ms),
                            Why::Silent { .. } | Why::Failures { .. } => {
                                self.decided(now_ms);
                                Standing::Halted(why)
                            }
                        };
                        self.rollout.paused = true;
                        self.sign(now_ms, Hint::nobody()).map(Some)
                    }
                }
            }
        }
    }

    /// When a decision is due though nothing new is heard, milliseconds.
    pub(super) fn due_ms(&self) -> Option<u64> {
        match self.standing {
            Standing::Running => Some(self.waits_since_ms + self.plan.rules.wait_secs * 1000),
            Standing::Silent(since_ms) => Some(since_ms + RESUME_AFTER.as_millis() as u64),
            Standing::Halted(_) | Standing::Done => None,
        }
    }

    /// Whether nothing is left to decide.
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.standing, Standing::Halted(_) | Standing::Done)
    }

    /// How many waves are open.
    pub(super) fn opened(&self) -> usize {
        self.log.len()
    }

    fn newest(&self) -> Tally {
        self.tallies[self.log.len() - 1]
    }

    fn decided(&mut self, now_ms: u64) {
        if let Some(last) = self.log.last_mut() {
            last.decided_ms = Some(now_ms);
        }
    }

    fn open(&mut self, now_ms: u64) -> Result<Signed, SimulateError> {
        let before = self.rollout.opened;
        let wave = self.waves[self.log.len()];
        self.log.push(WaveLog { opened_ms: now_ms, decided_ms: None });
        self.rollout.opened = wave.opened;
        self.rollout.wave = self.log.len() as u32;
        self.waits_since_ms = now_ms;
        self.sign(now_ms, Hint { buckets: before..wave.opened, ended: Arc::default() })
    }

    fn resume(&mut self, now_ms: u64) -> Result<Signed, SimulateError> {
        self.resumed += 1;
        self.rollout.paused = false;
        self.standing = Standing::Running;
        self.waits_since_ms = now_ms;
        let ended = |outcome: &Outcome| matches!(outcome, Outcome::Confirmed | Outcome::Failed);
        let ended = self.outcomes.iter().map(ended).collect();
        self.sign(now_ms, Hint { buckets: 0..self.rollout.opened, ended })
    }

    fn sign(&mut self, now_ms: u64, hint: Hint) -> Result<Signed, SimulateError> {
        self.home.sign(&self.rollout, now_ms)?;
        self.signatures += 1;
        Ok(Signed { publication: Arc::new(self.home.now()?), hint })
    }
}
