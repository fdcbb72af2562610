//! Updates over a broker on which somebody else plays the operator: with an index that lies, and with pieces of files that are none. What he does is
//! told, what serves goes on, and the honest operator is followed afterwards.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use linnet_proto::fleet::{Index, IndexEntry, MAX_RANGE_BYTES, RangeHead, RangeStatus};
use serde_json::json;

use crate::forge::sha256;
use crate::harness::{Daemon, Mosquitto, eventually};
use crate::operator::{Operator, answers, half_written, looking, served_version, status, wait_for, wait_for_log};
use crate::serving::Serving;
use crate::thief::{Asked, Thief};

const ONE: &str = "[limits]\nmax_upload_mib = 7\n";
const TWO: &str = "[limits]\nmax_upload_mib = 8\n";

/// Bytes between two lies of one download: two pieces.
const STEP_BYTES: u64 = 2 * MAX_RANGE_BYTES;

/// A device of `operator` called `name` that takes everything from the broker.
fn device(operator: &Operator, broker: &Mosquitto, name: &str) -> Daemon {
    let mqtt = format!("[mqtt]\nurl = {:?}\nbackoff_first_ms = 100\n", broker.url());
    let config = format!("device = {name:?}\nmodels = [{:?}]\n{mqtt}{}", operator.bundled(), operator.fleet("mqtt"));
    Daemon::builder().models_of_the_configuration().config(config).start()
}

/// The first generation serves, whole, and nothing of another is on the disk.
fn is_unharmed(daemon: &Daemon, what: &str) {
    answers(daemon);
    let said = status(daemon);
    assert_eq!(said["generation"], json!({ "generation": 1, "confirmed": true }), "{what}");
    assert_eq!(said["limits"]["max_upload_bytes"], 7 << 20, "{what}");
    assert_eq!(half_written(daemon), Vec::<PathBuf>::new(), "{what}");
}

