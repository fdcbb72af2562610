//! The power goes at every operation by which a device comes to its name, and what was not synced is lost in many ways: afterwards it has no
//! name, or all of the one that it was granted; and it never asks for a second one. The last test takes away one sync after another, and each must be
//! missed.

use std::collections::BTreeMap;

use linnet_fleet::claims::ClaimFile;
use linnet_proto::fleet::{Credentials, Fingerprint, Grant};

use super::fingerprint;
use super::identity::{AUTHORITIES_FILE, CERTIFICATE_FILE, Identity, KEY_FILE, PASSWORD_FILE, ROOT_FILE};
use crate::config::identity::{GRANTED_FILE, IDENTITY_DIR};
use crate::config::{Overrides, Sources, Surroundings, load};
use crate::store::generations::faulty::{FaultyDisk, Loss};
use crate::store::generations::fs::Disk;

const LOSSES: [Loss; 10] = [
    Loss::All,
    Loss::Nothing,
    Loss::Bytes,
    Loss::Names,
    Loss::Zeros,
    Loss::Random(1),
    Loss::Random(2),
    Loss::Random(3),
    Loss::Random(4),
    Loss::Random(5),
];

const AUTHORITIES: &str = "-----BEGIN CERTIFICATE-----\nof the broker\n";
const ROOT: &str = "{\"signed\":\"the fleet's root of trust\"}";
const PASSWORD: &str = "a password of its own";

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
        client_cert: None,
        client_key: None,
        ca: Some(AUTHORITIES.into()),
        root: ROOT.into(),
    }
}

/// What the operator's side answers: the same key is given the same name, whenever it asks.
fn granted(key: &Fingerprint) -> Grant {
    Grant {
        device: format!("device-{key}"),
        groups: ["beta".to_owned()].into(),
        labels: [("room".to_owned(), "attic".to_owned())].into(),
        credentials: Credentials {
            username: Some(key.to_string()),
            password: Some(PASSWORD.into()),
            certificate: Some(certificate(key)),
        },
    }
}

fn certificate(key: &Fingerprint) -> String {
    format!("-----BEGIN CERTIFICATE-----\nof {key}\n")
}

/// One run of the daemon: what `attempt` does, with an operator who answers at once. Gives the key that it asked with, where it came so far, and
/// whether it has come to its end.
fn live(disk: &FaultyDisk) -> (Option<Fingerprint>, Result<(), String>) {
    let claim = claim();
    let asked = (|| {
        let identity = Identity::over(Box::new(disk.clone()))?;
        let key = identity.key()?;
        identity.put_authorities(&claim)?;
        Ok((identity, fingerprint(&key)))
    })();
    match asked {
        Ok((identity, key)) => {
            let put = identity.put(&claim, &granted(&key));
            (Some(key), put)
        }
        Err(e) => (None, Err(e)),
    }
}

/// How far a device has come with its name, as the start of the daemon finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    NoName,
    Named(Fingerprint),
}

/// The disk as it comes back, before anything heals it.
fn find(disk: &FaultyDisk) -> Result<Found, String> {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("linnet.toml");
    std::fs::write(&file, "[fleet]\nclaim = \"claim.toml\"\n").expect("written");
    let identity = home.path().join("state").join(IDENTITY_DIR);
    std::fs::create_dir_all(&identity).expect("made");
    let tree = disk.tree();
    // The one file that the configuration reads.
    if let Some(Some(granted)) = tree.get(GRANTED_FILE) {
        std::fs::write(identity.join(GRANTED_FILE), granted).expect("written");
    }
    let around = Surroundings {
        device: "host".into(),
        socket: "/run/linnet/linnet.sock".into(),
        state: home.path().join("state"),
        models: None,
        processors: 2,
    };
    let flags = Overrides { config: Some(file), ..Overrides::default() };
    let config = load(&Sources { flags, environment: Overrides::default(), around, generation: None })
        .map_err(|e| format!("the device does not start: {e}"))?;
    if let Some(provision) = config.provision {
        return match provision.damaged {
            None => Ok(Found::NoName),
            Some(damage) => Err(format!("a power cut looks like damage: {damage}")),
        };
    }
    // It has a name: then all that belongs to it is there, and is what was given.
    let at = |file: &str| {
        let content = tree.get(file).and_then(Option::as_ref).ok_or_else(|| format!("{file} is not there"))?;
        String::from_utf8(content.clone()).map_err(|e| format!("{file}: {e}"))
    };
    let key = Identity::over(Box::new(disk.fork()))?.key()?;
    let key = fingerprint(&key);
    let mqtt = config.mqtt.ok_or("MQTT is off")?;
    let fleet = config.fleet.ok_or("it is of no fleet")?;
    let is = [
        (config.device == granted(&key).device, "the name is another key's"),
        (mqtt.username.as_deref() == Some(key.as_str()), "the account is another's"),
        (mqtt.password_file == Some(identity.join(PASSWORD_FILE)), "the password is elsewhere"),
        (at(PASSWORD_FILE)? == PASSWORD, "the password is another"),
        (at(CERTIFICATE_FILE)? == certificate(&key), "the certificate is another key's"),
        (at(AUTHORITIES_FILE)? == AUTHORITIES, "the authorities are others"),
        (at(ROOT_FILE)? == ROOT, "the root of trust is another"),
        (fleet.root == identity.join(ROOT_FILE), "the root of trust is elsewhere"),
        (
            fleet.groups.contains("beta") && fleet.labels.get("room").is_some_and(|room| room == "attic"),
            "not all is there",
        ),
    ];
    match is.iter().find(|(holds, _)| !holds) {
        Some((_, wrong)) => Err((*wrong).to_owned()),
        None => Ok(Found::Named(key)),
    }
}

