//! What the daemon says of itself is true and can be parsed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use linnet_features::audio::Media;
use linnet_proto::status::{Health, Limits, ModelState};
use linnet_proto::{ErrorCode, TranscribeOptions};

use super::*;
use crate::job::{Admit, Origin, Priority, Request, TaskRequest, TranscribeRequest};
use crate::scheduler::{Scheduler, SchedulerSettings};
use crate::sys::liveness::Loops;
use crate::task::catalog::{Catalog, CatalogHandle, Entry, Failed};
use crate::task::fake::{FakePipeline, transcript};

const LIMITS: Limits = Limits {
    max_upload_bytes: 1,
    max_audio_secs: 2,
    max_packet_bytes: 3,
    queue_length: 4,
    default_deadline_ms: 5,
    max_deadline_ms: 6,
};

struct Rig {
    scheduler: Arc<Scheduler>,
    status: DaemonStatus,
    link: BrokerLink,
    loops: Loops,
    events: Events,
}

fn ready(name: &str) -> Entry {
    Entry::Ready(FakePipeline::new(|_, _| Ok(transcript("the secret words"))).served(name))
}

fn failed(name: &str) -> Entry {
    Entry::Failed(Failed { name: name.into(), dir: name.into(), manifest: None, reason: "it is broken".into() })
}

fn rig(entries: Vec<Entry>) -> Rig {
    let catalog = CatalogHandle::new(Arc::new(Catalog::new(entries, None)));
    let (events, link) = (Events::default(), BrokerLink::default());
    let settings = SchedulerSettings { workers: 1, ..SchedulerSettings::default() };
    let scheduler = Scheduler::start(settings, catalog.clone(), events.clone()).expect("threads start");
    let scheduler = Arc::new(scheduler);
    // A loop that has given no sign of life for a moment stands still.
    let loops = Loops::new(Duration::ZERO, Duration::from_millis(1));
    let status = DaemonStatus::new(
        "kitchen",
        catalog,
        Arc::clone(&scheduler),
        link.clone(),
        LIMITS,
        events.clone(),
        loops.clone(),
    );
    Rig { scheduler, status, link, loops, events }
}

impl Rig {
    fn ask(&self, model: Option<&str>) -> Result<(), ErrorCode> {
        let options = TranscribeOptions { model: model.map(str::to_owned), ..TranscribeOptions::default() };
        let task =
            TranscribeRequest { audio: Bytes::from_static(b"audio"), media: Media::Detect, options, translate: false };
        let request = Request {
            id: "r1".into(),
            origin: Origin::Http,
            task: TaskRequest::Transcribe(task),
            timeout: Duration::from_secs(30),
            priority: Priority::Normal,
        };
        let reply = self.scheduler.admit(request).map_err(|e| e.code)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(reply.answer()).map(|_| ()).map_err(|e| e.code)
    }
}

/// Samples by name with labels; panics where the text is not OpenMetrics.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let body = text.strip_suffix("# EOF\n").expect("OpenMetrics ends with # EOF");
    let (mut types, mut samples) = (BTreeMap::new(), BTreeMap::new());
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            assert!(["HELP", "TYPE", "UNIT"].contains(&words[0]) && words.len() == 3, "{line}");
            if words[0] == "TYPE" {
                assert!(types.insert(words[1].to_owned(), words[2].to_owned()).is_none(), "a second {line}");
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        let name = series.split('{').next().expect("a name");
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':'), "{line}");
        let family = ["_total", "_bucket", "_sum", "_count", ""]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix).and_then(|family| types.get_key_value(family)))
            .unwrap_or_else(|| panic!("no TYPE before {line}"));
        assert_eq!(family.1 == "counter", name.ends_with("_total"), "{line}");
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
    }
    samples
}

#[test]
fn health_follows_the_scheduler_and_the_models() {
    let whole = rig(vec![ready("a")]);
    assert_eq!((whole.status.status().health, whole.status.is_ready()), (Health::Starting, false));
    whole.scheduler.open();
    assert_eq!((whole.status.status().health, whole.status.is_ready()), (Health::Ready, true));
    whole.scheduler.drain(Duration::ZERO);
    assert_eq!((whole.status.status().health, whole.status.is_ready()), (Health::Draining, false));

    let half = rig(vec![ready("b"), failed("a")]);
    half.scheduler.open();
    let status = half.status.status();
    assert_eq!((status.health, half.status.is_ready()), (Health::Degraded, true), "what serves, serves");
    assert_eq!(status.models[0].state, ModelState::Failed { reason: "it is broken".into() });
    assert_eq!((status.device.as_str(), status.limits, status.mqtt.as_str()), ("kitchen", LIMITS, "off"));

    let none = rig(vec![failed("a")]);
    none.scheduler.open();
    assert_eq!((none.status.status().health, none.status.is_ready()), (Health::Degraded, false));
}

