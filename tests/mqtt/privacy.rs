//! No word of what anybody says, or favours as a hot word, is logged at info level. (Over HTTP: `tests/privacy.rs`.)

use base64::Engine;
use linnet_proto::ErrorCode;
use rumqttc::v5::mqttbytes::v5::PublishProperties;

use crate::client::MqttClient;
use crate::fixture::{heard, refusal, reply_to};
use crate::harness::privacy::{SECRETS, assert_none_logged, secret};
use crate::harness::{Daemon, Mosquitto, audio, eventually, sample};

const REQUEST: &str = "linnet/kitchen/request/transcribe";
const ANSWERS: &str = "linnet/me/response/1";

/// Properties of a request with hot words and another option.
fn with(name: &str, value: &str, correlation: &str) -> PublishProperties {
    let mut properties = reply_to(ANSWERS, correlation);
    properties.user_properties = vec![("prompt".into(), secret()), (name.into(), value.into())];
    properties
}

fn json(properties: PublishProperties) -> PublishProperties {
    PublishProperties { content_type: Some("application/json".into()), ..properties }
}

#[test]
fn no_word_of_a_request_over_mqtt_is_logged() {
    let test = "no_word_of_a_request_over_mqtt_is_logged";
    let Some(broker) = Mosquitto::start(test) else { return };
    let config = format!("device = \"kitchen\"\n[mqtt]\nurl = \"{}\"\n", broker.url());
    let daemon = Daemon::builder().config(config).variable("RUST_LOG", "trace").start();
    let is_up = || (daemon.get("/v1/status").json()["mqtt"] == "up").then_some(());
    eventually("the link is up", is_up);
    let client = MqttClient::connect(broker.port(), "me", "linnet/me/response/#");

    client.publish(REQUEST, sample(), with("beam_width", "8", "heard"));
    let encoded = base64::engine::general_purpose::STANDARD.encode(sample());
    let object = serde_json::json!({ "audio": encoded, "prompt": secret(), "beam_width": 8, "format": "linnet_json" });
    client.publish(REQUEST, object.to_string(), json(reply_to(ANSWERS, "heard as JSON")));
    let answered = ["heard", "heard as JSON"].map(str::to_owned);
    client.wait_for_answers(&answered);
    let texts: Vec<String> = answered.iter().map(|name| heard(&client.answers()[name][0])).collect();
    assert!(texts.iter().all(|text| !text.is_empty()));

    let quoted = serde_json::json!({ "audio": 7, "prompt": secret() }).to_string();
    let unknown = serde_json::json!({ "audio": "UklG", SECRETS[0]: secret() }).to_string();
    let words = serde_json::json!(secret()).to_string();
    let refused: Vec<(&str, Vec<u8>, PublishProperties, ErrorCode)> = vec![
        ("a bad option", sample(), with("beam_width", "0", ""), ErrorCode::InvalidOption),
        ("a bad priority", sample(), with("priority", SECRETS[0], ""), ErrorCode::InvalidOption),
        ("an unknown option", sample(), with(SECRETS[0], "1", ""), ErrorCode::InvalidOption),
        ("an unknown model", sample(), with("model", SECRETS[0], ""), ErrorCode::UnknownModel),
        ("another language", sample(), with("language", SECRETS[0], ""), ErrorCode::UnsupportedTask),
        ("words as audio", secret().into_bytes(), with("format", "text", ""), ErrorCode::UnsupportedMedia),
        ("a sentence as JSON", words.into_bytes(), json(reply_to(ANSWERS, "")), ErrorCode::InvalidRequest),
        ("no text as audio", quoted.into_bytes(), json(reply_to(ANSWERS, "")), ErrorCode::InvalidRequest),
        ("an unknown key", unknown.into_bytes(), json(reply_to(ANSWERS, "")), ErrorCode::InvalidOption),
        (
            "half an object",
            format!("{{\"audio\": \"{}", secret()).into_bytes(),
            reply_to(ANSWERS, ""),
            ErrorCode::InvalidRequest,
        ),
    ];
    let names: Vec<String> = refused.iter().map(|(what, ..)| (*what).to_owned()).collect();
    let wanted: Vec<ErrorCode> = refused.iter().map(|(.., code)| *code).collect();
    for (what, payload, properties, _) in refused {
        let correlation_data = Some(what.as_bytes().to_vec().into());
        client.publish(REQUEST, payload, PublishProperties { correlation_data, ..properties });
    }
    client.wait_for_answers(&names);
    let answers = client.answers();
    for (name, code) in names.iter().zip(wanted) {
        assert_eq!(refusal(&answers[name][0]), code, "{name}");
    }
    // Those that nobody can be answered for are told, too.
    client.publish(REQUEST, secret(), PublishProperties::default());
    client.publish_retained(REQUEST, secret(), with("format", "text", "retained"));
    daemon.wait_for_log("nobody can be answered");
    daemon.wait_for_log("a retained request is ignored");

    let spoken = std::fs::read_to_string(audio("sample.txt")).expect("what was spoken");
    let log = daemon.stop().log;
    assert!(log.matches(" refused: ").count() + log.matches(" ended with ").count() >= names.len(), "{log}");
    assert_none_logged(&log, texts.iter().map(String::as_str).chain([spoken.as_str()]));
}
