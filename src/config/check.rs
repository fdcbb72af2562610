//! Raw to checked: the rules between keys, and what stands in for a key without a fixed default.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use linnet_features::audio::AudioLimits;
use linnet_proto::fleet::RESERVED_DEVICES;
use linnet_proto::topic::DeviceName;

use super::document::Values;
use super::error::{ConfigError, Fault};
use super::fleet::{ClockTrust, FleetSettings, FleetSource, ProbeSettings, ProvisionSettings};
use super::identity::{IDENTITY_DIR, Identity};
use super::keys::{MQTT_SOURCE, parse_mode};
use super::raw::{Raw, RawFleet, RawHttp, RawLimits, RawMqtt};
use super::transport::{HttpSettings, HttpTcpSettings, IntakeSettings, MqttSettings, TlsFiles};
use super::{Config, MemorySettings, OWN_MODELS, Origin, Scheduling, Surroundings};
use crate::limits::{MAX_AUTO_WORKERS, MAX_SOCKET_PATH_BYTES};

/// Collects faults; a rule that fails still gives a value, so that one run names every fault.
struct Checker<'a> {
    values: &'a Values,
    faults: Vec<Fault>,
}

impl Checker<'_> {
    fn fault(&mut self, key: &str, message: impl Into<String>) {
        self.faults.push(Fault { place: self.values.place(key), key: key.to_owned(), message: message.into() });
    }

    /// Two keys that need each other.
    fn pair(&mut self, section: &str, cert: (&str, Option<PathBuf>), key: (&str, Option<PathBuf>)) -> Option<TlsFiles> {
        let path = |name: &str| format!("{section}.{name}");
        match (cert.1, key.1) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            (Some(_), None) => {
                self.fault(&path(cert.0), format!("needs {} beside it", path(key.0)));
                None
            }
            (None, Some(_)) => {
                self.fault(&path(key.0), format!("needs {} beside it", path(cert.0)));
                None
            }
        }
    }
}

/// Checks the layered values, which come from `origin`.
pub(super) fn check(values: Values, origin: Origin, around: &Surroundings) -> Result<Config, ConfigError> {
    let mut c = Checker { values: &values, faults: Vec::new() };
    let raw: Raw = match values.to_table().try_into() {
        Ok(raw) => raw,
        Err(e) => {
            // Every value has passed its key's rule, so only a table of keys that disagrees with `Raw` leads here.
            c.fault("", e.message().to_owned());
            return Err(ConfigError::Faults(c.faults));
        }
    };
    let device = device(&mut c, &raw, around);
    let state_dir = raw.state.clone().unwrap_or_else(|| around.state.clone());
    let scheduler = Scheduling {
        workers: match raw.scheduler.workers {
            0 => around.processors.clamp(1, MAX_AUTO_WORKERS),
            workers => workers,
        },
        queue_length: raw.scheduler.queue_length,
        stuck_after: Duration::from_secs(raw.scheduler.stuck_after_secs),
        drain: Duration::from_secs(raw.scheduler.drain_secs),
    };
    let socket = raw.socket.clone().unwrap_or_else(|| around.socket.clone());
    let http = http(&mut c, &raw.http, socket);
    let intake = intake(&mut c, &raw.limits, raw.http.default_timeout_secs);
    let provision = provision(&c, &raw, &origin.identity, &device, &state_dir);
    // Under the host's name, or another image's, it would take somebody else's place.
    let mqtt =
        mqtt(&mut c, &raw.mqtt, &device, scheduler.queue_length, state_dir.clone()).filter(|_| provision.is_none());
    let mqtt_default = Duration::from_secs(raw.mqtt.default_timeout_secs);
    let mqtt_intake = IntakeSettings { default_timeout: mqtt_default, ..intake.clone() };
    for key in ["http.default_timeout_secs", "mqtt.default_timeout_secs"] {
        let default = values.get(key).and_then(toml::Value::as_integer).and_then(|n| u64::try_from(n).ok());
        if default.is_some_and(|secs| secs > raw.limits.max_timeout_secs) {
            c.fault(key, format!("at most limits.max_timeout_secs, which is {}", raw.limits.max_timeout_secs));
        }
    }
    let fleet = match &provision {
        Some(_) => None,
        None => fleet(&mut c, &raw.fleet, mqtt.is_some()),
    };
    let log = raw.log.parse().unwrap_or(log::LevelFilter::Info);
    let faults = c.faults;
    if !faults.is_empty() {
        return Err(ConfigError::Faults(faults));
    }
    let mut models = raw.models.unwrap_or_else(|| {
        // What was added on this device goes before what was installed with the program. The first `linnet models add` makes
        // the directory, and a daemon that serves already must look there.
        std::iter::once(state_dir.join(OWN_MODELS)).chain(around.models.iter().cloned()).collect()
    });
    if let Some(packages) = origin.generation.as_ref().and_then(|generation| generation.packages.clone()) {
        // Behind what was added on this device, before what was installed with the program.
        let bundled = models.iter().position(|dir| Some(dir) == around.models.as_ref());
        models.insert(bundled.unwrap_or(models.len()), packages);
    }
    let default_model = raw.default_model;
    let (defaults, aliases) = (raw.defaults, raw.aliases.unwrap_or_default());
    let memory = MemorySettings {
        dtype: raw.dtype.filter(|dtype| dtype != "auto"),
        preload: raw.preload,
        pinned: raw.pinned,
        limit_bytes: raw.memory_limit_mib << 20,
        idle_unload: Duration::from_secs(raw.idle_unload_secs),
    };
    Ok(Config {
        origin,
        device,
        models,
        default_model,
        defaults,
        aliases,
        memory,
        state_dir,
        log,
        http,
        intake,
        mqtt,
        mqtt_intake,
        scheduler,
        fleet,
        provision,
        values,
    })
}

