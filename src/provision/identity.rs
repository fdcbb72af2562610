//! The device's own key, and what it was granted, on its disk.
//!
//! ```text
//! <state>/identity/key.pem          made here, never leaves
//!                  ca.pem           authorities of the broker's certificate, from the claim
//!                  root.json        the fleet's root of trust, from the claim
//!                  password         from the grant, or from the claim where the grant brings nothing
//!                  certificate.pem  from the grant
//!                  granted.toml     a layer of the configuration that names the others; written last, it is the grant
//! ```

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use linnet_fleet::claims::ClaimFile;
use linnet_fleet::keys::{FileKey, KeyError, MAX_KEY_BYTES, new_pem};
use linnet_proto::fleet::{Credentials, Grant};
use linnet_proto::topic::DeviceName;
use toml::{Table, Value};

use crate::config::document;
use crate::config::identity::GRANTED_FILE;
use crate::store::generations::fs::{Disk, RealDisk};

pub(super) const KEY_FILE: &str = "key.pem";
pub(super) const AUTHORITIES_FILE: &str = "ca.pem";
pub(super) const ROOT_FILE: &str = "root.json";
pub(super) const PASSWORD_FILE: &str = "password";
pub(super) const CERTIFICATE_FILE: &str = "certificate.pem";
/// Before the name of what is being written; it is thrown away at the next opening.
const NEW: &str = ".new-";

/// The directory.
pub(super) struct Identity {
    disk: Box<dyn Disk>,
}

impl Identity {
    /// Makes the directory where it is not there. Faults are one sentence each.
    pub(super) fn at(dir: &Path) -> Result<Self, String> {
        let disk = RealDisk::at(dir).map_err(|e| format!("{}: it cannot be made: {e}", dir.display()))?;
        let key = dir.join(KEY_FILE);
        if let Ok(metadata) = key.metadata()
            && metadata.mode() & 0o077 != 0
        {
            return Err(KeyError::Open { path: key, mode: metadata.mode() & 0o7777 }.to_string());
        }
        Self::over(Box::new(disk))
    }

    /// The directory as `disk` has it. What was being written when the power went is removed.
    pub(super) fn over(disk: Box<dyn Disk>) -> Result<Self, String> {
        let identity = Self { disk };
        let entries = identity.disk.list("").map_err(|e| identity.fault("", e))?;
        for entry in entries.iter().filter(|entry| entry.name.starts_with('.') && !entry.is_dir) {
            identity.disk.remove_file(&entry.name).map_err(|e| identity.fault(&entry.name, e))?;
        }
        Ok(identity)
    }

    /// Where it lies.
    pub(super) fn dir(&self) -> &Path {
        self.disk.root()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.disk.root().join(file)
    }

    fn fault(&self, file: &str, e: std::io::Error) -> String {
        format!("{}: {e}", self.path(file).display())
    }

