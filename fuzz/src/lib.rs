//! What each fuzz target does with its bytes. Any bytes may come in from outside; a target fails by panicking.
//!
//! The bodies are plain functions, so that `tests/fuzz_smoke.rs` runs them on the committed seeds with a stable compiler.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use linnet::config::{self, ConfigError, Place, Surroundings};
use linnet::provision;
use linnet::push::{self, Outcome, Persisted};
use linnet::store::{self, generations::Pointers};
use linnet::transport::http::form;
use linnet::transport::mqtt::payload::{self, ParseLimits};
use linnet_features::audio::{AudioLimits, AudioReader, Media};
use linnet_fleet::claims::{Claim, ClaimFile, Ledger, Names, Registrar, proof};
use linnet_fleet::keys::FileKey;
use linnet_fleet::range_server::RangeServer;
use linnet_fleet::source::{Exchange, Mqtt, Source, SourceFault, async_trait};
use linnet_proto::fleet::{
    ClaimOutcome, Fingerprint, Generation, Index, MAX_RANGE_BYTES, RangeHead, RangeRequest, RangeStatus, Report,
    SignedAnswer, SignedRequest,
};
use linnet_proto::topic::{DeviceName, FleetName, ResponseTopics, Topic, TopicFilter};

/// A target's name and what it does with its bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 15] = [
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
    ("claim_request", claim_request),
    ("claim_answer", claim_answer),
    ("claim_file", claim_file),
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

/// The operator's key of answers, whose only use is this.
const OPERATOR_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJ
-----END PRIVATE KEY-----
";

/// The claim of the seeds; its secret is 32 times 7.
const CLAIM: &str = include_str!("../seeds/claim_file/whole.toml");

/// An operator's side that has that claim, and what its requests and answers are signed with.
struct Claims {
    _keys: tempfile::TempDir,
    registrar: Mutex<Registrar>,
    claim: ClaimFile,
    by_claim: [u8; proof::KEY_BYTES],
    by_operator: [u8; proof::KEY_BYTES],
}

static CLAIMS: LazyLock<Claims> = LazyLock::new(|| {
    let keys = tempfile::tempdir().expect("a directory");
    let path = keys.path().join(linnet_fleet::claims::ledger::ANSWER_KEY_FILE);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).expect("a file");
    std::io::Write::write_all(&mut file, OPERATOR_KEY.as_bytes()).expect("written");
    let operator = FileKey::open(&path, &|_| unreachable!("it has no passphrase")).expect("a key");
    let claim = ClaimFile::parse(CLAIM).expect("a claim");
    let by_claim = proof::public(&claim.key().expect("a key"));
    let mut ledger = Ledger::open_or_make(keys.path(), &claim.fleet).expect("a ledger");
    let names = Names::Pattern("speaker-{n:04}".into());
    let (groups, labels) = (["beta".to_owned()].into(), Default::default());
    let (id, key) = (claim.claim.clone(), hex_of(&by_claim));
    ledger.add(Claim { id, key, uses: 4, expires_secs: 2_000_000_000, names, groups, labels }).expect("a claim");
    let registrar = Mutex::new(Registrar::new(keys.path(), &claim.fleet, None));
    Claims { _keys: keys, registrar, claim, by_claim, by_operator: proof::public(operator.pair()) }
});

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A device's request for a name, on the operator's side: it is answered to who asks and to what he asked, signed by the operator; a name is given for
/// both signatures alone.
pub fn claim_request(data: &[u8]) {
    let signed = SignedRequest::parse(data);
    let request = signed.as_ref().map_err(Clone::clone).and_then(SignedRequest::request);
    if let Ok(signed) = &signed {
        let written = serde_json::to_vec(signed).expect("a request can be written");
        // Escapes may grow beyond what is read.
        assert!(written.len() > data.len() || SignedRequest::parse(&written).as_ref() == Ok(signed));
    }
    let key = request.as_ref().ok().and_then(|request| proof::key_of_hex(&request.key));
    let from =
        key.map_or_else(|| Fingerprint::new("0".repeat(32)).expect("a fingerprint"), |key| proof::fingerprint(&key));
    let mut registrar = CLAIMS.registrar.lock().expect("no panic");
    let answered = match registrar.answer(&from, data, 1_800_000_000, &|_| false) {
        Ok(answered) => answered,
        Err(why) => return assert!(!why.is_empty()),
    };
    assert!(!answered.said.contains(char::is_control), "{:?} would reach the operator's terminal", answered.said);
    let (signed, request) = (signed.expect("only a request is answered"), request.expect("only a request is answered"));
    let answer = SignedAnswer::parse(&answered.payload).expect("the operator's own answer can be read");
    assert_eq!(proof::verify_answer(&answer, &CLAIMS.by_operator), Ok(()));
    let answer = answer.answer().expect("the operator's own answer can be read");
    assert!(answer.to == from && answer.nonce == request.nonce && answer.fleet == CLAIMS.claim.fleet);
    match answer.outcome {
        ClaimOutcome::Refused { reason, .. } => assert!(!reason.is_empty()),
        ClaimOutcome::Granted(grant) => {
            let key = key.expect("who is given a name has a key");
            assert_eq!(proof::verify_request(&signed, &key, &CLAIMS.by_claim), Ok(()));
            assert!(request.claim == CLAIMS.claim.claim && request.fleet == CLAIMS.claim.fleet);
            assert!(DeviceName::new(grant.device).is_ok());
        }
    }
}