/// What a device without a name does about it.
fn provision(
    c: &Checker<'_>,
    raw: &Raw,
    identity: &Identity,
    device: &str,
    state_dir: &Path,
) -> Option<ProvisionSettings> {
    let Identity::Claimed(damaged) = identity else { return None };
    // The broker stands in the claim; what else a connection needs is as this file has it.
    let open = RawMqtt {
        url: Some(NO_BROKER.to_owned()),
        client_cert: None,
        client_key: None,
        ca_file: None,
        username: None,
        password_file: None,
        ..raw.mqtt.clone()
    };
    // The same rules are broken again where `[mqtt]` itself is checked, which tells them.
    let mut told_there = Checker { values: c.values, faults: Vec::new() };
    Some(ProvisionSettings {
        claim: raw.fleet.claim.clone()?,
        identity: state_dir.join(IDENTITY_DIR),
        wanted: raw.device.clone().or(raw.mqtt.device.clone()),
        damaged: damaged.clone(),
        link: mqtt(&mut told_there, &open, device, raw.scheduler.queue_length, state_dir.to_owned())?,
    })
}

/// Stands for the broker of a claim that has not been read.
const NO_BROKER: &str = "mqtt://localhost";

fn fleet(c: &mut Checker<'_>, raw: &RawFleet, has_broker: bool) -> Option<FleetSettings> {
    let name = raw.name.clone()?;
    if raw.root.is_none() {
        c.fault("fleet.name", "needs fleet.root beside it: the `root.json` that the fleet's operator gave out");
    }
    if raw.sources.iter().any(|source| source == MQTT_SOURCE) && !has_broker {
        c.fault(
            "fleet.sources",
            "names \"mqtt\", but mqtt.url is not set: set it, or name a URL or a directory instead",
        );
    }
    let source = |source: &String| match source.as_str() {
        MQTT_SOURCE => FleetSource::Mqtt,
        url if url.contains("://") => FleetSource::Http(url.trim_end_matches('/').to_owned()),
        path => FleetSource::Directory(PathBuf::from(path)),
    };
    Some(FleetSettings {
        name,
        root: raw.root.clone().unwrap_or_default(),
        sources: raw.sources.iter().map(source).collect(),
        ca_file: raw.ca_file.clone(),
        groups: raw.groups.clone(),
        labels: raw.labels.clone().unwrap_or_default(),
        refresh: Duration::from_secs(raw.refresh_secs),
        trial: Duration::from_secs(raw.trial_secs),
        probe: ProbeSettings {
            time: Duration::from_secs(raw.probe_secs),
            memory_mib: Some(raw.probe_memory_mib).filter(|mib| *mib > 0),
            drained: raw.drained_probe,
        },
        allow_local_keys: raw.allow_local_keys.clone(),
        clock: match raw.clock.as_str() {
            "always" => ClockTrust::Always,
            "never" => ClockTrust::Never,
            _ => ClockTrust::Kernel,
        },
    })
}

fn device(c: &mut Checker<'_>, raw: &Raw, around: &Surroundings) -> String {
    if let (Some(top), Some(inner)) = (&raw.device, &raw.mqtt.device)
        && top != inner
    {
        c.fault("mqtt.device", format!("the device is named {top:?} at the top of the file; name it once"));
    }
    let given = raw.device.as_ref().or(raw.mqtt.device.as_ref()).unwrap_or(&around.device);
    if RESERVED_DEVICES.contains(&given.as_str()) {
        // The key that gave it, which may be either.
        let key = if raw.device.is_some() || raw.mqtt.device.is_none() { "device" } else { "mqtt.device" };
        c.fault(key, format!("{given:?} is a reserved name: topics of all devices go under it; choose another"));
    }
    match DeviceName::new(given.as_str()) {
        Ok(device) => device.as_str().to_owned(),
        Err(e) => {
            c.fault("device", e.to_string());
            given.clone()
        }
    }
}