/// Names on the disk; a key and what is made of it differ from run to run.
fn names(disk: &FaultyDisk) -> Vec<String> {
    disk.tree().into_keys().filter(|name| !name.is_empty()).collect()
}

/// Runs until the end; asked with `before`, where it has asked already.
fn check_end(disk: &FaultyDisk, before: &[Option<Fingerprint>]) -> Result<(), String> {
    let found = find(disk)?;
    let (key, ended) = live(disk);
    ended?;
    let key = key.ok_or("it does not ask")?;
    if let Some(other) = before.iter().flatten().find(|before| **before != key) {
        return Err(format!("it asked as {other} and asks as {key}: two names"));
    }
    if matches!(&found, Found::Named(named) if *named != key) {
        return Err("its name was another key's".to_owned());
    }
    if find(disk)? != Found::Named(key) {
        return Err("it has come to its end without a name".to_owned());
    }
    let all = [AUTHORITIES_FILE, CERTIFICATE_FILE, GRANTED_FILE, KEY_FILE, PASSWORD_FILE, ROOT_FILE];
    if names(disk) == all { Ok(()) } else { Err(format!("{:?} lie there", names(disk))) }
}

/// A run that is cut off, the loss, and the next run to its end.
fn cut(disk: &FaultyDisk, at: u64, loss: Loss) -> Result<(), String> {
    disk.cut_at(at);
    let (asked, ended) = live(disk);
    let disk = disk.restart(loss);
    if ended.is_ok() && find(&disk)? == Found::NoName {
        return Err("it had its name, and has none".to_owned());
    }
    check_end(&disk, &[asked])
}

/// A whole run, for its operations.
fn whole() -> FaultyDisk {
    let disk = FaultyDisk::new();
    live(&disk).1.expect("nothing is cut");
    disk
}

#[test]
fn after_a_cut_at_any_operation_a_device_has_no_name_or_all_of_one_and_never_a_second() {
    let operations = whole().operations();
    assert!(operations > 15, "{operations} operations");
    for at in 0..=operations {
        for loss in LOSSES {
            if let Err(e) = cut(&FaultyDisk::new(), at, loss) {
                panic!("cut at operation {at} of {operations}, {loss:?}: {e}");
            }
        }
    }
}

#[test]
fn a_cut_after_the_daemon_was_killed_finds_nothing_that_only_the_kernel_knew() {
    let operations = whole().operations();
    for killed in 0..=operations {
        let disk = FaultyDisk::new();
        disk.cut_at(killed);
        let (first, _) = live(&disk);
        // The process is gone, the machine is not.
        disk.cut_at(u64::MAX);
        for at in disk.operations()..=disk.operations() + operations {
            for loss in [Loss::All, Loss::Bytes, Loss::Random(killed * 31 + at)] {
                let disk = disk.fork();
                disk.cut_at(at);
                let (second, _) = live(&disk);
                let disk = disk.restart(loss);
                if let Err(e) = check_end(&disk, &[first.clone(), second]) {
                    panic!("killed at operation {killed}, cut at {at}, {loss:?}: {e}");
                }
            }
        }
    }
}

#[test]
fn each_single_sync_is_missed_where_it_is_left_out() {
    let whole = whole();
    let mut kinds = BTreeMap::<String, usize>::new();
    for (_, kind) in whole.syncs() {
        *kinds.entry(kind).or_default() += 1;
    }
    let counted: Vec<_> = kinds.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    assert_eq!(
        counted,
        [
            ("file: .new-ca.pem", 1),
            ("file: .new-certificate.pem", 1),
            ("file: .new-granted.toml", 1),
            ("file: .new-key.pem", 1),
            ("file: .new-password", 1),
            ("file: .new-root.json", 1),
            ("names: of certificate.pem", 1),
            ("names: of granted.toml", 1),
            ("names: of key.pem", 1),
        ]
    );
    for (number, (after, kind)) in whole.syncs().iter().enumerate() {
        let is_missed = (*after..=whole.operations()).any(|at| {
            LOSSES.iter().any(|&loss| {
                let disk = FaultyDisk::new();
                disk.ignore_sync(number);
                cut(&disk, at, loss).is_err()
            })
        });
        assert!(is_missed, "nobody misses sync {number}, \"{kind}\"");
    }
}

#[test]
fn a_disk_that_takes_nothing_is_told_and_nobody_asks_with_what_it_did_not_take() {
    let disk = FaultyDisk::new();
    disk.set_writable(false);
    let (asked, ended) = live(&disk);
    assert_eq!(asked, None);
    assert!(ended.expect_err("it is told").contains("/fleet/key.pem"), "by its name");
    disk.set_writable(true);
    check_end(&disk, &[]).expect("and goes on when it does");
    assert!(Disk::list(&disk, "").expect("readable").iter().all(|entry| !entry.name.starts_with('.')));
}
