//! What each fuzz target does with its bytes. Any bytes may come in from outside; a target fails by panicking.
//!
//! The bodies are plain functions, so that `tests/fuzz_smoke.rs` runs them on the committed seeds with a stable compiler.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use linnet::config::{self, ConfigError, Place, Surroundings};
use linnet::push::{self, Outcome, Persisted};
use linnet::store::{self, generations::Pointers};
use linnet::transport::http::form;
use linnet::transport::mqtt::payload::{self, ParseLimits};
use linnet_features::audio::{AudioLimits, AudioReader, Media};
use linnet_fleet::range_server::RangeServer;
use linnet_fleet::source::{Exchange, Mqtt, Source, SourceFault, async_trait};
use linnet_proto::fleet::{Generation, Index, MAX_RANGE_BYTES, RangeHead, RangeRequest, RangeStatus, Report};
use linnet_proto::topic::{FleetName, ResponseTopics, Topic, TopicFilter};

/// A target's name and what it does with its bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 12] = [
    ("audio", audio),
    ("mqtt_payload", mqtt_payload),
    ("config", config),
    ("manifest", manifest),
    ("multipart", multipart),
    ("topic", topic),
    ("generation", generation),
    ("push_state", push_state),
    ("fleet_index", fleet_index),
    ("range_reply", range_reply),
    ("range_request", range_request),
    ("report", report),
];

/// A container: what comes out is finite, near `[-1, 1]`, and never longer than the limit; a refusal says why, and says
/// it again.
pub fn audio(data: &[u8]) {
    let limits = AudioLimits { max_secs: 10.0, ..AudioLimits::default() };
    let opened = AudioReader::open(Bytes::copy_from_slice(data), &Media::Detect, &limits);
    let mut reader = match opened {
        Ok(reader) => reader,
        Err(e) => return assert!(!e.to_string().is_empty()),
    };
    let (mut piece, mut samples) = (Vec::new(), 0);
    loop {
        piece.clear();
        match reader.read(&mut piece) {
            Ok(true) => {
                samples += piece.len();
                assert!(!piece.is_empty() && samples <= 10 * 16_000 + 1, "{samples} samples");
                assert!(piece.iter().all(|x| x.abs() < 4.0), "a sample that resampling cannot give");
            }
            Ok(false) => return assert!(samples > 0, "audio that ended without a sample is an error"),
            Err(e) => return assert_eq!(reader.read(&mut piece), Err(e)),
        }
    }
}

/// A request over MQTT: its first line is the content type (none when empty), its second a user property `name=value`
/// (none when empty), the rest the payload.
pub fn mqtt_payload(data: &[u8]) {
    let (content_type, rest) = first_line(data);
    let (property, body) = first_line(rest);
    let limits = ParseLimits { max_audio_bytes: 4_096, max_timeout: Duration::from_secs(60) };
    let property: Vec<_> = property.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect();
    let content_type = Some(&*content_type).filter(|t| !t.is_empty());
    match payload::parse(content_type, &property, Bytes::copy_from_slice(body), limits) {
        Ok(parsed) => assert!((1..=4_096).contains(&parsed.audio.len())),
        Err(e) => assert!(!e.message.is_empty()),
    }
}

/// A configuration file: what is taken is taken again, and every fault has a line of the file, or is one of a default.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let around = Surroundings {
        device: "fuzz".to_owned(),
        socket: PathBuf::from("/nonexistent/linnet.sock"),
        state: PathBuf::from("/nonexistent/state"),
        models: None,
        processors: 2,
    };
    let check = || config::check_text(text, Path::new("/nonexistent/linnet.toml"), &around);
    match check() {
        Ok(config) => assert_eq!(check(), Ok(config)),
        Err(ConfigError::Faults(faults)) => {
            let lines = text.bytes().filter(|b| *b == b'\n').count() + 1;
            assert!(!faults.is_empty());
            for fault in faults {
                match fault.place {
                    Place::File(_, line) => assert!((1..=lines).contains(&line), "line {line} of {lines}"),
                    Place::Default => {}
                    other => panic!("a fault of {other}"),
                }
            }
        }
        Err(other) => panic!("a text was read as a file: {other}"),
    }
}

/// A package's manifest: one that is taken can be written and read again.
pub fn manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = Path::new("manifest.toml");
    match store::parse_manifest(text, path) {
        Ok(manifest) => {
            let written = toml::to_string(&manifest).expect("a manifest can be written");
            let again = store::parse_manifest(&written, path).expect("what was written can be read");
            assert_eq!(again, manifest);
        }
        Err(e) => assert!(e.to_string().starts_with("manifest.toml: ")),
    }
}

