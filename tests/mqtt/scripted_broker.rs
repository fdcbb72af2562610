//! A broker that does exactly what a test says, packet by packet: what no real broker can be made to do on demand
//! (acknowledge out of order, lose a session, send what it must not).

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use linnet_proto::status::Status;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnAckProperties, Connect, ConnectReturnCode, LastWill, Login, Packet, PingResp, PubAck, PubAckReason,
    Publish, PublishProperties, SubAck, Subscribe, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{Error, QoS};

use crate::harness::{PATIENCE, eventually};

/// Listens; each connection is a [`Peer`].
pub struct ScriptedBroker {
    listener: TcpListener,
}

/// One connection of the daemon.
pub struct Peer {
    stream: TcpStream,
    buffer: BytesMut,
    /// Every `state` that was published, retained as it must be.
    pub states: Vec<Status>,
    /// Pings that were answered.
    pub pings: usize,
    /// Acknowledgements that came while an answer was waited for.
    acks: VecDeque<u16>,
}

/// What the daemon sent, announcements aside.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// A publish to anything but `status` and `state`; not acknowledged yet.
    Answer(Publish),
    /// It acknowledged this packet id.
    Ack(u16),
    /// `status`, by its text; acknowledged already.
    Status(String),
    /// It said goodbye.
    Disconnect,
    /// It closed the connection.
    Closed,
}

impl ScriptedBroker {
    /// On a free port.
    pub fn start() -> Self {
        Self { listener: TcpListener::bind(("127.0.0.1", 0)).expect("a free port") }
    }

    /// On this port, as soon as it is free: it may serve another test's connection for a moment.
    pub fn on(port: u16) -> Self {
        Self::of(eventually("the port is free", || TcpListener::bind(("127.0.0.1", port)).ok()))
    }

    /// Behind a listener that is there already.
    pub fn of(listener: TcpListener) -> Self {
        Self { listener }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.listener.local_addr().expect("an address").port()
    }

    /// The next connection, before its first packet is read.
    pub fn accept(&self) -> Peer {
        self.listener.set_nonblocking(true).expect("a socket");
        let until = Instant::now() + PATIENCE;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).expect("a socket");
                    stream.set_nodelay(true).expect("a socket");
                    return Peer {
                        stream,
                        buffer: BytesMut::new(),
                        states: Vec::new(),
                        pings: 0,
                        acks: VecDeque::new(),
                    };
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    assert!(Instant::now() < until, "the daemon never connected");
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(e) => panic!("accept: {e}"),
            }
        }
    }

    /// The next connection, connected and subscribed.
    pub fn accept_up(&self, session_present: bool) -> Peer {
        let mut peer = self.accept();
        peer.connect(session_present);
        peer.subscribe();
        peer
    }
}

/// CONNACK's properties, all absent.
pub fn no_properties() -> ConnAckProperties {
    ConnAckProperties {
        session_expiry_interval: None,
        receive_max: None,
        max_qos: None,
        retain_available: None,
        max_packet_size: None,
        assigned_client_identifier: None,
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    }
}

impl Peer {
    /// The next packet; `None` when the daemon has closed the connection.
    pub fn read(&mut self) -> Option<Packet> {
        self.read_within(PATIENCE).unwrap_or_else(|| panic!("the daemon sent nothing for {PATIENCE:?}"))
    }

    /// As [`Peer::read`]; the outer `None` means that nothing came in time.
    fn read_within(&mut self, patience: Duration) -> Option<Option<Packet>> {
        let until = Instant::now() + patience;
        loop {
            match Packet::read(&mut self.buffer, None) {
                Ok(packet) => return Some(Some(packet)),
                Err(Error::InsufficientBytes(_)) => {}
                // rumqttc writes a DISCONNECT without a reason and cannot read one.
                Err(Error::PayloadRequired) => return Some(None),
                Err(e) => panic!("the daemon sent what is not MQTT 5: {e}"),
            }
            let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            self.stream.set_read_timeout(Some(left)).expect("a socket");
            let mut chunk = [0; 64 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Some(None),
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return Some(None),
                Err(e) => panic!("read: {e}"),
            }
        }
    }

