//! The settings of the clients, as a device's configuration would give them.

use std::path::Path;
use std::time::Duration;

use linnet_features::audio::AudioLimits;

use crate::config::transport::{IntakeSettings, MqttSettings};
use crate::push::simulate::arguments::Broker;

/// Largest packet that a device's link takes, bytes: it carries hints and reports.
const LINK_PACKET_BYTES: u32 = 64 << 10;

/// Settings of the client that is called `device`; its link keeps its state in `state_dir`.
pub(super) fn mqtt(broker: &Broker, device: &str, state_dir: &Path) -> MqttSettings {
    MqttSettings {
        url: broker.url.clone(),
        device: device.to_owned(),
        client_id: format!("linnet-{device}"),
        username: broker.user.clone(),
        password_file: broker.password_file.clone(),
        ca_file: broker.ca_file.clone(),
        client_cert: None,
        alpn: Vec::new(),
        keep_alive: Duration::from_secs(30),
        // Nothing of it stays at the broker.
        session_expiry: Duration::ZERO,
        max_packet_bytes: LINK_PACKET_BYTES,
        receive_maximum: 16,
        response_topics: Vec::new(),
        kept_answers: 1,
        kept_for: Duration::from_secs(1),
        state_dir: state_dir.to_owned(),
        backoff: (Duration::from_millis(200), Duration::from_secs(2)),
    }
}

/// Settings of requests, of which none are answered.
pub(super) fn intake() -> IntakeSettings {
    IntakeSettings {
        max_upload_bytes: u64::from(LINK_PACKET_BYTES),
        max_upload_total_bytes: u64::from(LINK_PACKET_BYTES),
        audio: AudioLimits::default(),
        default_timeout: Duration::from_secs(1),
        max_timeout: Duration::from_secs(1),
    }
}
