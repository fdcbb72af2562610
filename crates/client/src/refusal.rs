//! What a broker said when it would not have something, in words: MQTT 5's reason code, and what to do about it.
//!
//! A broker that is away is waited for. One that is there and refuses has said why, and waiting alone mends nothing.

use linnet_proto::topic::FleetName;
use linnet_proto::words::{MAX_SENTENCE_CHARS, plain};
use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, PubAck, PubAckReason, SubscribeReasonCode};
use rumqttc::v5::{ConnectionError, StateError};

use crate::ClientError;

/// Why there is no connection, or why something was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nobody answers, or the connection broke; one sentence.
    Away(String),
    /// The broker answered, and said no.
    Refused(Refusal),
}

/// A broker's no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// To follow "the broker".
    pub(crate) said: String,
    /// The reason code of MQTT 5.
    pub(crate) code: u8,
}

impl Fault {
    /// Of an error that ended a connection, or prevented one.
    pub(crate) fn of_connection(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::ConnectionRefused(code)
            | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => of_connect(*code),
            ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
                of_end(*reason_code as u8, reason_string.as_deref())
            }
            // A code that the library does not know, in an acknowledgement: it drops the connection then. Whichever packet it was in, it
            // speaks of a CONNECT's.
            ConnectionError::MqttState(StateError::Deserialization(
                PacketError::InvalidConnectReturnCode(code) | PacketError::InvalidReason(code),
            )) => Self::Refused(refusal("does not take what is published", *code, None, None)),
            // Found where the packet is queued, or where it is written.
            ConnectionError::MqttState(
                StateError::OutgoingPacketTooLarge { pkt_size, max }
                | StateError::Deserialization(PacketError::OutgoingPacketTooLarge { pkt_size, max }),
            ) => Self::Refused(Refusal {
                said: format!(
                    "takes packets of at most {max} bytes, and one of {pkt_size} is to be published; raise that at the broker \
                     (Mosquitto: max_packet_size)"
                ),
                code: 0x95,
            }),
            ConnectionError::Timeout(_) => Self::Away("it does not answer".into()),
            ConnectionError::Io(e) | ConnectionError::MqttState(StateError::Io(e)) => Self::Away(e.to_string()),
            other => Self::Away(other.to_string()),
        }
    }

    /// Of an acknowledgement of what was published on `topic`; `None` where it was taken.
    pub(crate) fn of_publication(ack: &PubAck, topic: &str) -> Option<Refusal> {
        use PubAckReason as P;
        let code = match ack.reason {
            P::Success | P::NoMatchingSubscribers => return None,
            P::UnspecifiedError => 0x80,
            P::ImplementationSpecificError => 0x83,
            P::NotAuthorized => 0x87,
            P::TopicNameInvalid => 0x90,
            P::PacketIdentifierInUse => 0x91,
            P::QuotaExceeded => 0x97,
            P::PayloadFormatInvalid => 0x99,
        };
        let own = ack.properties.as_ref().and_then(|properties| properties.reason_string.as_deref());
        let what = format!("does not take what is published on {topic}");
        Some(refusal(&what, code, own, Some(&format!("topic write {}", filter(topic)))))
    }
}

impl Refusal {
    /// Of an operator's subscription to the fleet and its reports.
    pub(crate) fn of_subscription(code: &SubscribeReasonCode, fleet: &FleetName) -> Self {
        use SubscribeReasonCode as S;
        let code = match code {
            S::NotAuthorized => 0x87,
            S::TopicFilterInvalid => 0x8f,
            S::PkidInUse => 0x91,
            S::QuotaExceeded => 0x97,
            S::SharedSubscriptionsNotSupported => 0x9e,
            S::SubscriptionIdNotSupported => 0xa1,
            S::WildcardSubscriptionsNotSupported => 0xa2,
            S::ImplementationSpecific => 0x83,
            S::Success(_) | S::Failure | S::Unspecified => 0x80,
        };
        let what = format!("does not let this client hear linnet/fleet/{fleet}/# and linnet/+/config/reported");
        refusal(&what, code, None, Some("topic read linnet/#"))
    }

    /// As an error of a command, for the broker at `address`.
    pub(crate) fn at(&self, address: &str) -> ClientError {
        ClientError::BrokerRefuses { address: address.to_owned(), said: self.said.clone(), code: self.code }
    }
}

