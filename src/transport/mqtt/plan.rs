//! Settings made into what a connection needs. Everything that can be wrong is found here, before anything changes.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use linnet_proto::topic::{DeviceName, ResponseTopics, Topic};
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::LastWill;
use rumqttc::{NetworkOptions, TlsConfiguration, Transport};
use rustls::ClientConfig;
use sha2::{Digest, Sha256};

use super::MqttStartError;
use super::address::Address;
use super::bounds::{
    CONNECT_TIMEOUT_SECS, EXCHANGE_PACKET_BYTES, MAX_IN_FLIGHT, MAX_PASSWORD_BYTES, MAX_PROTOCOL_PACKET_BYTES,
    MAX_WEBSOCKET_PACKET_BYTES, MIN_PACKET_BYTES, PACKET_HEADROOM,
};
use super::payload::ParseLimits;
use super::tls;
use crate::config::transport::{IntakeSettings, MqttSettings};

/// What `status` says while the daemon is there.
pub(super) const ONLINE: &str = "online";
/// What `status` says otherwise; the last will.
pub(super) const OFFLINE: &str = "offline";

/// Checked settings and the files they name, read.
pub(super) struct Plan {
    pub(super) settings: MqttSettings,
    pub(super) intake: IntakeSettings,
    pub(super) device: DeviceName,
    pub(super) allowed: ResponseTopics,
    /// Largest packet that is taken; announced in `state`.
    pub(super) max_packet_bytes: u32,
    /// Requests in flight.
    pub(super) receive_maximum: u16,
    /// Largest packet that the broker is asked to let through.
    wire_max_bytes: u32,
    address: Address,
    tls: Option<Arc<ClientConfig>>,
    password: Option<String>,
    /// SHA-256 over the files, to see whether a reload changes them.
    files: [u8; 32],
}

impl Plan {
    /// Checks `settings` and reads its files. `at_once` is how many requests the daemon holds, running and queued:
    /// Receive Maximum is raised above it, since a broker withholds what is beyond and nobody could be told `overloaded`.
    pub(super) fn load(settings: MqttSettings, intake: IntakeSettings, at_once: usize) -> Result<Self, MqttStartError> {
        let address = Address::parse(&settings.url)
            .map_err(|reason| MqttStartError::Url { url: settings.url.clone(), reason })?;
        let device = DeviceName::new(settings.device.as_str()).map_err(MqttStartError::Device)?;
        let allowed = ResponseTopics::new(&settings.response_topics).map_err(MqttStartError::ResponseTopics)?;
        if settings.client_id.is_empty() || settings.client_id.len() > usize::from(u16::MAX) {
            return Err(MqttStartError::ClientId);
        }
        let cap = if address.scheme.is_websocket() { MAX_WEBSOCKET_PACKET_BYTES } else { MAX_PROTOCOL_PACKET_BYTES };
        let max_packet_bytes = settings.max_packet_bytes.clamp(MIN_PACKET_BYTES, cap);
        if max_packet_bytes < settings.max_packet_bytes {
            log::warn!("mqtt: {} takes packets of at most {max_packet_bytes} bytes", settings.url);
        }
        let password = settings.password_file.as_deref().map(read_password).transpose()?;
        let tls = if address.scheme.is_tls() { Some(Arc::new(tls::client_config(&settings)?)) } else { None };
        if tls.is_none() && settings.username.is_some() && !is_loopback(&address.host) {
            log::warn!("mqtt: {} has no TLS: password and all speech travel in plain text", settings.url);
        }
        let receive_maximum = usize::from(settings.receive_maximum).max(at_once).min(usize::from(u16::MAX));
        Ok(Self {
            files: digest_of_files(&settings),
            wire_max_bytes: max_packet_bytes.saturating_mul(PACKET_HEADROOM).min(cap),
            receive_maximum: u16::try_from(receive_maximum).unwrap_or(u16::MAX),
            max_packet_bytes,
            settings,
            intake,
            device,
            allowed,
            address,
            tls,
            password,
        })
    }