#[test]
fn what_is_wrong_is_said_and_is_degraded_health() {
    let rig = rig(vec![ready("a")]);
    rig.scheduler.open();
    rig.link.down("the broker is asleep");
    let status = rig.status.status();
    assert_eq!((status.mqtt.as_str(), status.mqtt_reason.as_deref()), ("down", Some("the broker is asleep")));
    assert_eq!(status.health, Health::Ready, "an absent broker is the site's business");

    rig.link.set_storage(Some("no space".into()));
    let status = rig.status.status();
    assert_eq!((status.health, status.mqtt_storage.as_deref()), (Health::Degraded, Some("no space")));
    assert!(rig.status.is_ready(), "it serves all the same");
    rig.link.set_storage(None);

    let watch = rig.loops.watch("the loop");
    while rig.status.status().stalled.is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let status = rig.status.status();
    assert_eq!((status.health, status.stalled), (Health::Degraded, vec!["the loop".to_owned()]));
    drop(watch);
    let text = serde_json::to_string(&rig.status.status()).expect("JSON");
    assert!(!text.contains("stalled") && !text.contains("mqtt_storage"), "what is well is not said: {text}");
}

#[test]
fn metrics_are_openmetrics_and_count_what_happened() {
    let rig = rig(vec![ready("stt"), failed("odd \"name\"\\")]);
    rig.scheduler.open();
    assert_eq!(rig.ask(None), Ok(()));
    assert_eq!(rig.ask(Some("stt")), Ok(()));
    assert_eq!(rig.ask(Some("nobody")), Err(ErrorCode::UnknownModel));
    rig.link.set(LinkState::Up);
    rig.link.count(LinkCount::Received);
    rig.events.metrics().prefixes().hit(40);
    let text = rig.status.metrics();
    let samples = parse(&text);
    let request = |outcome| {
        samples[&format!("linnet_requests_total{{task=\"transcribe\",transport=\"http\",outcome=\"{outcome}\"}}")]
    };
    assert_eq!((request("ok"), request("unknown_model")), (2.0, 1.0));
    for (series, wanted) in [
        ("linnet_queue_seconds_count{task=\"transcribe\"}", 2.0),
        ("linnet_inference_seconds_count{task=\"transcribe\",model=\"stt\"}", 2.0),
        ("linnet_real_time_factor_bucket{le=\"0.05\",task=\"transcribe\",model=\"stt\"}", 2.0),
        ("linnet_real_time_factor_bucket{le=\"0.02\",task=\"transcribe\",model=\"stt\"}", 0.0),
        ("linnet_worker_restarts_total", 0.0),
        ("linnet_workers_stuck_total", 0.0),
        ("linnet_prefix_cache_hits_total", 1.0),
        ("linnet_prefix_cache_misses_total", 0.0),
        ("linnet_prefix_cache_tokens_total", 40.0),
        ("linnet_prefix_cache_evictions_total", 0.0),
        ("linnet_queue_depth", 0.0),
        ("linnet_workers", 1.0),
        ("linnet_model_memory_bytes{model=\"stt\"}", f64::from(3 << 20)),
        ("linnet_model_ready{model=\"odd \\\"name\\\"\\\\\"}", 0.0),
        ("linnet_mqtt_link{state=\"up\"}", 1.0),
        ("linnet_mqtt_link{state=\"down\"}", 0.0),
        ("linnet_mqtt_events_total{event=\"received\"}", 1.0),
    ] {
        assert_eq!(samples.get(series), Some(&wanted), "{series} in\n{text}");
    }
    assert!(samples["process_resident_memory_bytes"] > 1e6, "{text}");
    assert!(!text.contains("secret"));
    assert!(!text.contains("nobody"), "a caller's word must not become a label");
}

#[test]
fn overload_is_counted_request_by_request() {
    let events = Events::default();
    let subject = Subject { id: "r".into(), origin: Origin::Mqtt, task: "transcribe", model: String::new() };
    let error = linnet_proto::WireError::new(ErrorCode::Overloaded, "full").with_retry_after_ms(9);
    for _ in 0..1000 {
        events.request_refused(&subject, &error);
    }
    assert_eq!(events.metrics().requests("transcribe", Origin::Mqtt, Err(ErrorCode::Overloaded)), 1000);
}
