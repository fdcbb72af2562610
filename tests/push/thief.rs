//! A client of the broker that plays the operator: it retains what it likes on the fleet's topics, and answers requests for pieces as it likes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use linnet_fleet::range_server::RangeServer;
use linnet_fleet::repository::{Repository, index};
use linnet_proto::fleet::{FleetTopic, RangeRequest};
use linnet_proto::topic::FleetName;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::v5::{Client, Event, MqttOptions};
use serde_json::Value;

use crate::harness::{Mosquitto, eventually};
use crate::operator::FLEET;

/// A request for a piece, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What was asked for.
    pub piece: RangeRequest,
    /// Where the reply goes to.
    pub reply_to: String,
}

/// Gives what goes back, message by message; it is given the honest reply.
type Answer = dyn Fn(&Asked, Vec<u8>) -> Vec<Vec<u8>> + Send + Sync;

/// The client; its thread ends when it is dropped.
pub struct Thief {
    client: Client,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// What was published last on each topic.
    heard: Mutex<BTreeMap<String, Bytes>>,
    asked: Mutex<Vec<Asked>>,
    /// None leaves requests to somebody else.
    answer: Mutex<Option<Arc<Answer>>>,
    is_there: AtomicBool,
    ended: AtomicBool,
}

/// A topic of the fleet.
fn topic(rest: &str) -> String {
    format!("linnet/fleet/{FLEET}/{rest}")
}

impl Thief {
    /// Connects, and hears everything of the fleet.
    pub fn connect(broker: &Mosquitto) -> Self {
        let mut options = MqttOptions::new("thief", "127.0.0.1", broker.port());
        options.set_max_packet_size(Some(64 << 20));
        // What is published waits here while the connection's own thread answers.
        let (client, mut connection) = Client::new(options, 1 << 12);
        let shared = Arc::<Shared>::default();
        let (of_thread, answering) = (Arc::clone(&shared), client.clone());
        std::thread::spawn(move || {
            for event in connection.iter() {
                if of_thread.ended.load(Ordering::Relaxed) {
                    return;
                }
                match event {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        for filter in [topic("#"), "linnet/+/config/reported".to_owned()] {
                            answering.try_subscribe(filter, QoS::AtLeastOnce).expect("there is room");
                        }
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => of_thread.is_there.store(true, Ordering::Relaxed),
                    Ok(Event::Incoming(Packet::Publish(publish))) => of_thread.take(publish, &answering),
                    Ok(_) => {}
                    Err(_) => std::thread::sleep(Duration::from_millis(50)),
                }
            }
        });
        let thief = Self { client, shared };
        eventually("the thief listens", || thief.shared.is_there.load(Ordering::Relaxed).then_some(()));
        thief
    }

    /// Retains `payload` on a topic of the fleet, and waits until the broker has it.
    pub fn retain(&self, rest: &str, payload: impl Into<Bytes>) {
        let (topic, payload) = (topic(rest), payload.into());
        self.client.publish(topic.as_str(), QoS::AtLeastOnce, true, payload.clone()).expect("its thread lives");
        eventually("the broker has it", || (lock(&self.shared.heard).get(&topic) == Some(&payload)).then_some(()));
    }

    /// What is on a topic of the fleet.
    pub fn retained(&self, rest: &str) -> Bytes {
        eventually("somebody publishes it", || lock(&self.shared.heard).get(&topic(rest)).cloned())
    }

    /// Retains a repository's metadata as an honest operator does.
    pub fn shows(&self, repository: &Path) {
        let fleet = FleetName::new(FLEET).expect("a name");
        let files = Repository::load(repository).expect("readable").metadata_files().expect("readable");
        for (name, bytes) in &files {
            let of_file = FleetTopic::of_file(&fleet, name).to_string();
            self.retain(of_file.strip_prefix(&topic("")).expect("of the fleet"), bytes.clone());
        }
        self.retain("index", serde_json::to_vec(&index(&files)).expect("JSON"));
    }

    /// Answers requests for pieces out of `repository` so from now on.
    pub fn answers(&self, repository: &Path, answer: impl Fn(&Asked, Vec<u8>) -> Vec<Vec<u8>> + Send + Sync + 'static) {
        let server = RangeServer::new(repository);
        let answer = move |asked: &Asked, request: Vec<u8>| answer(asked, server.answer(&request));
        *lock(&self.shared.answer) = Some(Arc::new(answer));
    }

    /// Answers them as an honest operator does.
    pub fn is_honest(&self, repository: &Path) {
        self.answers(repository, |_, honest| vec![honest]);
    }

    /// What was asked for so far; it is forgotten.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *lock(&self.shared.asked))
    }

    /// What a device has reported last.
    pub fn reported(&self, device: &str) -> Value {
        let heard = lock(&self.shared.heard);
        let report = heard.get(&format!("linnet/{device}/config/reported"));
        report.and_then(|report| serde_json::from_slice(report).ok()).unwrap_or_default()
    }
}

impl Shared {
    fn take(&self, publish: Publish, client: &Client) {
        let name = String::from_utf8_lossy(&publish.topic).into_owned();
        if name != topic("fetch") {
            lock(&self.heard).insert(name, publish.payload);
            return;
        }
        let Some(answer) = lock(&self.answer).clone() else { return };
        let properties = publish.properties.expect("a request says where its reply goes");
        let reply_to = properties.response_topic.expect("a request says where its reply goes");
        let piece = serde_json::from_slice(&publish.payload).expect("a request");
        let asked = Asked { piece, reply_to };
        lock(&self.asked).push(asked.clone());
        for reply in answer(&asked, publish.payload.to_vec()) {
            let correlation_data = properties.correlation_data.clone();
            let properties = PublishProperties { correlation_data, ..PublishProperties::default() };
            let to = asked.reply_to.as_str();
            client.try_publish_with_properties(to, QoS::AtLeastOnce, false, reply, properties).expect("there is room");
        }
    }
}

impl Drop for Thief {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Its thread may have ended already.
        let _ = self.client.disconnect();
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
