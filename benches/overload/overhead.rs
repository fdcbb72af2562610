//! The time of a request less the time of its inference, as the answer tells it.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use linnet_proto::Transcript;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::time::timeout;

use super::connection::Connection;
use super::harness::{Daemon, Mosquitto, PATIENCE};
use super::percentile;

/// Requests that are not counted: caches fill.
const WARM_UP: usize = 20;
/// Requests that are.
const COUNTED: usize = 200;

const DEVICE: &str = "bench";
const RESPONSE_TOPIC: &str = "linnet/bench-client/response/1";
const MAX_PACKET_BYTES: u32 = 16 << 20;

/// Milliseconds.
pub struct Overhead {
    pub n: usize,
    pub p50: f64,
    pub p99: f64,
}

fn of(mut times: Vec<f64>) -> Overhead {
    let p50 = percentile(&mut times, 0.5);
    Overhead { n: times.len(), p50, p99: percentile(&mut times, 0.99) }
}

fn beyond(body: &[u8], took: Duration) -> Result<f64, String> {
    let heard: Transcript =
        serde_json::from_slice(body).map_err(|e| format!("{e}: {}", String::from_utf8_lossy(body)))?;
    Ok(took.as_secs_f64() * 1e3 - heard.inference_ms)
}

/// Over one connection to the socket, one request after the other.
pub async fn over_socket(socket: &Path, clip: &[u8]) -> Result<Overhead, String> {
    let mut connection = Connection::new(socket);
    let mut times = Vec::with_capacity(COUNTED);
    for i in 0..WARM_UP + COUNTED {
        let began = Instant::now();
        let answer = connection.transcribe(clip).await?;
        let took = began.elapsed();
        let beyond = beyond(&answer.body, took)?;
        if i >= WARM_UP {
            times.push(beyond);
        }
    }
    Ok(of(times))
}

/// Through a real broker; `None` where there is no Mosquitto.
pub fn over_mqtt(runtime: &tokio::runtime::Runtime, models: &Path, clip: &[u8]) -> Result<Option<Overhead>, String> {
    let Some(broker) = Mosquitto::start_with("the overhead over MQTT", "set_tcp_nodelay true") else { return Ok(None) };
    let config = format!("device = \"{DEVICE}\"\n[mqtt]\nurl = \"{}\"\n", broker.url());
    let _daemon = Daemon::builder().models(models).config(config).start();
    runtime.block_on(ask_over_mqtt(broker.port(), clip)).map(Some)
}

async fn ask_over_mqtt(port: u16, clip: &[u8]) -> Result<Overhead, String> {
    let mut options = MqttOptions::new("linnet-bench-client", "127.0.0.1", port);
    options.set_max_packet_size(Some(MAX_PACKET_BYTES));
    let mut network = options.network_options();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    let (client, mut events) = AsyncClient::new(options, 16);
    client.subscribe(RESPONSE_TOPIC, QoS::AtLeastOnce).await.map_err(|e| e.to_string())?;
    client.subscribe(format!("linnet/{DEVICE}/status"), QoS::AtLeastOnce).await.map_err(|e| e.to_string())?;
    // The retained status tells that the daemon listens.
    until(&mut events, |packet| matches!(packet, Packet::Publish(p) if p.topic.ends_with(b"status")).then_some(()))
        .await?;
    let clip = Bytes::copy_from_slice(clip);
    let mut times = Vec::with_capacity(COUNTED);
    for i in 0..WARM_UP + COUNTED {
        let correlation = Bytes::from(format!("bench-{i}"));
        let properties = PublishProperties {
            response_topic: Some(RESPONSE_TOPIC.to_owned()),
            correlation_data: Some(correlation.clone()),
            content_type: Some("audio/wav".to_owned()),
            ..PublishProperties::default()
        };
        let began = Instant::now();
        let topic = format!("linnet/{DEVICE}/request/transcribe");
        client
            .publish_with_properties(topic, QoS::AtLeastOnce, false, clip.clone(), properties)
            .await
            .map_err(|e| e.to_string())?;
        let payload = until(&mut events, |packet| match packet {
            Packet::Publish(p)
                if p.properties.as_ref().is_some_and(|p| p.correlation_data.as_ref() == Some(&correlation)) =>
            {
                Some(p.payload)
            }
            _ => None,
        })
        .await?;
        let beyond = beyond(&payload, began.elapsed())?;
        if i >= WARM_UP {
            times.push(beyond);
        }
    }
    Ok(of(times))
}

async fn until<T>(events: &mut EventLoop, wanted: impl Fn(Packet) -> Option<T>) -> Result<T, String> {
    let found = async {
        loop {
            if let Event::Incoming(packet) = events.poll().await.map_err(|e| e.to_string())?
                && let Some(found) = wanted(packet)
            {
                return Ok(found);
            }
        }
    };
    timeout(PATIENCE, found).await.map_err(|_| "the broker or the daemon is silent".to_owned())?
}