/// What a thief publishes: on which topic of the fleet, and what of the index there is.
type Lie = fn(&[u8]) -> (&'static str, Vec<u8>);

/// The index, changed.
fn changed(index: &[u8], change: impl FnOnce(&mut Index)) -> (&'static str, Vec<u8>) {
    let mut index = Index::parse(index).expect("it is honest");
    change(&mut index);
    ("index", serde_json::to_vec(&index).expect("JSON"))
}

#[test]
fn an_index_that_lies_is_told_and_the_operators_own_is_followed() {
    let test = "an_index_that_lies_is_told_and_the_operators_own_is_followed";
    let Some(broker) = Mosquitto::start(test) else { return };
    let operator = Operator::new();
    let one = operator.push(ONE, &[]);
    let _serving = Serving::start(&operator, &broker.url(), &[]);
    let daemon = device(&operator, &broker, "kitchen");
    let thief = Thief::connect(&broker);
    wait_for(&daemon, one);
    let trusted = || std::fs::read(daemon.home().join("state/fleet/trust.json")).expect("it trusts something");
    let before = trusted();
    let honest = thief.retained("index");
    let lies: [(&str, Lie); 14] = [
        ("the index cannot be read", |_| ("index", b"\0\xff garbage".to_vec())),
        ("the index cannot be read", |index| ("index", index[..index.len() / 2].to_vec())),
        ("the index cannot be read", |_| ("index", b"[".repeat(100_000))),
        ("the index is written in form 9", |index| changed(index, |index| index.wire = 9)),
        ("(too_large: ", |index| ("index", [index, &[b' '; Index::MAX_BYTES]].concat())),
        // More than the connection takes at all.
        ("the broker retains nothing on linnet/fleet/home/index", |_| ("index", vec![b' '; 5 << 20])),
        ("the broker retains nothing on linnet/fleet/home/index", |_| ("index", Vec::new())),
        // Files that do not exist.
        ("the fleet's index names it, but the broker retains nothing", |index| {
            changed(index, |index| index.files.push(IndexEntry { name: "2.root.json".into(), bytes: 100 }))
        }),
        ("(too_large: ", |index| {
            changed(index, |index| index.files.push(IndexEntry { name: "2.root.json".into(), bytes: u64::MAX }))
        }),
        // Files that exist are hidden.
        ("the source has no timestamp.json", |index| {
            changed(index, |index| index.files.retain(|file| file.name != "timestamp.json"))
        }),
        ("the source has no timestamp.json", |index| changed(index, |index| index.files.clear())),
        ("(too_large: ", |index| changed(index, |index| index.files.iter_mut().for_each(|file| file.bytes = u64::MAX))),
        // The files themselves.
        ("(garbage: ", |_| ("metadata/timestamp.json", b"{\"signed\":{}}".to_vec())),
        ("(too_large: ", |_| ("metadata/timestamp.json", vec![b' '; 1 << 20])),
    ];
    for (says, lie) in lies {
        let said = daemon.log().len();
        let (on, payload) = lie(&honest);
        let as_it_was = thief.retained(on);
        thief.retain(on, payload);
        looking(&daemon, &format!("it is told: {says}"), || {
            let log = daemon.log();
            let told = |line: &str| line.contains("no newer metadata can be had (") && line.contains(says);
            log[said..].lines().any(told).then_some(())
        });
        eventually("it is reported", || {
            let reason = thief.reported("kitchen")["reason"].as_str()?.to_owned();
            log_line(&daemon, said).contains(&reason).then_some(())
        });
        is_unharmed(&daemon, says);
        assert!(trusted() == before, "{says}: what is trusted has changed");
        thief.retain(on, as_it_was);
        looking(&daemon, &format!("it is missed no more: {says}"), || {
            thief.reported("kitchen")["reason"].is_null().then_some(())
        });
    }
    // Names that mean nothing are passed over.
    let (_, more) = changed(&honest, |index| {
        let nonsense = (0..3000).map(|n| IndexEntry { name: format!("../../{n}\u{7}.json"), bytes: n });
        index.files.extend(nonsense);
    });
    thief.retain("index", more);
    wait_for(&daemon, one);
    // The operator goes on, and what he publishes takes the place of the lies.
    let two = operator.push(TWO, &[]);
    wait_for(&daemon, two);
    assert_eq!(status(&daemon)["limits"]["max_upload_bytes"], 8 << 20);
}

/// The last line behind the first `said` bytes that tells why no metadata can be had.
fn log_line(daemon: &Daemon, said: usize) -> String {
    let log = daemon.log();
    log[said..].lines().rfind(|line| line.contains("no newer metadata can be had (")).unwrap_or_default().to_owned()
}

/// The head of an honest reply, changed, and bytes behind it.
fn reply(honest: &[u8], change: impl FnOnce(&mut RangeHead), bytes: Option<&[u8]>) -> Vec<u8> {
    let (mut head, piece) = RangeHead::parse(honest).expect("it is honest");
    change(&mut head);
    head.with(bytes.unwrap_or(piece))
}

/// A reply of this status alone.
fn status_alone(status: RangeStatus) -> Vec<u8> {
    RangeHead { status, offset: 0, total: 0, retry_after_ms: Some(0) }.with(&[])
}

/// A broker, an operator whom a thief plays, and a device that serves its first generation.
struct Site {
    broker: Mosquitto,
    operator: Operator,
    thief: Thief,
}

impl Site {
    fn new(test: &str) -> Option<Self> {
        let broker = Mosquitto::start(test)?;
        let (operator, thief) = (Operator::new(), Thief::connect(&broker));
        operator.push(ONE, &[]);
        let site = Self { broker, operator, thief };
        site.shows();
        site.thief.is_honest(&site.operator.repository());
        Some(site)
    }

    fn shows(&self) {
        self.thief.shows(&self.operator.repository());
    }

    fn device(&self, name: &str) -> Daemon {
        let daemon = device(&self.operator, &self.broker, name);
        wait_for(&daemon, 1);
        daemon
    }
}

#[test]
fn replies_that_are_no_pieces_are_told_and_what_came_before_them_is_kept() {
    let test = "replies_that_are_no_pieces_are_told_and_what_came_before_them_is_kept";
    let Some(site) = Site::new(test) else { return };
    let daemon = site.device("kitchen");
    type Reply = fn(&[u8]) -> Vec<Vec<u8>>;
    let lies: [(&str, Reply); 12] = [
        ("the server gave 131072 from ", |honest| vec![reply(honest, |head| head.offset -= 1, None)]),
        // The first piece for ever.
        ("the server gave 131072 from 0", |honest| vec![reply(honest, |head| head.offset = 0, None)]),
        ("a reply of 131073 bytes; at most 131072 are taken", |honest| {
            vec![reply(honest, |head| head.total = u64::MAX, Some(&[0; MAX_RANGE_BYTES as usize + 1]))]
        }),
        ("ends before byte ", |honest| vec![reply(honest, |_| {}, Some(&[]))]),
        ("the reply's bytes lie outside of its file", |honest| vec![reply(honest, |head| head.total = 1, None)]),
        ("the reply's bytes lie outside of its file", |honest| {
            vec![reply(honest, |head| head.offset = u64::MAX, None)]
        }),
        ("the reply has no head", |_| vec![vec![b'x'; 1 << 20]]),
        ("the reply's head cannot be read", |_| vec![b"{\"status\":\"perhaps\"}\n".to_vec()]),
        ("the reply has no head", |_| vec![Vec::new()]),
        ("there is no such file", |_| vec![status_alone(RangeStatus::NotFound)]),
        ("the server refuses bytes from ", |_| vec![status_alone(RangeStatus::Refused)]),
        ("was busy 20 times", |_| vec![status_alone(RangeStatus::Busy)]),
    ];
    let large = STEP_BYTES * (lies.len() as u64 + 2);
    let package = site.operator.large_package("pushed", "1.0.0", large as usize);
    let file = format!("files/{}", sha256(&std::fs::read(package.join("large.bin")).expect("readable")));
    let two = site.operator.push(TWO, &[package]);
    let repository = site.operator.repository();
    // Each lie is told of whatever lies behind so many bytes of the large file; all before them are honest.
    let lies_from = |n: usize, lie: Reply| {
        let from = STEP_BYTES * (n as u64 + 1);
        site.thief.answers(
            &repository,
            move |asked: &Asked, honest| {
                if asked.piece.offset < from { vec![honest] } else { lie(&honest) }
            },
        );
    };
    lies_from(0, lies[0].1);
    site.thief.asked();
    site.shows();
    let mut told = Vec::new();
    for (n, (says, lie)) in lies.into_iter().enumerate() {
        let said = daemon.log().len();
        lies_from(n, lie);
        looking(&daemon, &format!("it is told: {says}"), || {
            let log = daemon.log();
            let is_told = |line: &str| line.contains(&format!("generation {two} is verified: ")) && line.contains(says);
            log[said..].lines().any(is_told).then_some(())
        });
        eventually("it is reported", || {
            site.thief.reported("kitchen")["reason"].as_str().is_some_and(|reason| reason.contains(says)).then_some(())
        });
        answers(&daemon);
        assert_eq!(status(&daemon)["generation"]["generation"], 1, "{says}");
        told.push(STEP_BYTES * (n as u64 + 1));
    }
    site.thief.is_honest(&repository);
    wait_for(&daemon, two);
    assert_eq!(served_version(&daemon, "pushed").as_deref(), Some("1.0.0"));
    assert_eq!(half_written(&daemon), Vec::<PathBuf>::new());
    // What has come is not asked for again: but for the places of the lies each piece was asked for once.
    let asked = site.thief.asked();
    for offset in (MAX_RANGE_BYTES..large).step_by(MAX_RANGE_BYTES as usize) {
        let is_it = |asked: &&Asked| asked.piece.path == file && asked.piece.offset == offset;
        let times = asked.iter().filter(is_it).count();
        assert!(times == 1 || (times > 1 && told.contains(&offset)), "{times} times from {offset}");
    }
}

#[test]
fn pieces_of_other_bytes_are_thrown_away_and_the_generation_is_given_up() {
    let test = "pieces_of_other_bytes_are_thrown_away_and_the_generation_is_given_up";
    let Some(site) = Site::new(test) else { return };
    let daemon = site.device("kitchen");
    let repository = site.operator.repository();

    // The document: one bit is another. It is asked for again until it is the one that was signed.
    let two = site.operator.push(TWO, &[]);
    site.thief.answers(&repository, |_, honest| {
        let mut other = honest;
        *other.last_mut().expect("bytes") ^= 1;
        vec![other]
    });
    site.shows();
    wait_for_log(&daemon, &format!("generation {two} is received: "));
    assert!(daemon.log().contains(&format!("generation {two} is not what was signed for: its SHA-256 is")));
    is_unharmed(&daemon, "another document");
    site.thief.is_honest(&repository);
    wait_for(&daemon, two);

    // A file of a package: other bytes, and those of another file.
    type Change = fn(&mut [u8]);
    for (what, change) in [
        ("one bit", (|piece: &mut [u8]| piece[7] ^= 1) as Change),
        ("another file's bytes", |piece: &mut [u8]| piece.fill(0x2a)),
    ] {
        let large = 3 * MAX_RANGE_BYTES;
        let bad = site.operator.push("", &[site.operator.large_package("pushed", "1.0.0", large as usize)]);
        site.thief.answers(&repository, move |asked, honest| {
            if asked.piece.offset != MAX_RANGE_BYTES {
                return vec![honest];
            }
            let (head, piece) = RangeHead::parse(&honest).expect("it is honest");
            let mut other = piece.to_vec();
            change(&mut other);
            vec![head.with(&other)]
        });
        site.shows();
        wait_for_log(&daemon, &format!("generation {bad} is rejected"));
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains(&format!("generation {bad} is rejected"))).expect("said");
        assert!(line.contains("no source gives the bytes that are signed"), "{what}: {line}");
        eventually("nothing of it is left", || half_written(&daemon).is_empty().then_some(()));
        answers(&daemon);
        assert_eq!(status(&daemon)["generation"]["generation"], two, "{what}");
        eventually("it is reported", || {
            let reported = site.thief.reported("kitchen");
            (reported["generation"] == bad && reported["code"] == "digest").then_some(())
        });
        // The operator asks for another attempt when the thief is gone.
        site.thief.is_honest(&repository);
    }
    let next = site.operator.push(ONE, &[site.operator.large_package("pushed", "2.0.0", 1 << 20)]);
    site.shows();
    wait_for(&daemon, next);
    assert_eq!(served_version(&daemon, "pushed").as_deref(), Some("2.0.0"));
}

