//! The daemon of a device, over the MQTT broker that both reach (`docs/mqtt.md`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use linnet_proto::topic::{DeviceName, RequestId, TaskName, Topic};
use linnet_proto::words::without_login;
use linnet_proto::{ErrorBody, TranscribeOptions, Transcript};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::refusal::{Fault, Refusal};
use crate::{Audio, ClientError, Terms, query};

/// Largest recording that is sent in one message, bytes. The broker or the daemon may take less.
pub const MAX_PAYLOAD_BYTES: u64 = 64 << 20;
/// Longest wait for the connection and the subscription.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the retained `status` of the device is waited for.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer is waited for without `--timeout`: the daemon's own default deadline and the way there and back.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(45);

/// A broker and how to log in to it.
#[derive(Debug, Clone)]
pub struct Broker {
    host: String,
    port: u16,
    tls: bool,
    user: Option<String>,
    password: Option<String>,
    ca_file: Option<PathBuf>,
}

impl Broker {
    /// Reads `mqtt://[user[:password]@]host[:port]` or `mqtts://…`. `password` stands in for one that is not in the URL.
    pub fn parse(url: &str, password: Option<String>, ca_file: Option<PathBuf>) -> Result<Self, ClientError> {
        let bad = |why: &str| {
            ClientError::BadUrl(format!("{}: {why}; write mqtt://host or mqtts://user@host:8883", without_login(url)))
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("there is no scheme in it"))?;
        let tls = match scheme {
            "mqtt" | "tcp" => false,
            "mqtts" | "ssl" => true,
            _ => return Err(bad("the scheme is neither mqtt nor mqtts")),
        };
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, rest),
        };
        let address = address.strip_suffix('/').unwrap_or(address);
        let (host, port) = match address.strip_prefix('[').and_then(|a| a.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(|| bad("the port is no number"))?)),
            None => match address.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            },
        };
        if host.is_empty() || host.contains(['/', '?', '#']) {
            return Err(bad("there is no host name in it"));
        }
        let port = match port {
            Some(port) => port.parse().map_err(|_| bad("the port is no number from 1 to 65535"))?,
            None if tls => 8883,
            None => 1883,
        };
        if ca_file.is_some() && !tls {
            return Err(bad("a CA file (--ca-file, LINNET_MQTT_CA_FILE) goes with mqtts://"));
        }
        let (user, in_url) = match login.map(|l| l.split_once(':').unwrap_or((l, ""))) {
            Some((user, password)) => (Some(user.to_owned()), Some(password.to_owned()).filter(|p| !p.is_empty())),
            None => (None, None),
        };
        Ok(Self { host: host.to_owned(), port, tls, user, password: in_url.or(password), ca_file })
    }

    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn failed(&self, reason: impl ToString) -> ClientError {
        ClientError::Broker { address: self.address(), reason: reason.to_string() }
    }

    /// Why there is no connection, and what to do about it.
    pub(crate) fn fault(&self, e: &ConnectionError) -> Fault {
        match Fault::of_connection(e) {
            Fault::Refused(refusal) if is_of_login(e) => {
                let said = match (&self.user, &self.password) {
                    (None, _) => "lets in nobody without a login: name the user in the URL (mqtt://user@host), and give the password in LINNET_MQTT_PASSWORD"
                        .to_owned(),
                    (Some(user), None) => format!("does not let in {user} without a password: give it in LINNET_MQTT_PASSWORD"),
                    (Some(user), Some(_)) => {
                        format!("does not let in {user} with this password (LINNET_MQTT_PASSWORD, where the URL has none)")
                    }
                };
                Fault::Refused(Refusal { said, ..refusal })
            }
            Fault::Away(said) => {
                let advice = match &said {
                    said if said.contains("UnknownIssuer") => {
                        "; --ca-file must be the authority that signed its certificate"
                    }
                    said if said.contains("NotValidForName") => {
                        "; its certificate is for another name than the URL's host"
                    }
                    _ => "",
                };
                Fault::Away(format!("{said}{advice}"))
            }
            refused => refused,
        }
    }

    pub(crate) fn options(&self, client_id: &str) -> Result<MqttOptions, ClientError> {
        let mut options = MqttOptions::new(client_id, &self.host, self.port);
        options.set_max_packet_size(Some(u32::try_from(MAX_PAYLOAD_BYTES).unwrap_or(u32::MAX)));
        options.set_clean_start(true);
        if let Some(user) = &self.user {
            options.set_credentials(user, self.password.as_deref().unwrap_or_default());
        }
        if self.tls {
            let ca = self.ca_file.as_ref().ok_or_else(|| {
                ClientError::BadUrl("mqtts:// needs --ca-file (fleet commands take LINNET_MQTT_CA_FILE, too): the certificate that signed the broker's".into())
            })?;
            options.set_transport(Transport::tls_with_config(tls(ca)?));
        }
        Ok(options)
    }
}