/// A form: its first line is the content type, the rest the body.
pub fn multipart(data: &[u8]) {
    let (content_type, body) = first_line(data);
    match form::parse(&content_type, Bytes::copy_from_slice(body)) {
        Ok(form) => assert!(form.audio.len() <= body.len()),
        Err(e) => assert!(!e.message.is_empty()),
    }
}

/// A topic name: one that is understood is written as it was read; no response topic that is taken has a wildcard.
pub fn topic(data: &[u8]) {
    if let Ok(topic) = Topic::from_bytes(data) {
        assert_eq!(topic.to_string().as_bytes(), data);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (filter, name) = text.split_once('\n').unwrap_or((text, text));
    if let Ok(filter) = TopicFilter::new(filter) {
        let _ = filter.matches(name);
    }
    let Ok(allowed) = ResponseTopics::new::<&str>(&[]) else { panic!("the default allow-list is sound") };
    if let Ok(topic) = allowed.check(name) {
        assert_eq!(topic.as_str(), name);
        // `linnet/+/response/#` also matches the level above its `#`.
        let is_response = name.starts_with("linnet/") && name.split('/').nth(2) == Some("response");
        assert!(!name.contains(['+', '#', '\0']) && is_response, "{name:?} was taken");
    }
}

/// A generation of a fleet: one that is taken leads nowhere out of its packages, and can be written and read again.
pub fn generation(data: &[u8]) {
    let generation = match Generation::parse(data) {
        Ok(generation) => generation,
        Err(e) => return assert!(!e.to_string().is_empty()),
    };
    assert!(generation.number > 0);
    for package in &generation.packages {
        for path in package.files.iter().map(|file| Path::new(&file.path)).chain([Path::new(&package.name)]) {
            let inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
            assert!(inside && path.is_relative(), "{} was taken", path.display());
        }
    }
    let written = serde_json::to_vec(&generation).expect("a generation can be written");
    assert_eq!(Generation::parse(&written), Ok(generation));
}

/// What an update left on the disk: a state that is taken leads to an end wherever the store points to; pointers that are taken have digests.
pub fn push_state(data: &[u8]) {
    match Persisted::parse(data) {
        Ok(update) => {
            assert_eq!(Persisted::parse(&update.to_bytes()), Ok(update.clone()));
            let generation = update.generation;
            for (live, good) in [(0, 0), (generation, 0), (generation, generation), (u64::MAX, generation)] {
                let plan = push::machine::start(Some(&update), live, good, 1);
                let mut next = plan.update.expect("an update is never forgotten");
                for in_state_secs in 0..5 {
                    let now = push::machine::Now { since_epoch_secs: u64::MAX, in_state_secs };
                    next = next.on(&Outcome::Done, now);
                }
                assert!(next.state.is_end(), "{:?} does not lead to an end", update.state);
            }
        }
        Err(e) => assert!(!e.is_empty()),
    }
    if let Ok(pointers) = Pointers::parse(data) {
        for pointer in [pointers.live, pointers.good] {
            assert_eq!(pointer.sha256.len(), if pointer.generation == 0 { 0 } else { 64 });
        }
    }
}

/// A broker that says the same on every topic, whoever asks.
struct Broker {
    /// Retained on the index.
    index: Bytes,
    /// Retained on every other topic.
    file: Bytes,
    /// What a request for a piece is answered.
    reply: Bytes,
}

#[async_trait]
impl Exchange for Broker {
    async fn retained(&self, topic: &str, _: u64) -> Result<Option<Bytes>, SourceFault> {
        Ok(Some(if topic.ends_with("/index") { self.index.clone() } else { self.file.clone() }))
    }

    async fn ask(&self, _: &str, _: &str, _: Bytes) -> Result<Bytes, SourceFault> {
        Ok(self.reply.clone())
    }
}

/// A fleet's repository behind that broker, and what waits for its answers.
fn source(broker: Broker) -> (Mqtt, tokio::runtime::Runtime) {
    let fleet = FleetName::new("fuzz").expect("a name");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    (Mqtt::new(Arc::new(broker), fleet), runtime)
}

/// The index of a fleet's metadata on a broker: one that is taken can be written and read again; a file comes only where it is named, and
/// never above the bound.
pub fn fleet_index(data: &[u8]) {
    const CAP: u64 = 8;
    let parsed = Index::parse(data);
    if let Ok(index) = &parsed {
        let written = serde_json::to_vec(index).expect("an index can be written");
        // Written without its spaces and unknown fields it can only be shorter, unless numbers and escapes grow.
        assert!(written.len() > Index::MAX_BYTES || Index::parse(&written).as_ref() == Ok(index));
    }
    for length in [CAP, CAP + 1] {
        let file = Bytes::from(vec![b'x'; length as usize]);
        let (source, runtime) = source(Broker { index: Bytes::copy_from_slice(data), file, reply: Bytes::new() });
        for name in ["timestamp.json", "2.root.json"] {
            match runtime.block_on(source.metadata(name, CAP)) {
                Ok(content) => {
                    assert!(content.len() as u64 <= CAP);
                    let index = parsed.as_ref().expect("a file came of an index that was taken");
                    assert!(index.files.iter().any(|file| file.name == name && file.bytes <= CAP));
                }
                Err(SourceFault::NotThere) => assert!(parsed.as_ref().is_ok_and(|index| !index.has(name))),
                Err(e) => assert!(!e.to_string().is_empty()),
            }
        }
    }
}

/// The reply to a request for a piece: what a device takes of it lies where it asked, and within what it asked for.
pub fn range_reply(data: &[u8]) {
    const ASKED: (u64, u64) = (4, 16);
    let (head, bytes) = match RangeHead::parse(data) {
        Ok(parsed) => parsed,
        Err(e) => return assert!(!e.is_empty()),
    };
    assert!(bytes.len() as u64 <= MAX_RANGE_BYTES && data.ends_with(bytes));
    let end = head.offset.checked_add(bytes.len() as u64);
    assert!(end.is_some_and(|end| end <= head.total), "bytes outside of the file were taken");
    assert_eq!(RangeHead::parse(&head.with(bytes)), Ok((head.clone(), bytes)));
    // A busy server is waited for, which takes time and shows nothing.
    if head.status == RangeStatus::Busy {
        return;
    }
    let reply = Bytes::copy_from_slice(data);
    let (source, runtime) = source(Broker { index: Bytes::new(), file: Bytes::new(), reply });
    if let Ok(piece) = runtime.block_on(source.piece("files/a", ASKED.0, ASKED.1)) {
        assert!(head.status == RangeStatus::Ok && head.offset == ASKED.0);
        assert!(piece == bytes && (1..=ASKED.1).contains(&(piece.len() as u64)));
    }
}

/// The one file that [`range_request`]'s server has; whatever else lies there is a secret.
static SERVED: LazyLock<(tempfile::TempDir, RangeServer)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    let repository = dir.path().join("repository");
    let write = |path: PathBuf, content: &[u8]| {
        std::fs::create_dir_all(path.parent().expect("it has a parent")).expect("a directory");
        std::fs::write(path, content).expect("a file");
    };
    write(repository.join("files").join("ab".repeat(32)), &CONTENT);
    for path in ["secret", "repository/fleet.json", "repository/files/secret", "repository/targets/generations/secret"]
    {
        write(dir.path().join(path), b"secret");
    }
    let server = RangeServer::new(&repository);
    (dir, server)
});