    /// The device's key, made where there is none; durable before this returns, for whoever asks with one that a power cut takes back asks for a
    /// second name with the next. One that is none is put aside: without a grant it has no worth, and with one the operator says what to do.
    pub(super) fn key(&self) -> Result<FileKey, String> {
        let path = self.path(KEY_FILE);
        let open = |pem: Vec<u8>| {
            let key = FileKey::from_pem(&path, pem, &|_| Err(std::io::Error::other("it must have none")));
            key.map_err(|e| e.to_string())
        };
        let found = match self.disk.read(KEY_FILE, MAX_KEY_BYTES) {
            Ok(pem) => Some(open(pem)),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) if e.kind() == ErrorKind::InvalidData => Some(Err(self.fault(KEY_FILE, e))),
            Err(e) => return Err(self.fault(KEY_FILE, e)),
        };
        match found {
            Some(Ok(key)) => {
                // Whoever made it may have been killed before its name was durable.
                self.disk.sync_dir("").map_err(|e| self.fault("", e))?;
                return Ok(key);
            }
            Some(Err(e)) => {
                let aside = "key.damaged.pem";
                self.disk.rename(KEY_FILE, aside).map_err(|e| self.fault(KEY_FILE, e))?;
                log::error!("provisioning: {e}; it is put aside as {} and another is made", self.path(aside).display());
            }
            None => {}
        }
        let pem = new_pem(&path, None).map_err(|e| e.to_string())?;
        self.replace(KEY_FILE, pem.as_bytes())?;
        self.disk.sync_dir("").map_err(|e| self.fault("", e))?;
        open(pem.as_bytes().to_vec())
    }

    /// Puts the broker's authorities where a connection finds them.
    pub(super) fn put_authorities(&self, claim: &ClaimFile) -> Result<(), String> {
        let Some(ca) = &claim.ca else { return Ok(()) };
        // Each attempt comes by here, and flash is spared.
        if self.disk.read(AUTHORITIES_FILE, ca.len() as u64).is_ok_and(|there| there == ca.as_bytes()) {
            return Ok(());
        }
        self.replace(AUTHORITIES_FILE, ca.as_bytes())
    }

    pub(super) fn authorities(&self) -> PathBuf {
        self.path(AUTHORITIES_FILE)
    }

    /// Writes a grant: what it names first, itself last, so that a power cut leaves all of it or none.
    pub(super) fn put(&self, claim: &ClaimFile, grant: &Grant) -> Result<(), String> {
        let text = layer(claim, grant, self.disk.root())?;
        let (credentials, _) = credentials(claim, grant);
        self.replace(ROOT_FILE, claim.root.as_bytes())?;
        if let Some(password) = &credentials.password {
            self.replace(PASSWORD_FILE, password.as_bytes())?;
        }
        if let Some(certificate) = &credentials.certificate {
            self.replace(CERTIFICATE_FILE, certificate.as_bytes())?;
        }
        // One for all of their names; the grant's own must not come before them.
        self.disk.sync_dir("").map_err(|e| self.fault("", e))?;
        self.replace(GRANTED_FILE, text.as_bytes())?;
        self.disk.sync_dir("").map_err(|e| self.fault("", e))
    }

    /// Gives `file` this content, at once. Its name is durable when the directory has been synced.
    fn replace(&self, file: &str, content: &[u8]) -> Result<(), String> {
        let new = format!("{NEW}{file}");
        let written = (|| {
            self.disk.create(&new, content)?;
            self.disk.sync_file(&new)?;
            self.disk.rename(&new, file)
        })();
        written.map_err(|e| format!("cannot write {}", self.fault(file, e)))
    }
}

/// What the device logs in with, and whether that is the claim's: a site that gives its devices nothing of their own has them go on with it.
fn credentials(claim: &ClaimFile, grant: &Grant) -> (Credentials, bool) {
    if grant.credentials != Credentials::default() {
        return (grant.credentials.clone(), false);
    }
    let own = Credentials { username: claim.username.clone(), password: claim.password.clone(), certificate: None };
    (own, true)
}

/// The grant in the form of `linnet.toml`, for a device whose identity lies in `dir`. A grant that cannot be used is a fault.
pub fn layer(claim: &ClaimFile, grant: &Grant, dir: &Path) -> Result<String, String> {
    DeviceName::new(grant.device.as_str()).map_err(|e| {
        format!("the granted name: {e}; the operator frees it (`linnet fleet claim release -- NAME`), and makes a claim that gives another")
    })?;
    let text = to_toml(claim, grant);
    document::parse(&text, &dir.join(GRANTED_FILE), dir)
        .map_err(|e| format!("what was granted cannot be used: {e}"))?;
    Ok(text)
}