/// The answer to such a request, on the device: whatever is granted, what is written of it gives that name and nothing but what a grant gives.
pub fn claim_answer(data: &[u8]) {
    let signed = match SignedAnswer::parse(data) {
        Ok(signed) => signed,
        Err(e) => return assert!(!e.is_empty()),
    };
    let _ = proof::verify_answer(&signed, &CLAIMS.by_operator);
    let answer = match signed.answer() {
        Ok(answer) => answer,
        Err(e) => return assert!(!e.is_empty()),
    };
    let body = serde_json::to_string(&answer).expect("an answer can be written");
    let again = SignedAnswer { body, by_operator: String::new() };
    assert!(again.body.len() > signed.body.len() || again.answer().as_ref() == Ok(&answer));
    let ClaimOutcome::Granted(grant) = &answer.outcome else { return };
    match provision::layer(&CLAIMS.claim, grant, Path::new("/nonexistent/identity")) {
        Ok(text) => {
            let table: toml::Table = text.parse().expect("it is read as it was written");
            assert_eq!(table["device"].as_str(), Some(grant.device.as_str()));
            let has_only = |table: &toml::Table, keys: &[&str]| table.keys().all(|key| keys.contains(&key.as_str()));
            let (mqtt, fleet) = (table["mqtt"].as_table().expect("one"), table["fleet"].as_table().expect("one"));
            assert!(
                has_only(&table, &["device", "mqtt", "fleet"])
                    && has_only(fleet, &["name", "root", "groups", "labels"])
            );
            assert!(
                has_only(mqtt, &["url", "ca_file", "username", "password_file", "client_cert", "client_key"]),
                "{text}"
            );
            assert_eq!(mqtt["url"].as_str(), Some(CLAIMS.claim.url.as_str()));
        }
        Err(e) => assert!(!e.is_empty()),
    }
}

/// A claim on a device's disk: one that is taken can be written and read again and has keys; a refusal never shows the secret.
pub fn claim_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match ClaimFile::parse(text) {
        Ok(claim) => {
            assert!(claim.key().is_ok() && claim.operator_key().is_ok());
            assert_eq!(ClaimFile::parse(&claim.to_text()).as_ref(), Ok(&claim));
            assert!(!format!("{claim:?}").contains(&claim.token));
        }
        Err(e) => assert!(!e.is_empty() && !e.contains("0707070707070707"), "{e}"),
    }
}

/// The first line as text, and what follows it.
fn first_line(data: &[u8]) -> (String, &[u8]) {
    let end = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
    (String::from_utf8_lossy(&data[..end]).into_owned(), data.get(end + 1..).unwrap_or_default())
}