/// A refusal of a connection.
fn of_connect(code: ConnectReturnCode) -> Fault {
    use ConnectReturnCode as C;
    let code = match code {
        C::RefusedProtocolVersion | C::UnsupportedProtocolVersion => 0x84,
        C::BadClientId | C::ClientIdentifierNotValid => 0x85,
        C::BadUserNamePassword => 0x86,
        C::NotAuthorized => 0x87,
        C::ServiceUnavailable | C::ServerUnavailable => 0x88,
        C::ServerBusy => 0x89,
        C::Banned => 0x8a,
        C::BadAuthenticationMethod => 0x8c,
        C::QuotaExceeded => 0x97,
        C::UseAnotherServer => 0x9c,
        C::ServerMoved => 0x9d,
        C::ConnectionRateExceeded => 0x9f,
        C::PacketTooLarge => 0x95,
        C::MalformedPacket => 0x81,
        C::ProtocolError => 0x82,
        C::ImplementationSpecificError => 0x83,
        C::TopicNameInvalid => 0x90,
        C::PayloadFormatInvalid => 0x99,
        C::RetainNotSupported => 0x9a,
        C::QoSNotSupported => 0x9b,
        C::Success | C::UnspecifiedError => 0x80,
    };
    if is_away(code) {
        return Fault::Away(format!("it says {} (reason code {code:#04x})", name(code)));
    }
    Fault::Refused(match code {
        0x86 | 0x87 => Refusal {
            said: format!(
                "does not admit this client: {} (reason code {code:#04x}); check the user in its URL and the password \
                 (LINNET_MQTT_PASSWORD)",
                name(code)
            ),
            code,
        },
        0x84 => Refusal {
            said: "does not speak MQTT 5 (reason code 0x84), which is needed here; Mosquitto does from 1.6 on".into(),
            code,
        },
        code => refusal("does not admit this client", code, None, None),
    })
}

/// A connection that the broker ended with a word.
fn of_end(code: u8, own: Option<&str>) -> Fault {
    match code {
        code if is_away(code) => Fault::Away(format!("it says {} (reason code {code:#04x})", name(code))),
        code => Fault::Refused(refusal("ended the connection", code, own, None)),
    }
}

/// Codes of a broker that will be there again: unavailable, busy, shutting down, or that has not heard this client for a while.
fn is_away(code: u8) -> bool {
    matches!(code, 0x00 | 0x88 | 0x89 | 0x8b | 0x8d)
}

/// `right` is the line of an access list that would allow it.
fn refusal(what: &str, code: u8, own: Option<&str>, right: Option<&str>) -> Refusal {
    let own = own.map(|own| format!(", `{}`", plain(own, MAX_SENTENCE_CHARS)));
    let way_out = match (code, right) {
        (0x87, Some(right)) => {
            format!("give this user `{right}` in the broker's access list (config/examples/mosquitto/linnet.acl)")
        }
        (0x8a, _) => "the broker's administrator has to lift it".to_owned(),
        (0x8e, _) => "another client uses this one's client id".to_owned(),
        (0x90, _) => "let the broker take topics below linnet/".to_owned(),
        (0x95, _) => {
            "raise the largest packet that it takes (Mosquitto: max_packet_size, message_size_limit)".to_owned()
        }
        (0x93 | 0x96 | 0x97 | 0x9f, _) => {
            "raise what the broker lets this user have (connections, messages, bytes), or wait until it has room"
                .to_owned()
        }
        (0x9a, _) => "have the broker retain messages (Mosquitto: retain_available true)".to_owned(),
        (0x9c | 0x9d, _) => "name the other broker, of which its administrator knows, as --mqtt".to_owned(),
        _ => "its log says more".to_owned(),
    };
    let said = format!("{what}: {} (reason code {code:#04x}{}); {way_out}", name(code), own.unwrap_or_default());
    Refusal { said, code }
}

/// The filter that an access list needs for `topic`.
pub(crate) fn filter(topic: &str) -> String {
    let levels: Vec<&str> = topic.split('/').collect();
    match levels[..] {
        ["linnet", "fleet", fleet, ..] => format!("linnet/fleet/{fleet}/#"),
        ["linnet", _, "config", last] => format!("linnet/+/config/{last}"),
        ["linnet", _, "request", ..] => "linnet/+/request/#".to_owned(),
        ["linnet", _, "fetched", ..] => "linnet/+/fetched/#".to_owned(),
        _ => topic.to_owned(),
    }
}

