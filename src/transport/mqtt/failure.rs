//! Why a connection ended, in a sentence that names the way out.

use linnet_proto::words::{MAX_SENTENCE_CHARS, plain};
use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError};

use super::bounds::CONNECT_TIMEOUT_SECS;

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As it was meant to.
    Closed,
    /// Lost or refused.
    Lost(String),
    /// The broker ended it without a word.
    Dropped(String),
    /// Another client took the session over.
    TakenOver,
    /// The broker sent a packet that cannot be read, after it had spoken MQTT before.
    Malformed(String),
}

impl End {
    /// The end that `error` is. `connected` says whether CONNACK had come.
    pub(super) fn of(error: &ConnectionError, connected: bool) -> Self {
        use ConnectionError as E;
        if let E::MqttState(StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::SessionTakenOver, ..
        }) = error
        {
            return Self::TakenOver;
        }
        match error {
            E::MqttState(StateError::Deserialization(PacketError::Io(e))) if connected => {
                return Self::Dropped(e.to_string());
            }
            // rumqttc cannot read a DISCONNECT without a reason, which is a normal end.
            E::MqttState(StateError::Deserialization(PacketError::PayloadRequired) | StateError::ConnectionAborted)
                if connected =>
            {
                return Self::Dropped("the broker closed the connection".into());
            }
            _ => {}
        }
        Self::Lost(match error {
            E::MqttState(StateError::Deserialization(PacketError::Io(e))) => e.to_string(),
            E::MqttState(StateError::Deserialization(e)) if connected => {
                return Self::Malformed(match e {
                    PacketError::PayloadSizeLimitExceeded { pkt_size, max } => {
                        format!("the broker sent a packet of {pkt_size} bytes although at most {max} were asked for")
                    }
                    e => format!("the broker sent a packet that cannot be read: {e}"),
                });
            }
            E::MqttState(StateError::Deserialization(e)) => no_broker(e),
            E::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
                disconnected(*reason_code, reason_string.as_deref())
            }
            E::MqttState(StateError::ConnectionAborted) => "the broker closed the connection".into(),
            E::MqttState(StateError::AwaitPingResp) => "the broker does not answer pings".into(),
            E::Timeout(_) => format!("no MQTT answer within {CONNECT_TIMEOUT_SECS} s"),
            E::ConnectionRefused(code) => refused(*code),
            E::NotConnAck(_) => no_broker(&"another packet than CONNACK came first"),
            E::ResponseValidation(e) => format!("the WebSocket server does not speak MQTT: {e}"),
            E::Io(e) => e.to_string(),
            other => other.to_string(),
        })
    }
}

impl End {
    /// For who waits for something over the connection: one sentence.
    pub(super) fn in_words(self) -> String {
        match self {
            Self::Closed => "the broker closed the connection".into(),
            Self::TakenOver => "another client with this device's client id took the connection over".into(),
            // The system's own words do not say what was not reached.
            Self::Lost(reason) | Self::Dropped(reason) if !reason.contains("broker") && !reason.contains("MQTT") => {
                format!("the broker is not reached: {reason}")
            }
            Self::Lost(reason) | Self::Dropped(reason) | Self::Malformed(reason) => reason,
        }
    }
}

fn no_broker(cause: &dyn std::fmt::Display) -> String {
    format!("what answers there does not speak MQTT 5 ({cause}); check mqtt.url")
}

fn refused(code: ConnectReturnCode) -> String {
    use ConnectReturnCode as C;
    match code {
        C::BadUserNamePassword | C::NotAuthorized => format!(
            "the broker refuses the connection ({code:?}); check mqtt.username, mqtt.password_file and the broker's ACL"
        ),
        C::UnsupportedProtocolVersion | C::RefusedProtocolVersion => {
            "the broker does not speak MQTT 5, which linnetd needs (Mosquitto does from 1.6 on)".into()
        }
        C::ClientIdentifierNotValid | C::BadClientId => "the broker refuses mqtt.client_id".into(),
        other => format!("the broker refuses the connection: {other:?}"),
    }
}

fn disconnected(code: DisconnectReasonCode, reason: Option<&str>) -> String {
    match reason {
        // It comes to the log, the status and the reports of sources, and a broker may send 64 KiB of anything.
        Some(reason) => {
            format!("the broker closed the connection: {code:?}, {}", plain(reason, MAX_SENTENCE_CHARS))
        }
        None => format!("the broker closed the connection: {code:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreadable(e: PacketError) -> ConnectionError {
        ConnectionError::MqttState(StateError::Deserialization(e))
    }

    #[test]
    fn nonsense_before_connack_is_no_broker_and_after_it_a_malformed_packet() {
        let End::Lost(reason) = End::of(&unreadable(PacketError::InvalidPacketType(0)), false) else { panic!("lost") };
        assert!(reason.contains("does not speak MQTT 5"), "{reason}");
        let large = || unreadable(PacketError::PayloadSizeLimitExceeded { pkt_size: 9, max: 5 });
        assert!(matches!(End::of(&large(), true), End::Malformed(_)));
        assert!(matches!(End::of(&unreadable(PacketError::PayloadRequired), true), End::Dropped(_)));
        let broken_pipe = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(matches!(End::of(&unreadable(PacketError::Io(broken_pipe)), true), End::Dropped(_)));
    }

    #[test]
    fn a_session_that_another_takes_over_is_told_from_any_other_end() {
        let ended =
            |reason_code| ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string: None });
        assert_eq!(End::of(&ended(DisconnectReasonCode::SessionTakenOver), true), End::TakenOver);
        assert!(matches!(End::of(&ended(DisconnectReasonCode::ServerShuttingDown), true), End::Lost(_)));
    }

    #[test]
    fn the_brokers_own_words_are_cut_and_move_no_cursor() {
        let own = format!("full\u{1b}]0;owned\u{7}\u{202e}{}", "x".repeat(60_000));
        let ended =
            StateError::ServerDisconnect { reason_code: DisconnectReasonCode::QuotaExceeded, reason_string: Some(own) };
        let said = End::of(&ConnectionError::MqttState(ended), true).in_words();
        assert!(said.contains("QuotaExceeded, full]0;ownedxx") && said.len() < 300, "{said}");
        assert!(!said.chars().any(|c| c.is_control() || c == '\u{202e}'), "{said:?}");
    }

    #[test]
    fn an_end_is_told_in_one_sentence_that_names_the_broker_once() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        for error in [
            ConnectionError::Io(refused),
            ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized),
            ConnectionError::MqttState(StateError::ConnectionAborted),
            ConnectionError::MqttState(StateError::AwaitPingResp),
            ConnectionError::RequestsDone,
        ] {
            let said = End::of(&error, true).in_words();
            assert!((1..=2).contains(&said.matches("broker").count()) && said.starts_with("the broker "), "{said}");
        }
    }

    #[test]
    fn a_refusal_names_the_setting_to_look_at() {
        for (code, says) in [
            (ConnectReturnCode::NotAuthorized, "mqtt.password_file"),
            (ConnectReturnCode::UnsupportedProtocolVersion, "MQTT 5"),
            (ConnectReturnCode::ServerBusy, "ServerBusy"),
        ] {
            let End::Lost(reason) = End::of(&ConnectionError::ConnectionRefused(code), false) else { panic!("lost") };
            assert!(reason.contains(says), "{reason}");
        }
    }
}
