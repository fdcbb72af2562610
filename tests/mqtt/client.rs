//! A client of the daemon as a site has them: MQTT 5, a session that outlives the connection, all that it hears counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, Publish, PublishProperties};
use rumqttc::v5::{Client, Event, MqttOptions};

use crate::harness::PATIENCE;

/// A connected client. Its thread ends with it.
pub struct MqttClient {
    client: Client,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard {
    inside: Mutex<Inside>,
    changed: Condvar,
}

#[derive(Default)]
struct Inside {
    subscribed: usize,
    published: usize,
    refused: usize,
    messages: Vec<Publish>,
    ended: bool,
}

impl MqttClient {
    /// Connects with a session that the broker keeps, and subscribes to `filter`.
    pub fn connect(port: u16, id: &str, filter: &str) -> Self {
        Self::connect_as(port, id, None, filter)
    }

    /// As [`MqttClient::connect`], as a user with a password.
    pub fn connect_as(port: u16, id: &str, login: Option<(&str, &str)>, filter: &str) -> Self {
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_clean_start(false);
        options.set_session_expiry_interval(Some(3600));
        options.set_max_packet_size(Some(64 << 20));
        if let Some((user, password)) = login {
            options.set_credentials(user, password);
        }
        let (client, mut connection) = Client::new(options, 256);
        client.subscribe(filter, QoS::AtLeastOnce).expect("a filter");
        let heard = Arc::new(Heard::default());
        let hearing = Arc::clone(&heard);
        std::thread::spawn(move || {
            for event in connection.iter() {
                let mut inside = hearing.inside.lock().expect("no panic");
                if inside.ended {
                    return;
                }
                match event {
                    Ok(Event::Incoming(Packet::SubAck(_))) => inside.subscribed += 1,
                    Ok(Event::Incoming(Packet::PubAck(ack))) => {
                        inside.published += 1;
                        let taken = matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
                        inside.refused += usize::from(!taken);
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => inside.messages.push(publish),
                    Ok(_) => {}
                    // The broker is away; rumqttc connects again at the next turn.
                    Err(_) => {
                        drop(inside);
                        std::thread::sleep(Duration::from_millis(50));
                    }
                }
                hearing.changed.notify_all();
            }
        });
        let this = Self { client, heard };
        this.wait("the subscription", |inside| (inside.subscribed > 0).then_some(()));
        this
    }

    /// Publishes with QoS 1.
    pub fn publish(&self, topic: &str, payload: impl Into<Bytes>, properties: PublishProperties) {
        self.client
            .publish_with_properties(topic, QoS::AtLeastOnce, false, payload, properties)
            .expect("the client's thread lives");
    }

    /// Publishes with QoS 1 and the retain flag.
    pub fn publish_retained(&self, topic: &str, payload: impl Into<Bytes>, properties: PublishProperties) {
        self.client
            .publish_with_properties(topic, QoS::AtLeastOnce, true, payload, properties)
            .expect("the client's thread lives");
    }

    /// Waits until the broker has acknowledged `count` publishes.
    pub fn wait_published(&self, count: usize) {
        self.wait("acknowledgements", |inside| (inside.published >= count).then_some(()));
    }

    /// Publishes that the broker refused.
    pub fn refused(&self) -> usize {
        self.heard.inside.lock().expect("no panic").refused
    }

    /// Waits for a message that `wanted` picks.
    pub fn message<T>(&self, what: &str, mut wanted: impl FnMut(&Publish) -> Option<T>) -> T {
        self.wait(what, |inside| inside.messages.iter().find_map(&mut wanted))
    }

    /// Messages by their correlation data.
    pub fn answers(&self) -> BTreeMap<String, Vec<Publish>> {
        let mut answers = BTreeMap::<String, Vec<Publish>>::new();
        for message in &self.heard.inside.lock().expect("no panic").messages {
            answers.entry(crate::fixture::correlation(message)).or_default().push(message.clone());
        }
        answers
    }

    /// Waits for answers to all of `wanted`, by correlation data.
    pub fn wait_for_answers(&self, wanted: &[String]) {
        let until = Instant::now() + PATIENCE * 2;
        loop {
            let answers = self.answers();
            let missing: Vec<_> = wanted.iter().filter(|w| !answers.contains_key(*w)).collect();
            if missing.is_empty() {
                return;
            }
            assert!(
                Instant::now() < until,
                "{} of {} requests got no answer: {missing:?}",
                missing.len(),
                wanted.len()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait<T>(&self, what: &str, mut ready: impl FnMut(&Inside) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        let mut inside = self.heard.inside.lock().expect("no panic");
        loop {
            if let Some(value) = ready(&inside) {
                return value;
            }
            let left = until.checked_duration_since(Instant::now());
            let left = left.unwrap_or_else(|| panic!("waited in vain for {what}"));
            inside = self.heard.changed.wait_timeout(inside, left).expect("no panic").0;
        }
    }
}

impl Drop for MqttClient {
    fn drop(&mut self) {
        self.heard.inside.lock().expect("no panic").ended = true;
        // The thread may have ended already.
        let _ = self.client.disconnect();
    }
}