/// Whether a connection is refused for want of the right user and password.
fn is_of_login(e: &ConnectionError) -> bool {
    let (ConnectionError::ConnectionRefused(code) | ConnectionError::MqttState(StateError::ConnFail { reason: code })) =
        e
    else {
        return false;
    };
    matches!(code, ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized)
}

/// The certificates of a PEM file that a broker's may come from.
pub(crate) fn authorities(ca_file: &Path) -> Result<rustls::RootCertStore, ClientError> {
    let unreadable = |reason: String| unreadable(ca_file, reason);
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).map_err(|e| unreadable(e.to_string()))? {
        let certificate = certificate.map_err(|e| unreadable(e.to_string()))?;
        roots.add(certificate).map_err(|e| unreadable(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unreadable("there is no certificate in it; it must be PEM".into()));
    }
    Ok(roots)
}

fn unreadable(ca_file: &Path, reason: String) -> ClientError {
    ClientError::Read {
        path: ca_file.display().to_string(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, reason),
    }
}

fn tls(ca_file: &Path) -> Result<TlsConfiguration, ClientError> {
    let unreadable = |reason: String| unreadable(ca_file, reason);
    let roots = authorities(ca_file)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| unreadable(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConfiguration::Rustls(Arc::new(config)))
}

/// The daemon of one device behind a broker.
#[derive(Debug, Clone)]
pub struct Remote {
    broker: Broker,
    device: DeviceName,
}

impl Remote {
    /// A device behind `broker`; nothing is opened yet.
    pub fn new(broker: Broker, device: DeviceName) -> Self {
        Self { broker, device }
    }

    /// Sends `audio` in one message and waits for its transcript. A daemon that is known to be offline is not waited for.
    pub async fn transcribe(
        &self,
        audio: Audio,
        options: &TranscribeOptions,
        terms: Terms,
    ) -> Result<Transcript, ClientError> {
        let too_large = || {
            let message = format!("the recording is larger than {} MiB", MAX_PAYLOAD_BYTES >> 20);
            self.broker.failed(format!("{message}; send it over the local socket, or compress it (flac, opus)"))
        };
        // Room for topic and properties.
        let audio = audio.read_within(MAX_PAYLOAD_BYTES - 64 * 1024).await?.ok_or_else(too_large)?;
        let task = TaskName::new(TaskName::TRANSCRIBE).map_err(|e| self.broker.failed(e))?;
        let properties = user_properties(options, terms);
        self.ask(task, "application/octet-stream", properties, audio, terms).await
    }