/// What is in it.
const CONTENT: [u8; 64] = [b'c'; 64];

/// A device's request for a piece: every reply can be read, and nothing is given but what it asked for of a file that is to be served.
pub fn range_request(data: &[u8]) {
    let reply = SERVED.1.answer(data);
    let (head, bytes) = RangeHead::parse(&reply).expect("the server's own reply can be read");
    if head.status != RangeStatus::Ok {
        return assert!(bytes.is_empty());
    }
    let request: RangeRequest = serde_json::from_slice(data).expect("only a request is answered");
    assert_eq!(request.path, format!("files/{}", "ab".repeat(32)));
    assert!(head.offset == request.offset && head.total == CONTENT.len() as u64);
    assert!(bytes.len() as u64 <= request.bytes && bytes.iter().all(|byte| *byte == b'c'));
}

/// A device's report: one that is taken can be written and read again.
pub fn report(data: &[u8]) {
    match Report::parse(data) {
        Ok(report) => {
            let written = serde_json::to_vec(&report).expect("a report can be written");
            assert!(written.len() > Report::MAX_BYTES || Report::parse(&written) == Ok(report));
        }
        Err(e) => assert!(!e.is_empty()),
    }
}

/// The first line as text, and what follows it.
fn first_line(data: &[u8]) -> (String, &[u8]) {
    let end = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
    (String::from_utf8_lossy(&data[..end]).into_owned(), data.get(end + 1..).unwrap_or_default())
}
