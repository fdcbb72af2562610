//! What the daemon's own client says of its settings, in the words of this command's options: it reads no configuration.

use crate::transport::mqtt::MqttStartError;

/// Keys of the configuration, and the option that stands for each. The longer of two that begin alike comes first.
const OPTIONS: [(&str, &str); 6] = [
    ("mqtt.url = ", "--broker "),
    ("mqtt.url", "--broker"),
    ("mqtt.username", "--user"),
    ("mqtt.password_file", "--password-file"),
    ("mqtt.ca_file", "--ca-file"),
    ("mqtt.client_id", "the client ids of this run (linnet-…)"),
];

/// `said` with options in the place of keys.
pub(super) fn in_options(said: &str) -> String {
    OPTIONS.iter().fold(said.to_owned(), |said, (key, option)| said.replace(key, option))
}

/// Why the settings cannot be used.
pub(super) fn of_settings(error: &MqttStartError) -> String {
    match error {
        MqttStartError::Read { .. } | MqttStartError::Password { .. } => format!("--password-file {error}"),
        MqttStartError::Tls { .. } => format!("--ca-file {error}"),
        error => in_options(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::ConnectionError;
    use rumqttc::v5::mqttbytes::v5::ConnectReturnCode;

    use super::*;
    use crate::transport::mqtt::why_ended;

    #[test]
    fn what_a_broker_refuses_is_told_by_the_options_that_can_be_given() {
        for code in [
            ConnectReturnCode::NotAuthorized,
            ConnectReturnCode::BadUserNamePassword,
            ConnectReturnCode::ClientIdentifierNotValid,
            ConnectReturnCode::ServerBusy,
        ] {
            let said = in_options(&why_ended(&ConnectionError::ConnectionRefused(code), false));
            assert!(!said.contains("mqtt."), "{said}");
        }
        let refused = ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized);
        let said = in_options(&why_ended(&refused, false));
        assert!(said.contains("check --user, --password-file and the broker's ACL"), "{said}");
    }

    #[test]
    fn settings_that_cannot_be_used_are_told_by_their_options() {
        let path = || std::path::PathBuf::from("/p");
        let reason = "holds a user name; set mqtt.username and mqtt.password_file instead".to_owned();
        for (error, says) in [
            (
                MqttStartError::Url { url: "mqtt://h".into(), reason },
                "--broker \"mqtt://h\" holds a user name; set --user and --password-file",
            ),
            (
                MqttStartError::NoAuthorities("mqtts://h".into()),
                "--broker \"mqtts://h\" needs --ca-file: the authorities",
            ),
            (
                MqttStartError::Read { path: path(), source: std::io::ErrorKind::NotFound.into() },
                "--password-file /p: ",
            ),
            (
                MqttStartError::Password { path: path(), reason: "the password is empty" },
                "--password-file /p: the password",
            ),
            (MqttStartError::Tls { path: path(), reason: "no PEM".into() }, "--ca-file /p: no PEM"),
        ] {
            let said = of_settings(&error);
            assert!(said.starts_with(says) && !said.contains("mqtt."), "{said}");
        }
    }
}
