//! The demo's MQTT client: a request with response topic and correlation data, and its answer.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

use hyper::body::Bytes;
use linnet_proto::{ErrorBody, Transcript};

use super::{ANSWER_TIMEOUT, DemoError};

const RESPONSE_TOPIC: &str = "linnet/demo-client/response/1";
const CORRELATION: &[u8] = b"demo-1";
/// rumqttc's own default of 10 KiB would refuse most recordings.
const MAX_PACKET_BYTES: u32 = 64 << 20;

fn failed(reason: impl ToString) -> DemoError {
    DemoError::Answer { transport: "MQTT", reason: reason.to_string() }
}

/// Publishes the recording to the daemon and reads the transcript.
pub async fn transcribe(broker_port: u16, audio: Vec<u8>) -> Result<Transcript, DemoError> {
    tokio::time::timeout(ANSWER_TIMEOUT, exchange(broker_port, audio))
        .await
        .map_err(|_| failed(format!("none came within {ANSWER_TIMEOUT:?}")))?
}

async fn exchange(broker_port: u16, audio: Vec<u8>) -> Result<Transcript, DemoError> {
    let mut options = MqttOptions::new("linnet-demo-client", "127.0.0.1", broker_port);
    options.set_max_packet_size(Some(MAX_PACKET_BYTES));
    let (client, mut events) = AsyncClient::new(options, 4);
    client.subscribe(RESPONSE_TOPIC, QoS::AtLeastOnce).await.map_err(failed)?;
    wait_for(&mut events, |packet| matches!(packet, Packet::SubAck(_)).then_some(())).await?;

    let properties = PublishProperties {
        response_topic: Some(RESPONSE_TOPIC.to_owned()),
        correlation_data: Some(Bytes::from_static(CORRELATION)),
        content_type: Some("application/octet-stream".to_owned()),
        ..PublishProperties::default()
    };
    client
        .publish_with_properties("linnet/demo/request/transcribe", QoS::AtLeastOnce, false, audio, properties)
        .await
        .map_err(failed)?;
    let payload = wait_for(&mut events, |packet| match packet {
        Packet::Publish(publish)
            if publish.properties.as_ref().and_then(|p| p.correlation_data.as_deref()) == Some(CORRELATION) =>
        {
            Some(publish.payload)
        }
        _ => None,
    })
    .await?;
    match serde_json::from_slice::<Transcript>(&payload) {
        Ok(transcript) => Ok(transcript),
        Err(e) => Err(match serde_json::from_slice::<ErrorBody>(&payload) {
            Ok(refused) => failed(refused.error.message),
            Err(_) => failed(e),
        }),
    }
}

async fn wait_for<T>(events: &mut EventLoop, wanted: impl Fn(Packet) -> Option<T>) -> Result<T, DemoError> {
    loop {
        if let Event::Incoming(packet) = events.poll().await.map_err(failed)?
            && let Some(found) = wanted(packet)
        {
            return Ok(found);
        }
    }
}