/// What MQTT 5 calls a reason code (section 2.4).
fn name(code: u8) -> &'static str {
    match code {
        0x00 => "normal disconnection",
        0x80 => "unspecified error",
        0x81 => "malformed packet",
        0x82 => "protocol error",
        0x83 => "implementation specific error",
        0x84 => "unsupported protocol version",
        0x85 => "client identifier not valid",
        0x86 => "bad user name or password",
        0x87 => "not authorised",
        0x88 => "server unavailable",
        0x89 => "server busy",
        0x8a => "banned",
        0x8b => "server shutting down",
        0x8c => "bad authentication method",
        0x8d => "keep alive timeout",
        0x8e => "session taken over",
        0x8f => "topic filter invalid",
        0x90 => "topic name invalid",
        0x91 => "packet identifier in use",
        0x93 => "receive maximum exceeded",
        0x94 => "topic alias invalid",
        0x95 => "packet too large",
        0x96 => "message rate too high",
        0x97 => "quota exceeded",
        0x98 => "administrative action",
        0x99 => "payload format invalid",
        0x9a => "retain not supported",
        0x9b => "QoS not supported",
        0x9c => "use another server",
        0x9d => "server moved",
        0x9f => "connection rate exceeded",
        0xa0 => "maximum connect time",
        _ => "another reason",
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{DisconnectReasonCode, Packet, PubAckProperties, Publish};

    use super::*;

    fn ack(reason: PubAckReason, own: Option<&str>) -> PubAck {
        let properties =
            own.map(|own| PubAckProperties { reason_string: Some(own.into()), user_properties: Vec::new() });
        PubAck { pkid: 1, reason, properties }
    }

    #[test]
    fn a_publication_that_is_not_taken_is_told_with_its_code_and_the_way_out() {
        use PubAckReason as P;
        let topic = "linnet/fleet/home/metadata/timestamp.json";
        for (reason, topic, says) in [
            (
                P::NotAuthorized,
                topic,
                "on linnet/fleet/home/metadata/timestamp.json: not authorised (reason code 0x87); give",
            ),
            (P::NotAuthorized, topic, "`topic write linnet/fleet/home/#`"),
            (P::NotAuthorized, "linnet/kitchen/config/desired", "`topic write linnet/+/config/desired`"),
            (P::NotAuthorized, "linnet/kitchen/fetched/ab", "`topic write linnet/+/fetched/#`"),
            (P::QuotaExceeded, topic, "quota exceeded (reason code 0x97); raise"),
            (P::UnspecifiedError, topic, "(reason code 0x80); its log"),
        ] {
            let refusal = Fault::of_publication(&ack(reason, None), topic).expect("refused");
            assert!(refusal.said.contains(says), "{says}: {refusal:?}");
        }
        for taken in [P::Success, P::NoMatchingSubscribers] {
            assert_eq!(Fault::of_publication(&ack(taken, None), topic), None);
        }
        let own = format!("tenant full\u{1b}[2J{}", "x".repeat(1000));
        let said = Fault::of_publication(&ack(P::QuotaExceeded, Some(&own)), topic).expect("refused").said;
        assert!(said.contains("0x97, `tenant full[2Jx") && !said.contains('\u{1b}') && said.len() < 600, "{said}");
    }

    #[test]
    fn a_broker_that_says_no_is_told_from_one_that_is_away() {
        let refused = |code| Fault::of_connection(&ConnectionError::ConnectionRefused(code));
        let ended = |reason_code| {
            Fault::of_connection(&ConnectionError::MqttState(StateError::ServerDisconnect {
                reason_code,
                reason_string: None,
            }))
        };
        let of_state = |e| Fault::of_connection(&ConnectionError::MqttState(e));
        // Mosquitto's, where a message is above message_size_limit: "packet too large" for packet 1, as the library reads it.
        let read = Packet::read(&mut BytesMut::from(&[0x40, 0x03, 0x00, 0x01, 0x95][..]), None);
        let unread = of_state(StateError::Deserialization(read.expect_err("a code that the library does not know")));
        // Above max_packet_size: the library's own, by both ways.
        let publish = Publish::new("linnet/fleet/home/index", QoS::AtLeastOnce, vec![0; 1000], None);
        let write = || Packet::Publish(publish.clone()).write(&mut BytesMut::new(), Some(600)).expect_err("too large");
        use ConnectReturnCode as C;
        use DisconnectReasonCode as D;
        for (fault, says) in [
            (refused(C::BadUserNamePassword), "bad user name or password (reason code 0x86); check the user"),
            (refused(C::NotAuthorized), "not authorised (reason code 0x87); check the user"),
            (refused(C::UnsupportedProtocolVersion), "does not speak MQTT 5"),
            (refused(C::QuotaExceeded), "does not admit this client: quota exceeded"),
            (ended(D::NotAuthorized), "ended the connection: not authorised (reason code 0x87)"),
            (ended(D::AdministrativeAction), "administrative action (reason code 0x98)"),
            (ended(D::PacketTooLarge), "max_packet_size"),
            (unread, "packet too large (reason code 0x95)"),
            (of_state(StateError::Deserialization(write())), "takes packets of at most 600 bytes"),
            (of_state(StateError::from(write())), "takes packets of at most 600 bytes"),
        ] {
            let Fault::Refused(refusal) = fault else { panic!("{says}: {fault:?}") };
            assert!(refusal.said.contains(says), "{says}: {refusal:?}");
        }
        for fault in [
            refused(C::ServerBusy),
            refused(C::ServerUnavailable),
            ended(D::ServerShuttingDown),
            Fault::of_connection(&ConnectionError::Io(std::io::ErrorKind::ConnectionRefused.into())),
        ] {
            assert!(matches!(fault, Fault::Away(_)), "{fault:?}");
        }
    }
}
