//! The demo's in-process MQTT broker, on a free port of the loopback interface.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

use super::DemoError;

/// Largest message: an hour of compressed speech fits.
const MAX_PAYLOAD_BYTES: usize = 64 << 20;

/// Starts the broker on threads of its own, which end with the process; gives its port once it listens.
pub fn start() -> Result<u16, DemoError> {
    let port = free_port()?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let server = ServerSettings {
        name: "demo-broker".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections: ConnectionSettings {
            connection_timeout_ms: 60_000,
            max_payload_size: MAX_PAYLOAD_BYTES,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    let config = Config {
        router: RouterConfig {
            max_connections: 16,
            max_outgoing_packet_count: 200,
            max_segment_size: 16 << 20,
            max_segment_count: 10,
            ..RouterConfig::default()
        },
        v5: Some(HashMap::from([("demo".to_owned(), server)])),
        ..Config::default()
    };
    std::thread::Builder::new()
        .name("demo-broker".to_owned())
        .spawn(move || {
            if let Err(e) = Broker::new(config).start() {
                eprintln!("the demo's MQTT broker ended: {e}");
            }
        })
        .map_err(|e| DemoError::Start(format!("the demo's MQTT broker did not start: {e}")))?;

    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect_timeout(&listen, Duration::from_millis(200)).is_err() {
        if Instant::now() > until {
            return Err(DemoError::Start(format!("the demo's MQTT broker does not listen on {listen}")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(port)
}

fn free_port() -> Result<u16, DemoError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|e| DemoError::Start(format!("no free port on the loopback interface: {e}")))
}