    /// Whether a connection made by `other` may stay.
    pub(super) fn same_connection(&self, other: &Self) -> bool {
        self.settings == other.settings && self.files == other.files && self.receive_maximum == other.receive_maximum
    }

    /// The limits of a message's content.
    pub(super) fn parse_limits(&self) -> ParseLimits {
        ParseLimits { max_audio_bytes: self.intake.max_upload_bytes, max_timeout: self.intake.max_timeout }
    }

    /// Keep-alive within what the protocol and rumqttc can say.
    pub(super) fn keep_alive(&self) -> Duration {
        self.settings.keep_alive.clamp(Duration::from_secs(5), Duration::from_secs(u16::MAX.into()))
    }

    /// Options of one connection of the link. `clean_start` throws the broker's session away.
    pub(super) fn options(&self, clean_start: bool) -> MqttOptions {
        let mut options = self.without_will(clean_start);
        let status = Topic::Status(self.device.clone()).to_string();
        options.set_last_will(LastWill::new(status, OFFLINE, QoS::AtLeastOnce, true, None));
        options
    }

    /// Options of a connection beside the link, under its client id with `suffix` behind: no last will, and nothing that outlives it.
    pub(super) fn beside_link(&self, suffix: &str) -> MqttOptions {
        let mut options = self.without_will(true);
        options.set_client_id(format!("{}{suffix}", self.settings.client_id));
        options.set_manual_acks(false);
        options.set_session_expiry_interval(Some(0));
        options.set_max_packet_size(Some(EXCHANGE_PACKET_BYTES));
        options
    }

    /// The same without the last will, which is the link's alone.
    pub(super) fn without_will(&self, clean_start: bool) -> MqttOptions {
        let settings = &self.settings;
        let mut options = MqttOptions::new(settings.client_id.as_str(), self.address.broker(), self.address.port);
        options.set_transport(match (&self.tls, self.address.scheme.is_websocket()) {
            (None, false) => Transport::tcp(),
            (None, true) => Transport::ws(),
            (Some(tls), false) => Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(tls))),
            (Some(tls), true) => Transport::wss_with_config(TlsConfiguration::Rustls(Arc::clone(tls))),
        });
        if settings.username.is_some() || self.password.is_some() {
            options.set_credentials(
                settings.username.clone().unwrap_or_default(),
                self.password.clone().unwrap_or_default(),
            );
        }
        options.set_keep_alive(self.keep_alive());
        options.set_clean_start(clean_start);
        options.set_manual_acks(true);
        options.set_connection_timeout(CONNECT_TIMEOUT_SECS);
        options.set_outgoing_inflight_upper_limit(MAX_IN_FLIGHT);
        options.set_session_expiry_interval(Some(u32::try_from(settings.session_expiry.as_secs()).unwrap_or(u32::MAX)));
        options.set_receive_maximum(Some(self.receive_maximum));
        options.set_max_packet_size(Some(self.wire_max_bytes));
        let mut network = NetworkOptions::new();
        // Answers are small and awaited: never hold one back to fill a segment.
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        options
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// One line; the line end that editors add is cut off.
fn read_password(path: &Path) -> Result<String, MqttStartError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|f| f.take(MAX_PASSWORD_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| MqttStartError::Read { path: path.to_owned(), source })?;
    let refuse = |reason| MqttStartError::Password { path: path.to_owned(), reason };
    if bytes.len() as u64 > MAX_PASSWORD_BYTES {
        return Err(refuse("the password is longer than 4096 bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| refuse("the password is not UTF-8"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line {
        "" => Err(refuse("the password is empty")),
        more if more.contains('\n') => Err(refuse("the password must be one line")),
        one => Ok(one.to_owned()),
    }
}

/// A file that cannot be read has been refused already, or is not used.
fn digest_of_files(settings: &MqttSettings) -> [u8; 32] {
    let client = settings.client_cert.iter().flat_map(|c| [&c.cert, &c.key]);
    let mut hash = Sha256::new();
    for path in settings.password_file.iter().chain(&settings.ca_file).chain(client) {
        hash.update(Sha256::digest(std::fs::read(path).unwrap_or_default()));
    }
    hash.finalize().into()
}