fn http(c: &mut Checker<'_>, raw: &RawHttp, socket: PathBuf) -> HttpSettings {
    if socket.as_os_str().len() > MAX_SOCKET_PATH_BYTES {
        c.fault(
            "socket",
            format!("the path of a socket has at most {MAX_SOCKET_PATH_BYTES} bytes; choose a shorter one"),
        );
    }
    let tls = c.pair("http", ("tls_cert", raw.tls_cert.clone()), ("tls_key", raw.tls_key.clone()));
    let address = raw.tcp.as_ref().and_then(|tcp| tcp.parse::<SocketAddr>().ok());
    let tcp = address.and_then(|address| {
        let exposed = !address.ip().to_canonical().is_loopback();
        if exposed && tls.is_none() && !raw.insecure_plaintext {
            let message = format!(
                "{address} is reachable from other machines: set tls_cert and tls_key, or insecure_plaintext = true, or \
                 listen on 127.0.0.1"
            );
            c.fault("http.tcp", message);
        }
        let Some(token_file) = raw.token_file.clone() else {
            c.fault("http.tcp", "TCP always needs a bearer token: set http.token_file, a file that holds one");
            return None;
        };
        Some(HttpTcpSettings { address, token_file, tls, insecure_plaintext: raw.insecure_plaintext })
    });
    HttpSettings {
        socket,
        // The key's own rule has passed; the fallback is the strictest.
        socket_mode: parse_mode(&raw.socket_mode).unwrap_or(0o600),
        socket_group: raw.socket_group.clone(),
        tcp,
        max_connections: raw.max_connections,
        header_timeout: Duration::from_secs(raw.header_timeout_secs),
        idle_timeout: Duration::from_secs(raw.idle_timeout_secs),
    }
}

fn intake(c: &mut Checker<'_>, raw: &RawLimits, default_timeout_secs: u64) -> IntakeSettings {
    if raw.max_upload_total_mib < raw.max_upload_mib {
        c.fault(
            "limits.max_upload_total_mib",
            format!("at least limits.max_upload_mib, which is {}", raw.max_upload_mib),
        );
    }
    if raw.max_sample_rate_hz < raw.min_sample_rate_hz {
        c.fault(
            "limits.max_sample_rate_hz",
            format!("at least limits.min_sample_rate_hz, which is {}", raw.min_sample_rate_hz),
        );
    }
    IntakeSettings {
        max_upload_bytes: raw.max_upload_mib << 20,
        max_upload_total_bytes: raw.max_upload_total_mib << 20,
        audio: AudioLimits {
            max_secs: f64::from(raw.max_audio_secs),
            min_rate: raw.min_sample_rate_hz,
            max_rate: raw.max_sample_rate_hz,
            max_channels: raw.max_channels,
        },
        default_timeout: Duration::from_secs(default_timeout_secs),
        max_timeout: Duration::from_secs(raw.max_timeout_secs),
    }
}

/// Longest text that an MQTT packet can hold, bytes (section 1.5.4).
const MAX_MQTT_TEXT_BYTES: usize = 65_535;

fn mqtt(
    c: &mut Checker<'_>,
    raw: &RawMqtt,
    device: &str,
    queue_length: usize,
    state_dir: PathBuf,
) -> Option<MqttSettings> {
    let client_cert = c.pair("mqtt", ("client_cert", raw.client_cert.clone()), ("client_key", raw.client_key.clone()));
    for (key, text) in [("mqtt.client_id", &raw.client_id), ("mqtt.username", &raw.username)] {
        if text.as_ref().is_some_and(|text| text.len() > MAX_MQTT_TEXT_BYTES) {
            c.fault(
                key,
                format!("at most {MAX_MQTT_TEXT_BYTES} bytes, which is all that MQTT can say; choose a shorter one"),
            );
        }
    }
    let backoff = (Duration::from_millis(raw.backoff_first_ms), Duration::from_secs(raw.backoff_longest_secs));
    if backoff.0 > backoff.1 {
        c.fault("mqtt.backoff_longest_secs", "at least as long as mqtt.backoff_first_ms");
    }
    // Both ends are within `u16`: the queue has at most 32,768 places.
    let receive_maximum = raw
        .receive_maximum
        .unwrap_or_else(|| u16::try_from(queue_length.saturating_mul(2)).unwrap_or(u16::MAX).max(16));
    if usize::from(receive_maximum) <= queue_length {
        let message =
            format!("above scheduler.queue_length, which is {queue_length}, so that what is too much is refused");
        c.fault("mqtt.receive_maximum", message);
    }
    let url = raw.url.clone()?;
    let encrypted = url.starts_with("mqtts://") || url.starts_with("wss://");
    if encrypted && raw.ca_file.is_none() {
        c.fault("mqtt.url", "TLS needs mqtt.ca_file: the authorities that the broker's certificate may come from");
    }
    Some(MqttSettings {
        url,
        device: device.to_owned(),
        client_id: raw.client_id.clone().unwrap_or_else(|| format!("linnet-{device}")),
        username: raw.username.clone(),
        password_file: raw.password_file.clone(),
        ca_file: raw.ca_file.clone(),
        client_cert,
        alpn: raw.alpn.clone(),
        keep_alive: Duration::from_secs(raw.keep_alive_secs),
        session_expiry: Duration::from_secs(raw.session_expiry_secs),
        max_packet_bytes: raw.max_packet_mib << 20,
        receive_maximum,
        response_topics: raw.response_topics.clone(),
        kept_answers: raw.kept_answers,
        kept_for: Duration::from_secs(raw.kept_answer_secs),
        state_dir,
        backoff,
    })
}
