//! Counters and histograms, and their text for Prometheus.
//!
//! What happens is counted where it happens ([`super::Events`]); what merely is (queue depth, memory, the link) is
//! sampled when somebody asks, so that it costs nothing between two scrapes.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use linnet_proto::ErrorCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{LinkCount, LinkState};
use crate::job::Origin;

/// Prefix of every name.
const PREFIX: &str = "linnet";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    task: &'static str,
    transport: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabels {
    task: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    task: &'static str,
    model: String,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// What is counted. Labels take only values that the daemon itself knows (tasks, transports, codes, loaded models), so
/// that no caller can make them grow.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    queue: Histograms<TaskLabels>,
    inference: Histograms<ModelLabels>,
    real_time_factor: Histograms<ModelLabels>,
    worker_restarts: Counter,
    workers_stuck: Counter,
    prefixes: PrefixCounts,
}

/// What is counted of kept prefixes, over all models. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct PrefixCounts {
    hits: Counter,
    misses: Counter,
    tokens: Counter,
    evictions: Counter,
}

impl PrefixCounts {
    /// A prompt began with a kept prefix of so many tokens.
    pub fn hit(&self, tokens: u64) {
        self.hits.inc();
        self.tokens.inc_by(tokens);
    }

    /// A prompt began with none.
    pub fn missed(&self) {
        self.misses.inc();
    }

    /// A prefix was dropped to make room.
    pub fn evicted(&self) {
        self.evictions.inc();
    }

    /// Prompts that began with a kept prefix.
    pub fn hits(&self) -> u64 {
        self.hits.get()
    }

    /// Prompts that began with none.
    pub fn misses(&self) -> u64 {
        self.misses.get()
    }

    /// Tokens that did not have to be run.
    pub fn tokens(&self) -> u64 {
        self.tokens.get()
    }

    /// Prefixes that were dropped.
    pub fn evictions(&self) -> u64 {
        self.evictions.get()
    }

    fn register(&self, registry: &mut Registry) {
        let mut counter = |name: &str, help: &str, counter: &Counter| registry.register(name, help, counter.clone());
        counter("prefix_cache_hits", "Prompts that began with a kept prefix", &self.hits);
        counter("prefix_cache_misses", "Prompts that began with none", &self.misses);
        counter("prefix_cache_tokens", "Tokens of prompts that kept prefixes saved", &self.tokens);
        counter("prefix_cache_evictions", "Kept prefixes that were dropped to make room", &self.evictions);
    }
}

/// What is sampled at a scrape.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// `linnetd`'s version.
    pub version: String,
    /// Since start.
    pub uptime: Duration,
    /// Jobs waiting.
    pub queue_depth: usize,
    /// Jobs running.
    pub running: usize,
    /// Worker threads that serve.
    pub workers: usize,
    /// Each model: name, whether it serves, bytes of its weights.
    pub models: Vec<(String, bool, u64)>,
    /// The link to the broker.
    pub link: LinkState,
    /// What was counted on it.
    pub link_counts: [(&'static str, u64); LinkCount::ALL.len()],
    /// Resident memory of the process, bytes, where the system tells.
    pub resident_bytes: Option<u64>,
}

fn seconds() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
}

fn factor() -> Histogram {
    Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let requests = Family::default();
        registry.register(
            "requests",
            "Requests by task, transport and outcome (`ok` or the error's code)",
            requests.clone(),
        );
        let queue = Histograms::new_with_constructor(seconds as fn() -> Histogram);
        registry.register_with_unit("queue", "Time that requests waited for a worker", Unit::Seconds, queue.clone());
        let inference = Histograms::new_with_constructor(seconds as fn() -> Histogram);
        registry.register_with_unit(
            "inference",
            "Time that answered requests took a worker",
            Unit::Seconds,
            inference.clone(),
        );
        let real_time_factor = Histograms::new_with_constructor(factor as fn() -> Histogram);
        registry.register(
            "real_time_factor",
            "Seconds of inference per second of audio, by answered request",
            real_time_factor.clone(),
        );
        let worker_restarts = Counter::default();
        registry.register(
            "worker_restarts",
            "Workers that were replaced after a panic or because they hung",
            worker_restarts.clone(),
        );
        let workers_stuck = Counter::default();
        registry.register("workers_stuck", "Workers that hung and were abandoned", workers_stuck.clone());
        let prefixes = PrefixCounts::default();
        prefixes.register(&mut registry);
        Self { registry, requests, queue, inference, real_time_factor, worker_restarts, workers_stuck, prefixes }
    }
}

