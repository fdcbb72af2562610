//! When `linnet fleet serve` gives names: a broker that does what the test says, and devices that only ask and report.

use std::time::{Duration, Instant};

use linnet_fleet::claims::ClaimFile;
use linnet_fleet::claims::proof::{fingerprint, public, sign_request};
use linnet_fleet::keys::{FileKey, generate};
use linnet_proto::fleet::{ClaimOutcome, ClaimRequest, FleetTopic, SignedAnswer};
use linnet_proto::topic::FleetName;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};

use crate::harness::{PATIENCE, eventually};
use crate::operator::{FLEET, Operator};
use crate::provisioning::claim;
use crate::reports::shipped;
use crate::scripted_broker::{Peer, ScriptedBroker, Seen};
use crate::serving::Serving;

/// What `serve` subscribes to: reports, the index, requests for pieces, requests for names.
const SUBSCRIPTIONS: usize = 4;
/// Between two reports of a stream.
const STEP: Duration = Duration::from_millis(100);
/// A stream is longer than anybody would wait who does not listen to its end.
const STREAM: u32 = 60;
/// A machine that stands still for so long between two of them has ended the stream by itself.
const STALL: Duration = Duration::from_millis(1_200);

/// A broker, and an operator who serves his fleet over it.
struct Site {
    broker: ScriptedBroker,
    operator: Operator,
    claim: ClaimFile,
    serving: Serving,
}

/// A device that asks.
struct Asking {
    request: Vec<u8>,
    to: String,
    answers: String,
}

impl Site {
    fn new() -> Self {
        Self::with_claim("9")
    }

    /// With a claim for so many devices.
    fn with_claim(uses: &str) -> Self {
        let (broker, operator) = (ScriptedBroker::start(), Operator::new());
        let url = format!("mqtt://127.0.0.1:{}", broker.port());
        let file = operator.path("claim.toml");
        let path = file.display().to_string();
        claim(&operator, &["create", "-o", &path, "--mqtt", &url, "--uses", uses, "--pattern", "speaker-{n}"]);
        let claim = ClaimFile::read(&file).expect("a claim");
        let serving = Serving::launch(&operator, &url, &[]);
        Self { broker, operator, claim, serving }
    }

    /// The operator's next connection, subscribed.
    fn connected(&self) -> Peer {
        let mut peer = self.broker.accept();
        peer.connect(false);
        (0..SUBSCRIPTIONS).for_each(|_| drop(peer.subscribe()));
        peer
    }

    fn device(&self, name: &str) -> Asking {
        let path = self.operator.path(name);
        generate(&path, None).expect("a key");
        let key = FileKey::open(&path, &|_| unreachable!()).expect("a key");
        let key_bytes = public(key.pair());
        let request = ClaimRequest {
            wire: 1,
            fleet: FLEET.into(),
            claim: self.claim.claim.clone(),
            key: hex::encode(key_bytes),
            nonce: "n".into(),
            wanted: None,
            machine: None,
            linnetd: "0.1.0".into(),
        };
        let signed = sign_request(&request, &self.claim.key().expect("a key"), key.pair());
        let (fleet, key) = (FleetName::new(FLEET).expect("a name"), fingerprint(&key_bytes));
        let answers = FleetTopic::ClaimAnswer { fleet: fleet.clone(), key: key.clone() }.to_string();
        let to = FleetTopic::ClaimRequest { fleet, key }.to_string();
        Asking { request: serde_json::to_vec(&signed).expect("JSON"), to, answers }
    }
}

/// Sends a message to the operator; `retain` says whether the broker had it before.
fn send(peer: &mut Peer, id: u16, retain: bool, topic: &str, payload: &[u8]) {
    let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload.to_vec(), None);
    (publish.pkid, publish.retain) = (id, retain);
    peer.send(&Packet::Publish(publish));
}

/// A report of a device that bears `name` without a claim.
fn report(peer: &mut Peer, id: u16, retain: bool, name: &str) {
    send(peer, id, retain, &format!("linnet/{name}/config/reported"), shipped(name).as_bytes());
}

impl Asking {
    fn ask(&self, peer: &mut Peer, id: u16) {
        send(peer, id, false, &self.to, &self.request);
    }

