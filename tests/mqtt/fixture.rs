//! The transport in this process, between a scripted broker and a bench that holds its jobs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use linnet::config::transport::{IntakeSettings, MqttSettings};
use linnet::status::{BrokerLink, LinkState};
use linnet::sys::liveness::Loops;
use linnet::transport::mqtt::MqttTransport;
use linnet::transport::mqtt::notices::Notices;
use linnet_features::audio::AudioLimits;
use linnet_proto::{ErrorBody, ErrorCode, Transcript};
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::bench::Bench;
use crate::harness::eventually;

/// The link gives a sign of life so often, and stands still after so long.
const BEAT_EVERY: Duration = Duration::from_millis(20);
const STANDSTILL: Duration = Duration::from_secs(2);

/// The request topic without an id.
pub const REQUEST: &str = "linnet/k/request/transcribe";

/// A running transport. Dropping it ends it as a crash would: without a goodbye, its marks left behind.
pub struct Fixture {
    pub bench: Arc<Bench>,
    pub link: BrokerLink,
    pub loops: Loops,
    pub transport: Option<MqttTransport>,
    pub runtime: Runtime,
}

/// Settings for a broker on `port` with the state in `state`.
pub fn settings(port: u16, state: &Path) -> MqttSettings {
    MqttSettings {
        url: format!("mqtt://127.0.0.1:{port}"),
        device: "k".into(),
        client_id: "linnet-k".into(),
        username: None,
        password_file: None,
        ca_file: None,
        client_cert: None,
        alpn: Vec::new(),
        keep_alive: Duration::from_secs(60),
        session_expiry: Duration::from_secs(3600),
        max_packet_bytes: 64 * 1024,
        receive_maximum: 30,
        response_topics: vec!["site/#".into()],
        kept_answers: 16,
        kept_for: Duration::from_secs(600),
        state_dir: state.to_owned(),
        backoff: (Duration::from_millis(5), Duration::from_millis(50)),
    }
}

/// Limits of a small site.
pub fn intake() -> IntakeSettings {
    IntakeSettings {
        max_upload_bytes: 1 << 20,
        max_upload_total_bytes: 4 << 20,
        audio: AudioLimits::default(),
        default_timeout: Duration::from_secs(30),
        max_timeout: Duration::from_secs(60),
    }
}

impl Fixture {
    /// Connects to a broker on `port`; two jobs at once, more is overload.
    pub fn start(port: u16, state: &TempDir) -> Self {
        Self::with(settings(port, state.path()), 2)
    }

    /// As [`Fixture::start`], with other settings and `places` for jobs.
    pub fn with(settings: MqttSettings, places: usize) -> Self {
        Self::on(Bench::new(places), settings)
    }

    /// As [`Fixture::start`], with other settings and this bench.
    pub fn on(bench: Arc<Bench>, settings: MqttSettings) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let (loops, link) = (Loops::new(BEAT_EVERY, STANDSTILL), BrokerLink::default());
        let transport = {
            let _inside = runtime.enter();
            let (admit, status) = (Arc::clone(&bench) as _, Arc::clone(&bench) as _);
            MqttTransport::start(settings, intake(), admit, status, link.clone(), Notices::default(), &loops)
                .expect("it starts without waiting for the broker")
        };
        Self { bench, link, loops, transport: Some(transport), runtime }
    }

    /// Drains in the background; the handle gives the number of jobs left.
    pub fn drain(&mut self, grace: Duration) -> tokio::task::JoinHandle<usize> {
        let transport = self.transport.take().expect("not drained yet");
        self.runtime.spawn(async move { transport.drain(grace).await })
    }

    /// Waits for a state of the link.
    pub fn wait_for(&self, state: LinkState) {
        eventually(state.as_str(), || (self.link.get() == state).then_some(()));
    }
}

/// Properties of a request: where the answer goes, and its correlation data.
pub fn reply_to(topic: &str, correlation: &str) -> PublishProperties {
    PublishProperties {
        response_topic: Some(topic.into()),
        correlation_data: Some(Bytes::copy_from_slice(correlation.as_bytes())),
        ..PublishProperties::default()
    }
}

/// The correlation data of an answer, as text.
pub fn correlation(answer: &Publish) -> String {
    let data = answer.properties.as_ref().and_then(|p| p.correlation_data.clone()).unwrap_or_default();
    String::from_utf8(data.to_vec()).expect("the tests send text")
}

/// The topic of an answer.
pub fn topic(answer: &Publish) -> &str {
    std::str::from_utf8(&answer.topic).expect("UTF-8")
}

/// The text that an answer says was heard.
pub fn heard(answer: &Publish) -> String {
    serde_json::from_slice::<Transcript>(&answer.payload)
        .unwrap_or_else(|e| panic!("no transcript but {:?}: {e}", answer.payload))
        .text
}

/// The error that an answer is.
pub fn refusal(answer: &Publish) -> ErrorCode {
    serde_json::from_slice::<ErrorBody>(&answer.payload)
        .unwrap_or_else(|e| panic!("no error but {:?}: {e}", answer.payload))
        .error
        .code
}