impl Metrics {
    /// A request ended: answered, or refused with a code.
    pub fn request(&self, task: &'static str, origin: Origin, outcome: Result<(), ErrorCode>) {
        let outcome = outcome.map_or_else(ErrorCode::as_str, |()| "ok");
        self.requests.get_or_create(&RequestLabels { task, transport: origin.as_str(), outcome }).inc();
    }

    /// A request left the queue after `waited`.
    pub fn waited(&self, task: &'static str, waited: Duration) {
        self.queue.get_or_create(&TaskLabels { task }).observe(waited.as_secs_f64());
    }

    /// A request was answered by `model` within `took`; `real_time_factor` where audio was heard.
    pub fn answered(&self, task: &'static str, model: &str, took: Duration, real_time_factor: Option<f64>) {
        let labels = ModelLabels { task, model: model.to_owned() };
        self.inference.get_or_create(&labels).observe(took.as_secs_f64());
        if let Some(factor) = real_time_factor {
            self.real_time_factor.get_or_create(&labels).observe(factor);
        }
    }

    /// A worker was replaced.
    pub fn worker_restarted(&self) {
        self.worker_restarts.inc();
    }

    /// A worker was abandoned.
    pub fn worker_stuck(&self) {
        self.workers_stuck.inc();
    }

    /// Workers replaced since start.
    pub fn worker_restarts(&self) -> u64 {
        self.worker_restarts.get()
    }

    /// Workers abandoned since start.
    pub fn workers_stuck(&self) -> u64 {
        self.workers_stuck.get()
    }

    /// What is counted of kept prefixes.
    pub fn prefixes(&self) -> &PrefixCounts {
        &self.prefixes
    }

    /// Requests that ended so far with `outcome`, over all tasks and transports named here.
    pub fn requests(&self, task: &'static str, origin: Origin, outcome: Result<(), ErrorCode>) -> u64 {
        let outcome = outcome.map_or_else(ErrorCode::as_str, |()| "ok");
        let labels = RequestLabels { task, transport: origin.as_str(), outcome };
        self.requests.get(&labels).map_or(0, |counter| counter.get())
    }

    /// OpenMetrics 1.0 text: everything that was counted, and `sample`.
    pub fn text(&self, sample: &Sample) -> String {
        let mut text = String::with_capacity(8 << 10);
        // Writing to a string cannot fail.
        let _ = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &sampled(sample)))
            .and_then(|()| encode_eof(&mut text));
        text
    }
}

fn sampled(sample: &Sample) -> Registry {
    let mut registry = Registry::default();
    let mut gauge = |name: &str, help: &str, value: i64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    gauge("linnet_queue_depth", "Requests that wait for a worker", count(sample.queue_depth));
    gauge("linnet_jobs_running", "Requests that a worker runs", count(sample.running));
    gauge("linnet_workers", "Worker threads that serve", count(sample.workers));

    let memory = Family::<Vec<(&'static str, String)>, Gauge>::default();
    let ready = Family::<Vec<(&'static str, String)>, Gauge>::default();
    for (model, serves, bytes) in &sample.models {
        let labels = vec![("model", model.clone())];
        memory.get_or_create(&labels).set(i64::try_from(*bytes).unwrap_or(i64::MAX));
        ready.get_or_create(&labels).set(i64::from(*serves));
    }
    registry.register_with_unit("linnet_model_memory", "Memory that a model's weights take", Unit::Bytes, memory);
    registry.register("linnet_model_ready", "1 where the model serves, 0 where it failed", ready);

    let link = Family::<Vec<(&'static str, String)>, Gauge>::default();
    for state in LinkState::ALL {
        link.get_or_create(&vec![("state", state.as_str().to_owned())]).set(i64::from(state == sample.link));
    }
    registry.register("linnet_mqtt_link", "1 at the state of the link to the MQTT broker", link);

    let counts = Family::<Vec<(&'static str, String)>, Counter>::default();
    for (what, n) in sample.link_counts {
        counts.get_or_create(&vec![("event", what.to_owned())]).inc_by(n);
    }
    registry.register("linnet_mqtt_events", "What happened on the link to the MQTT broker", counts);

    let build = Family::<Vec<(&'static str, String)>, Gauge>::default();
    build.get_or_create(&vec![("version", sample.version.clone())]).set(1);
    registry.register("linnet_build", "The version that runs, as a label", build);

    let uptime = Gauge::<f64, AtomicU64>::default();
    uptime.set(sample.uptime.as_secs_f64());
    registry.register_with_unit("linnet_uptime", "Time since start", Unit::Seconds, uptime);
    if let Some(bytes) = sample.resident_bytes {
        let resident = Gauge::<i64>::default();
        resident.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        registry.register_with_unit("process_resident_memory", "Resident memory of the process", Unit::Bytes, resident);
    }
    registry
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Resident memory of this process, bytes; `None` where the system does not tell.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}