    /// Sends a packet.
    pub fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).expect("a packet");
        self.send_raw(&bytes);
    }

    /// Sends any bytes.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        // The daemon may have gone already, which the test then sees.
        let _ = self.stream.write_all(bytes);
    }

    /// Reads CONNECT.
    pub fn expect_connect(&mut self) -> (Connect, Option<LastWill>, Option<Login>) {
        match self.read() {
            Some(Packet::Connect(connect, will, login)) => (connect, will, login),
            other => panic!("not CONNECT: {other:?}"),
        }
    }

    /// Reads CONNECT and accepts it.
    pub fn connect(&mut self, session_present: bool) -> Connect {
        self.connect_with(session_present, None)
    }

    /// As [`Peer::connect`], with CONNACK's properties.
    pub fn connect_with(&mut self, session_present: bool, properties: Option<ConnAckProperties>) -> Connect {
        let (connect, _, _) = self.expect_connect();
        self.send(&Packet::ConnAck(ConnAck { session_present, code: ConnectReturnCode::Success, properties }));
        connect
    }

    /// Reads SUBSCRIBE and grants it. What is acknowledged or published before it is passed over.
    pub fn subscribe(&mut self) -> Subscribe {
        self.subscribe_with(SubscribeReasonCode::Success(QoS::AtLeastOnce))
    }

    /// Reads SUBSCRIBE and answers with `code`.
    pub fn subscribe_with(&mut self, code: SubscribeReasonCode) -> Subscribe {
        match self.read() {
            Some(Packet::Subscribe(subscribe)) => {
                let suback = SubAck { pkid: subscribe.pkid, return_codes: vec![code], properties: None };
                self.send(&Packet::SubAck(suback));
                subscribe
            }
            other => panic!("not SUBSCRIBE: {other:?}"),
        }
    }

    /// Delivers a request.
    pub fn deliver(&mut self, packet_id: u16, topic: &str, payload: &[u8], properties: PublishProperties) {
        self.deliver_packet(packet_id, false, topic, payload, properties);
    }

    /// Delivers a request again.
    pub fn deliver_again(&mut self, packet_id: u16, topic: &str, payload: &[u8], properties: PublishProperties) {
        self.deliver_packet(packet_id, true, topic, payload, properties);
    }

    fn deliver_packet(&mut self, pkid: u16, dup: bool, topic: &str, payload: &[u8], properties: PublishProperties) {
        let qos = if pkid == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let payload = Bytes::copy_from_slice(payload);
        let mut publish = Publish::new(topic, qos, payload, Some(properties));
        (publish.pkid, publish.dup) = (pkid, dup);
        self.send(&Packet::Publish(publish));
    }

    /// The next thing of interest. `state` is acknowledged and passed over, pings are answered.
    pub fn next(&mut self) -> Seen {
        self.next_within(PATIENCE).unwrap_or_else(|| panic!("the daemon sent nothing for {PATIENCE:?}"))
    }

    /// As [`Peer::next`], or `None` when nothing of interest comes within `patience`.
    pub fn next_within(&mut self, patience: Duration) -> Option<Seen> {
        let until = Instant::now() + patience;
        loop {
            let left = until.checked_duration_since(Instant::now())?;
            match self.read_within(left)? {
                Some(Packet::Publish(publish)) => {
                    let topic = String::from_utf8(publish.topic.to_vec()).expect("UTF-8");
                    if topic.ends_with("/state") {
                        self.acknowledge(publish.pkid);
                        assert!(publish.retain, "state is retained");
                        self.states.push(serde_json::from_slice(&publish.payload).expect("a status"));
                    } else if topic.ends_with("/status") {
                        self.acknowledge(publish.pkid);
                        assert!(publish.retain, "status is retained");
                        return Some(Seen::Status(String::from_utf8_lossy(&publish.payload).into_owned()));
                    } else {
                        return Some(Seen::Answer(publish));
                    }
                }
                Some(Packet::PubAck(ack)) => return Some(Seen::Ack(ack.pkid)),
                Some(Packet::PingReq(_)) => {
                    self.pings += 1;
                    self.send(&Packet::PingResp(PingResp));
                }
                Some(Packet::Disconnect(_)) => return Some(Seen::Disconnect),
                Some(other) => panic!("unexpected: {other:?}"),
                None => return Some(Seen::Closed),
            }
        }
    }

    /// The next answer; acknowledgements before it are kept for [`Peer::ack`].
    pub fn answer(&mut self) -> Publish {
        loop {
            match self.next() {
                Seen::Answer(publish) => return publish,
                Seen::Ack(packet_id) => self.acks.push_back(packet_id),
                Seen::Status(_) => {}
                other => panic!("no answer but {other:?}"),
            }
        }
    }

    /// The next answer, before which nothing may be acknowledged.
    pub fn answer_before_any_ack(&mut self) -> Publish {
        let answer = self.answer();
        assert!(self.acks.is_empty(), "{:?} were acknowledged too early", self.acks);
        answer
    }

    /// The next answer, acknowledged at once.
    pub fn answer_taken(&mut self) -> Publish {
        let answer = self.answer();
        self.acknowledge(answer.pkid);
        answer
    }

    /// The next acknowledgement; `status` before it is passed over.
    pub fn ack(&mut self) -> u16 {
        if let Some(packet_id) = self.acks.pop_front() {
            return packet_id;
        }
        loop {
            match self.next() {
                Seen::Ack(packet_id) => return packet_id,
                Seen::Status(_) => {}
                other => panic!("no acknowledgement but {other:?}"),
            }
        }
    }

    /// Acknowledges a publish of the daemon.
    pub fn acknowledge(&mut self, packet_id: u16) {
        self.send(&Packet::PubAck(PubAck::new(packet_id, None)));
    }

    /// Refuses a publish of the daemon.
    pub fn refuse(&mut self, packet_id: u16, reason: PubAckReason) {
        self.send(&Packet::PubAck(PubAck { reason, ..PubAck::new(packet_id, None) }));
    }
}