    /// Sends one request for `task` and waits for its answer.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        task: TaskName,
        content_type: &str,
        user_properties: Vec<(String, String)>,
        payload: Bytes,
        terms: Terms,
    ) -> Result<T, ClientError> {
        let request = Outgoing { task, content_type, user_properties, payload };
        read_answer(&self.send(request, terms, None).await?)
    }

    /// Sends a request as JSON that asks for pieces; hands them to `each` as they come, and gives the last message, which holds all of the
    /// answer.
    pub async fn stream(
        &self,
        task: TaskName,
        payload: Bytes,
        terms: Terms,
        each: &mut (dyn FnMut(Value) -> Result<(), ClientError> + Send),
    ) -> Result<Value, ClientError> {
        let request = Outgoing { task, content_type: "application/json", user_properties: Vec::new(), payload };
        read_answer(&self.send(request, terms, Some(Pieces { next: 0, each })).await?)
    }

    /// Sends a request, and gives the payload of its last answer.
    async fn send(
        &self,
        request: Outgoing<'_>,
        terms: Terms,
        pieces: Option<Pieces<'_>>,
    ) -> Result<Bytes, ClientError> {
        let id = format!("{:016x}", rand::random::<u64>());
        let (client, mut events) = AsyncClient::new(self.broker.options(&format!("linnet-{id}"))?, 8);
        let limit = terms.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let wait = limit + CONNECT_TIMEOUT + STATUS_TIMEOUT;
        let exchange = self.exchange(&client, &mut events, &id, request, terms, pieces);
        let answer = match tokio::time::timeout(wait, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::TimedOut(limit)),
        };
        // Says goodbye, so that the broker forgets the session at once. Failing to changes nothing.
        if client.try_disconnect().is_ok() {
            let _ =
                tokio::time::timeout(Duration::from_millis(200), async { while events.poll().await.is_ok() {} }).await;
        }
        answer
    }

    async fn exchange(
        &self,
        client: &AsyncClient,
        events: &mut EventLoop,
        id: &str,
        request: Outgoing<'_>,
        terms: Terms,
        mut pieces: Option<Pieces<'_>>,
    ) -> Result<Bytes, ClientError> {
        let id_level = RequestId::new(id).map_err(|e| self.broker.failed(e))?;
        let response = Topic::Response { device: self.device.clone(), id: id_level }.to_string();
        let status = Topic::Status(self.device.clone()).to_string();
        for topic in [&response, &status] {
            client.try_subscribe(topic.as_str(), QoS::AtLeastOnce).map_err(|e| self.broker.failed(e))?;
        }
        self.wait_for_device(events, &status).await?;
        let Outgoing { task, content_type, user_properties, payload } = request;
        let request = Topic::Request { device: self.device.clone(), task, id: None }.to_string();
        let properties = PublishProperties {
            response_topic: Some(response.clone()),
            correlation_data: Some(Bytes::copy_from_slice(id.as_bytes())),
            content_type: Some(content_type.to_owned()),
            // In whole seconds, none of which is cut off: `timeout_ms` says it to the millisecond.
            message_expiry_interval: terms
                .timeout
                .map(|t| u32::try_from(t.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)),
            user_properties,
            ..PublishProperties::default()
        };
        client
            .try_publish_with_properties(request.as_str(), QoS::AtLeastOnce, false, payload, properties)
            .map_err(|e| self.broker.failed(e))?;
        loop {
            match self.poll(events).await? {
                Packet::Publish(answer) if answer.topic == response.as_bytes() && correlates(&answer, id) => {
                    let is_piece = match &mut pieces {
                        Some(pieces) => pieces.take(&answer.payload)?,
                        None => false,
                    };
                    if !is_piece {
                        return Ok(answer.payload);
                    }
                }
                Packet::Publish(will) if will.topic == status.as_bytes() && will.payload == "offline".as_bytes() => {
                    log_offline(&self.device);
                }
                Packet::PubAck(ack) => {
                    if let Some(refusal) = Fault::of_publication(&ack, &request) {
                        return Err(refusal.at(&self.broker.address()));
                    }
                }
                _ => {}
            }
        }
    }

    /// Waits for both subscriptions and for the device's retained status.
    async fn wait_for_device(&self, events: &mut EventLoop, status: &str) -> Result<(), ClientError> {
        let mut subscribed = 0;
        let mut online = None;
        let connect = async {
            while subscribed < 2 {
                match self.poll(events).await? {
                    Packet::SubAck(ack) => {
                        let denied = ack.return_codes.iter().find(|c| !format!("{c:?}").starts_with("Success"));
                        if let Some(code) = denied {
                            return Err(self.broker.failed(format!("the subscription was refused: {code:?}")));
                        }
                        subscribed += 1;
                    }
                    Packet::Publish(publish) if publish.topic == status.as_bytes() => {
                        online = Some(publish.payload == "online".as_bytes());
                    }
                    _ => {}
                }
            }
            Ok(())
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| self.broker.failed(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())))??;
        let seen = async {
            while online.is_none() {
                if let Packet::Publish(publish) = self.poll(events).await?
                    && publish.topic == status.as_bytes()
                {
                    online = Some(publish.payload == "online".as_bytes());
                }
            }
            Ok::<_, ClientError>(())
        };
        let absent = |reason| Err(ClientError::NoDevice { device: self.device.to_string(), reason });
        match tokio::time::timeout(STATUS_TIMEOUT, seen).await {
            Err(_) => absent(
                "its status was never published, or this user may not read it; is the name right, and has linnetd [mqtt] \
                 configured?",
            ),
            Ok(Err(e)) => Err(e),
            Ok(Ok(())) if online == Some(false) => absent("its status is offline; start linnetd there"),
            Ok(Ok(())) => Ok(()),
        }
    }

    async fn poll(&self, events: &mut EventLoop) -> Result<Packet, ClientError> {
        loop {
            let polled = events.poll().await.map_err(|e| match self.broker.fault(&e) {
                Fault::Away(reason) => self.broker.failed(reason),
                Fault::Refused(refusal) => refusal.at(&self.broker.address()),
            });
            if let Event::Incoming(packet) = polled? {
                return Ok(packet);
            }
        }
    }
}

/// What is asked.
struct Outgoing<'a> {
    task: TaskName,
    content_type: &'a str,
    user_properties: Vec<(String, String)>,
    payload: Bytes,
}

/// The pieces of a streamed answer, numbered from 0.
struct Pieces<'a> {
    next: u64,
    each: &'a mut (dyn FnMut(Value) -> Result<(), ClientError> + Send),
}