fn to_toml(claim: &ClaimFile, grant: &Grant) -> String {
    let (credentials, is_bare) = credentials(claim, grant);
    let text = |text: &str| Value::String(text.to_owned());
    let mut mqtt = Table::new();
    mqtt.insert("url".into(), text(&claim.url));
    if claim.ca.is_some() {
        mqtt.insert("ca_file".into(), text(AUTHORITIES_FILE));
    }
    if let Some(username) = &credentials.username {
        mqtt.insert("username".into(), text(username));
    }
    if credentials.password.is_some() {
        mqtt.insert("password_file".into(), text(PASSWORD_FILE));
    }
    if credentials.certificate.is_some() {
        mqtt.insert("client_cert".into(), text(CERTIFICATE_FILE));
        mqtt.insert("client_key".into(), text(KEY_FILE));
    } else if let (true, Some(cert), Some(key)) = (is_bare, &claim.client_cert, &claim.client_key) {
        mqtt.insert("client_cert".into(), text(&cert.display().to_string()));
        mqtt.insert("client_key".into(), text(&key.display().to_string()));
    }
    let mut fleet = Table::new();
    fleet.insert("name".into(), text(&claim.fleet));
    fleet.insert("root".into(), text(ROOT_FILE));
    if !grant.groups.is_empty() {
        fleet.insert("groups".into(), Value::Array(grant.groups.iter().map(|group| text(group)).collect()));
    }
    if !grant.labels.is_empty() {
        let labels = grant.labels.iter().map(|(label, value)| (label.clone(), text(value))).collect();
        fleet.insert("labels".into(), Value::Table(labels));
    }
    let mut table = Table::new();
    table.insert("device".into(), text(&grant.device));
    table.insert("mqtt".into(), Value::Table(mqtt));
    table.insert("fleet".into(), Value::Table(fleet));
    format!(
        "# What this device was granted by the claim {}. linnetd reads it below the device's own file; remove it to have it ask again.\n{table}",
        claim.claim
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, Sources, Surroundings, load};

    fn claim() -> ClaimFile {
        ClaimFile {
            wire: 1,
            fleet: "home".into(),
            claim: "c1".into(),
            token: "00".repeat(32),
            operator: "00".repeat(32),
            expires: "2030-01-01T00:00:00Z".into(),
            url: "mqtts://broker.example".into(),
            username: Some("claims".into()),
            password: Some("for all".into()),
            client_cert: Some("/etc/linnet/claim.crt".into()),
            client_key: Some("/etc/linnet/claim.key".into()),
            ca: Some("-----BEGIN CERTIFICATE-----\n".into()),
            root: "{}".into(),
        }
    }

    fn grant(credentials: Credentials) -> Grant {
        Grant {
            device: "kitchen".into(),
            groups: ["beta".to_owned()].into(),
            labels: [("board".to_owned(), "pi4 \"B\"".to_owned())].into(),
            credentials,
        }
    }

    /// A device whose file says `more`, and what its directory comes to.
    struct Home {
        dir: tempfile::TempDir,
        sources: Sources,
        identity: Identity,
    }

    fn home(more: &str) -> Home {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("linnet.toml");
        std::fs::write(&file, format!("{more}\n[fleet]\nclaim = \"claim.toml\"\n")).expect("written");
        let state = dir.path().join("state");
        let identity = Identity::at(&state.join("identity")).expect("made");
        let around = Surroundings {
            device: "host".into(),
            socket: "/run/linnet/linnet.sock".into(),
            state: "/nowhere".into(),
            models: None,
            processors: 2,
        };
        let flags = Overrides { config: Some(file), state: Some(state.into()), ..Overrides::default() };
        let sources = Sources { flags, environment: Overrides::default(), around, generation: None };
        Home { dir, sources, identity }
    }

    #[test]
    fn a_device_without_a_grant_is_off_the_air_and_with_one_it_is_what_was_granted() {
        let Home { dir, sources, identity } = home("[mqtt]\nkeep_alive_secs = 77");
        let before = load(&sources).expect("loads");
        let provision = before.provision.expect("it asks");
        assert_eq!((before.mqtt, before.fleet), (None, None));
        assert_eq!(provision.claim, dir.path().join("claim.toml"));
        assert_eq!((provision.wanted, provision.link.keep_alive.as_secs()), (None, 77));

        identity.put_authorities(&claim()).expect("written");
        let given = Credentials {
            username: Some("kitchen".into()),
            password: Some("its own".into()),
            certificate: Some("-----BEGIN CERTIFICATE-----\n".into()),
        };
        identity.put(&claim(), &grant(given)).expect("written");
        let after = load(&sources).expect("loads");
        assert_eq!((after.device.as_str(), after.provision), ("kitchen", None));
        let mqtt = after.mqtt.expect("MQTT is on");
        assert_eq!((mqtt.url.as_str(), mqtt.client_id.as_str()), ("mqtts://broker.example", "linnet-kitchen"));
        assert_eq!((mqtt.username.as_deref(), mqtt.keep_alive.as_secs()), (Some("kitchen"), 77));
        let password = mqtt.password_file.expect("a password");
        assert_eq!(std::fs::read_to_string(password).expect("readable"), "its own");
        let files = mqtt.client_cert.expect("a certificate");
        assert_eq!((files.cert, files.key), (identity.path(CERTIFICATE_FILE), identity.path(KEY_FILE)));
        let fleet = after.fleet.expect("a fleet");
        assert_eq!((fleet.name.as_str(), fleet.root), ("home", identity.path(ROOT_FILE)));
        assert_eq!(fleet.labels.get("board").map(String::as_str), Some("pi4 \"B\""));
    }

    #[test]
    fn a_grant_that_brings_no_credentials_leaves_those_of_the_claim() {
        let Home { sources, identity, dir: _dir } = home("");
        identity.put(&claim(), &grant(Credentials::default())).expect("written");
        let mqtt = load(&sources).expect("loads").mqtt.expect("MQTT is on");
        assert_eq!(mqtt.username.as_deref(), Some("claims"));
        assert_eq!(mqtt.client_cert.expect("the claim's").cert, Path::new("/etc/linnet/claim.crt"));
    }

    #[test]
    fn the_devices_own_file_goes_before_what_was_granted_but_for_the_names() {
        let Home { sources, identity, dir: _dir } = home("device = \"kitchen\"\n[mqtt]\nurl = \"mqtt://other\"");
        identity.put(&claim(), &grant(Credentials::default())).expect("written");
        assert_eq!(load(&sources).expect("agrees").mqtt.expect("on").url, "mqtt://other");

        let Home { sources, identity, dir: _dir } = home("device = \"attic\"");
        identity.put(&claim(), &grant(Credentials::default())).expect("written");
        let e = load(&sources).expect_err("two names").to_string();
        assert!(e.contains("1: device: ") && e.contains("\"kitchen\"") && e.contains("granted.toml"), "{e}");
    }

    #[test]
    fn a_grant_that_is_damaged_on_the_disk_is_asked_for_again() {
        let Home { sources, identity, dir: _dir } = home("");
        for damage in ["", "device = ", "\u{0}\u{0}\u{0}", "devce = \"x\"\n"] {
            std::fs::write(identity.path(GRANTED_FILE), damage).expect("written");
            let provision = load(&sources).expect("nobody is taken down").provision.expect("it asks");
            assert!(provision.damaged.expect("told").contains("granted.toml"), "{damage:?}");
        }
    }

    #[test]
    fn a_grant_that_cannot_be_used_is_not_written() {
        let Home { sources, identity, dir: _dir } = home("");
        for name in ["pool", "a/b", ""] {
            identity.put(&claim(), &Grant { device: name.into(), ..grant(Credentials::default()) }).expect_err(name);
        }
        let e = identity
            .put(&claim(), &Grant { groups: [String::new()].into(), ..grant(Credentials::default()) })
            .expect_err("an empty group");
        assert!(e.contains("groups"), "{e}");
        assert!(load(&sources).expect("loads").provision.is_some());
    }

    #[test]
    fn the_key_is_made_once_and_one_that_a_power_cut_spoiled_is_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let Home { identity, dir: _dir, .. } = home("");
        std::fs::write(identity.path(".new-key.pem"), "half").expect("written");
        let identity = Identity::at(identity.dir()).expect("there");
        assert!(!identity.path(".new-key.pem").exists(), "half of one is thrown away");
        let first = crate::provision::fingerprint(&identity.key().expect("made"));
        let mode = std::fs::metadata(identity.path(KEY_FILE)).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(crate::provision::fingerprint(&identity.key().expect("read")), first);
        std::fs::write(identity.path(KEY_FILE), "").expect("spoiled");
        assert_ne!(crate::provision::fingerprint(&identity.key().expect("made")), first);
    }
}