    /// What it is answered within `patience`. What the operator publishes besides is taken.
    fn answered_within(&self, peer: &mut Peer, patience: Duration) -> Option<ClaimOutcome> {
        let until = Instant::now() + patience;
        loop {
            match peer.next_within(until.checked_duration_since(Instant::now())?)? {
                Seen::Answer(publish) => {
                    peer.acknowledge(publish.pkid);
                    if publish.topic != self.answers.as_bytes() {
                        continue;
                    }
                    let answer = SignedAnswer::parse(&publish.payload).and_then(|signed| signed.answer());
                    return Some(answer.expect("an answer").outcome);
                }
                Seen::Ack(_) | Seen::Status(_) => {}
                gone => panic!("the operator is gone: {gone:?}"),
            }
        }
    }

    /// The name that it is given within `patience`.
    fn named_within(&self, peer: &mut Peer, patience: Duration) -> Option<String> {
        self.answered_within(peer, patience).map(|outcome| match outcome {
            ClaimOutcome::Granted(grant) => grant.device,
            refused => panic!("{refused:?}"),
        })
    }

    fn named(&self, peer: &mut Peer) -> String {
        self.named_within(peer, PATIENCE).expect("a name")
    }
}

/// Sends reports one after the other while a device waits, which must be given no name meanwhile. The last one is `last`'s. False where
/// this machine has stood still, which ends a stream, too.
fn streams(peer: &mut Peer, retain: bool, last: &str, device: &Asking) -> bool {
    let mut before = Instant::now();
    for n in 1..=STREAM {
        let name = if n == STREAM { last.to_owned() } else { format!("other-{n}") };
        report(peer, 100 + n as u16, retain, &name);
        let gap = std::mem::replace(&mut before, Instant::now()).elapsed();
        let named = device.named_within(peer, STEP);
        if gap + before.elapsed() > STALL {
            return false;
        }
        assert_eq!(named, None, "after {n} of {STREAM} reports");
    }
    true
}

#[test]
fn no_name_is_given_before_the_reports_that_the_broker_retains_have_all_come_over_each_connection_anew() {
    // A machine that stands still proves nothing; twice in a row it does not.
    for _ in 0..3 {
        let site = Site::new();
        let (first, second) = (site.device("first"), site.device("second"));
        let mut peer = site.connected();
        first.ask(&mut peer, 1);
        if !streams(&mut peer, true, "speaker-1", &first) {
            continue;
        }
        assert_eq!(first.named(&mut peer), "speaker-2", "the last one that was heard bears the first name");
        let said = format!("the reports of {STREAM} devices were heard");
        eventually("it is told", || site.serving.log().contains(&said).then_some(()));

        // A report may have come to the broker while the operator was away from it.
        drop(peer);
        let mut peer = site.connected();
        second.ask(&mut peer, 1);
        if !streams(&mut peer, true, "speaker-3", &second) {
            continue;
        }
        assert_eq!(second.named(&mut peer), "speaker-4");
        return;
    }
    panic!("this machine stood still three times");
}

#[test]
fn where_nothing_is_retained_names_are_given_although_devices_never_cease_to_report() {
    let site = Site::new();
    let device = site.device("first");
    let mut peer = site.connected();
    device.ask(&mut peer, 1);
    let given = (1..3_000).find_map(|n| {
        report(&mut peer, n + 1, false, &format!("other-{n}"));
        device.named_within(&mut peer, STEP)
    });
    assert_eq!(given.as_deref(), Some("speaker-1"));
    eventually("it is told", || site.serving.log().contains(" were heard, in 0.0 s").then_some(()));
}

#[test]
fn a_device_that_is_refused_again_and_again_is_told_to_the_operator_once() {
    let site = Site::with_claim("1");
    let [first, second, third] = ["first", "second", "third"].map(|name| site.device(name));
    let mut peer = site.connected();
    first.ask(&mut peer, 1);
    assert_eq!(first.named(&mut peer), "speaker-1");
    for (id, device) in [&second, &third, &second, &third, &second].into_iter().enumerate() {
        device.ask(&mut peer, id as u16 + 2);
        let refused = device.answered_within(&mut peer, PATIENCE).expect("an answer to each");
        assert!(matches!(&refused, ClaimOutcome::Refused { reason, .. } if reason.contains("used up")), "{refused:?}");
    }
    // What comes last has been told after all that was to be told before.
    let stranger = site.device("stranger");
    send(&mut peer, 99, false, &stranger.to, b"{}");
    eventually("the last one is told", || site.serving.log().contains("cannot be read").then_some(()));
    let log = site.serving.log();
    assert_eq!(log.lines().filter(|line| line.contains("used up")).count(), 2, "one line for each device: {log}");
}