impl Pieces<'_> {
    /// Hands a piece on; `false` where it is none, but the end. One that comes again is passed over, and so is all that follows a gap: the end
    /// holds everything.
    fn take(&mut self, payload: &[u8]) -> Result<bool, ClientError> {
        let Ok(piece) = serde_json::from_slice::<Value>(payload) else { return Ok(false) };
        if piece["final"] != false {
            return Ok(false);
        }
        if piece["seq"] == self.next {
            self.next += 1;
            (self.each)(piece)?;
        }
        Ok(true)
    }
}

/// A daemon that restarts answers what was asked of it, so its absence is worth a word and no failure.
fn log_offline(device: &DeviceName) {
    eprintln!("linnet: linnetd on {device} went offline; waiting for it to come back");
}

fn correlates(answer: &Publish, id: &str) -> bool {
    answer.properties.as_ref().and_then(|p| p.correlation_data.as_deref()) == Some(id.as_bytes())
}

fn user_properties(options: &TranscribeOptions, terms: Terms) -> Vec<(String, String)> {
    query::pairs(options, terms).into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn read_answer<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ClientError> {
    if let Ok(body) = serde_json::from_slice::<ErrorBody>(payload) {
        return Err(ClientError::of_error_body(body));
    }
    serde_json::from_slice(payload).map_err(|e| ClientError::Broken(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(url: &str) -> Result<Broker, ClientError> {
        Broker::parse(url, Some("from-environment".into()), None)
    }

    #[test]
    fn addresses_have_the_ports_that_people_expect() {
        for (url, host, port) in [
            ("mqtt://localhost", "localhost", 1883),
            ("mqtt://localhost/", "localhost", 1883),
            ("mqtts://broker.example", "broker.example", 8883),
            ("mqtt://[::1]:1884", "::1", 1884),
            ("mqtt://10.0.0.1:1", "10.0.0.1", 1),
        ] {
            let broker = broker(url).expect(url);
            assert_eq!((broker.host.as_str(), broker.port), (host, port), "{url}");
        }
    }

    #[test]
    fn a_password_comes_from_the_url_before_the_environment_and_is_never_shown() {
        let with = broker("mqtt://ann:s3cret@h").expect("an address");
        assert_eq!((with.user.as_deref(), with.password.as_deref()), (Some("ann"), Some("s3cret")));
        let without = broker("mqtt://ann@h").expect("an address");
        assert_eq!(without.password.as_deref(), Some("from-environment"));
        for url in ["mqtt://ann:s3cret@h:port", "mqtt:ann:s3cret@h", "mqtt//ann:s3cret@h", "ann:s3cret@h"] {
            let e = broker(url).expect_err(url).to_string();
            assert!(e.contains("…@h") && !e.contains("s3cret"), "{e}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for url in [
            "localhost",
            "http://localhost",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://h:0x1",
            "mqtt://h:99999",
            "mqtt://[::1]1",
        ] {
            assert_eq!(broker(url).expect_err(url).exit_code(), 64, "{url}");
        }
    }

    #[test]
    fn pieces_come_once_and_in_order_up_to_a_gap_and_the_end_is_none() {
        let mut seen = Vec::new();
        let mut each = |piece: Value| {
            seen.push(piece["text"].as_str().unwrap_or_default().to_owned());
            Ok(())
        };
        let mut pieces = Pieces { next: 0, each: &mut each };
        for (payload, is_piece) in [
            (r#"{"seq": 0, "final": false, "text": "a"}"#, true),
            (r#"{"seq": 0, "final": false, "text": "a"}"#, true),
            (r#"{"seq": 1, "final": false, "text": "b"}"#, true),
            (r#"{"seq": 3, "final": false, "text": "d"}"#, true),
            (r#"{"seq": 4, "final": true, "text": "abcd"}"#, false),
            (r#"{"text": "an answer that is not streamed"}"#, false),
            (r#"{"error": {"message": "full"}}"#, false),
            ("rubbish", false),
        ] {
            assert_eq!(pieces.take(payload.as_bytes()).expect("it is taken"), is_piece, "{payload}");
        }
        assert_eq!(seen, ["a", "b"]);
        let mut fails = |_| Err(ClientError::Broken("the pipe is closed".into()));
        let mut pieces = Pieces { next: 0, each: &mut fails };
        pieces.take(br#"{"seq": 0, "final": false}"#).expect_err("whoever prints has failed");
    }

    #[test]
    fn an_error_object_is_a_refusal_and_rubbish_is_a_broken_answer() {
        let body = br#"{"error":{"message":"full","type":"rate_limit_error","param":null,"code":"overloaded"}}"#;
        assert_eq!(read_answer::<Transcript>(body).expect_err("refused").exit_code(), 75);
        assert_eq!(read_answer::<Transcript>(b"rubbish").expect_err("broken").exit_code(), 76);
    }
}
