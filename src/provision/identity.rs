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

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use linnet_fleet::claims::ClaimFile;
use linnet_fleet::keys::{FileKey, generate};
use linnet_proto::fleet::{Credentials, Grant};
use linnet_proto::topic::DeviceName;
use toml::{Table, Value};

use crate::config::document;
use crate::config::identity::GRANTED_FILE;
use crate::store::write::{write_file, write_private_file};

const KEY_FILE: &str = "key.pem";
const AUTHORITIES_FILE: &str = "ca.pem";
const ROOT_FILE: &str = "root.json";
const PASSWORD_FILE: &str = "password";
const CERTIFICATE_FILE: &str = "certificate.pem";

/// The directory.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    dir: PathBuf,
}

impl Identity {
    /// Makes the directory where it is not there. Faults are one sentence each.
    pub(super) fn at(dir: &Path) -> Result<Self, String> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|e| format!("{}: it cannot be made: {e}", dir.display()))?;
        Ok(Self { dir: dir.to_owned() })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// The device's key, made where there is none. One that cannot be read is put aside: without a grant it has no worth, and with one the
    /// operator says what to do.
    pub(super) fn key(&self) -> Result<FileKey, String> {
        let path = self.path(KEY_FILE);
        let open = || FileKey::open(&path, &|_| Err(std::io::Error::other("it must have none")));
        if path.exists() {
            match open() {
                Ok(key) => return Ok(key),
                Err(e) => {
                    let aside = self.path("key.damaged.pem");
                    std::fs::rename(&path, &aside).map_err(|e| format!("{}: {e}", path.display()))?;
                    log::error!("provisioning: {e}; it is put aside as {} and another is made", aside.display());
                }
            }
        }
        let new = self.path("key.pem.new");
        // What a power cut has left of an earlier one.
        match std::fs::remove_file(&new) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(format!("{}: {e}", new.display())),
            _ => {}
        }
        generate(&new, None).map_err(|e| e.to_string())?;
        std::fs::rename(&new, &path)
            .and_then(|()| File::open(&self.dir)?.sync_all())
            .map_err(|e| format!("{}: {e}", path.display()))?;
        open().map_err(|e| e.to_string())
    }

    /// Puts the broker's authorities where a connection finds them.
    pub(super) fn put_authorities(&self, claim: &ClaimFile) -> Result<(), String> {
        let Some(ca) = &claim.ca else { return Ok(()) };
        let path = self.authorities();
        // Each attempt comes by here, and flash is spared.
        if std::fs::read(&path).is_ok_and(|there| there == ca.as_bytes()) {
            return Ok(());
        }
        write_file(&path, ca.as_bytes()).map_err(|e| e.to_string())
    }

    pub(super) fn authorities(&self) -> PathBuf {
        self.path(AUTHORITIES_FILE)
    }

    /// Writes a grant: what it names first, itself last, so that a power cut leaves all of it or none.
    pub(super) fn put(&self, claim: &ClaimFile, grant: &Grant) -> Result<(), String> {
        DeviceName::new(grant.device.as_str()).map_err(|e| format!("the granted name: {e}"))?;
        let own = Credentials { username: claim.username.clone(), password: claim.password.clone(), certificate: None };
        // A site that gives its devices nothing of their own has them go on with what the claim has.
        let is_bare = grant.credentials == Credentials::default();
        let credentials = if is_bare { &own } else { &grant.credentials };
        let text = layer(claim, grant, credentials, is_bare);
        let path = self.path(GRANTED_FILE);
        document::parse(&text, &path, &self.dir).map_err(|e| format!("what was granted cannot be used: {e}"))?;
        let put = |file: &str, content: &str| {
            write_private_file(&self.path(file), content.as_bytes()).map_err(|e| e.to_string())
        };
        put(ROOT_FILE, &claim.root)?;
        if let Some(password) = &credentials.password {
            put(PASSWORD_FILE, password)?;
        }
        if let Some(certificate) = &credentials.certificate {
            put(CERTIFICATE_FILE, certificate)?;
        }
        put(GRANTED_FILE, &text)
    }

    /// Removes a grant that this device cannot run with.
    pub(super) fn take_back(&self) -> Result<(), String> {
        let path = self.path(GRANTED_FILE);
        std::fs::remove_file(&path)
            .and_then(|()| File::open(&self.dir)?.sync_all())
            .map_err(|e| format!("{}: {e}", path.display()))
    }
}

/// The grant in the form of `linnet.toml`.
fn layer(claim: &ClaimFile, grant: &Grant, credentials: &Credentials, is_bare: bool) -> String {
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
        std::fs::write(identity.path("key.pem.new"), "half").expect("written");
        let first = crate::provision::fingerprint(&identity.key().expect("made"));
        let mode = std::fs::metadata(identity.path(KEY_FILE)).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(crate::provision::fingerprint(&identity.key().expect("read")), first);
        std::fs::write(identity.path(KEY_FILE), "").expect("spoiled");
        assert_ne!(crate::provision::fingerprint(&identity.key().expect("made")), first);
    }
}