#[test]
fn endless_repeats_of_replies_change_nothing() {
    let test = "endless_repeats_of_replies_change_nothing";
    let Some(site) = Site::new(test) else { return };
    let daemon = site.device("kitchen");
    let package = site.operator.large_package("pushed", "1.0.0", 1 << 20);
    let two = site.operator.push(TWO, &[package]);
    // Each reply twenty times over: those that come late are answers to nothing.
    site.thief.answers(&site.operator.repository(), |_, honest| vec![honest; 20]);
    site.thief.asked();
    site.shows();
    wait_for(&daemon, two);
    assert_eq!(served_version(&daemon, "pushed").as_deref(), Some("1.0.0"));
    let asked = site.thief.asked();
    let mut offsets: Vec<_> = asked.iter().map(|asked| (&asked.piece.path, asked.piece.offset)).collect();
    let count = offsets.len();
    offsets.sort();
    offsets.dedup();
    assert_eq!(offsets.len(), count, "each piece is asked for once");
    assert_eq!(half_written(&daemon), Vec::<PathBuf>::new());
}

#[test]
fn a_server_that_never_answers_and_one_that_drips_are_told_and_waited_for() {
    let test = "a_server_that_never_answers_and_one_that_drips_are_told_and_waited_for";
    let Some(site) = Site::new(test) else { return };
    let (silent, dripping) = (site.device("silent"), site.device("dripping"));
    let package = site.operator.large_package("pushed", "1.0.0", 1 << 20);
    let file = format!("files/{}", sha256(&std::fs::read(package.join("large.bin")).expect("readable")));
    let two = site.operator.push(TWO, &[package]);
    let repository = site.operator.repository();
    let dripped = Arc::new(AtomicU64::new(0));
    let (counted, was_silent) = (Arc::clone(&dripped), AtomicBool::new(false));
    site.thief.answers(&repository, move |asked, honest| {
        if asked.piece.path != file {
            return vec![honest];
        }
        match &asked.reply_to {
            // Once: each costs the patience of the device.
            to if to.starts_with("linnet/silent/") && asked.piece.offset >= STEP_BYTES => {
                if was_silent.swap(true, Ordering::Relaxed) { vec![honest] } else { Vec::new() }
            }
            // From the first byte: what came fast buys time for what drips.
            to if to.starts_with("linnet/dripping/") => {
                counted.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(100));
                let (head, piece) = RangeHead::parse(&honest).expect("it is honest");
                vec![head.with(&piece[..1])]
            }
            _ => vec![honest],
        }
    });
    site.shows();
    for daemon in [&silent, &dripping] {
        looking(daemon, "pieces come", || (!half_written(daemon).is_empty()).then_some(()));
    }
    for (daemon, says) in [
        (&silent, "nobody who serves the fleet's files has answered within 30s"),
        (&dripping, "at least 1024 a second are asked for"),
    ] {
        daemon.wait_for_log(says);
        answers(daemon);
    }
    assert_eq!(status(&dripping)["generation"]["generation"], 1, "what serves goes on");
    assert!(dripped.load(Ordering::Relaxed) > 10, "byte after byte was taken");
    site.thief.is_honest(&repository);
    for daemon in [&silent, &dripping] {
        wait_for(daemon, two);
        assert_eq!(served_version(daemon, "pushed").as_deref(), Some("1.0.0"));
        assert_eq!(half_written(daemon), Vec::<PathBuf>::new());
    }
}
