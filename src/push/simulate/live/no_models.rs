//! A daemon that serves nobody: what a device's link asks beside updates.

use std::sync::Arc;

use linnet_proto::status::{Health, Limits, Status};
use linnet_proto::{ErrorCode, WireError};

use crate::job::{Admit, Reply, Request};
use crate::status::StatusSource;

/// A device without models.
#[derive(Debug)]
pub(super) struct NoModels {
    device: String,
}

impl NoModels {
    /// The one that is called so.
    pub(super) fn of(device: &str) -> Arc<Self> {
        Arc::new(Self { device: device.to_owned() })
    }
}

impl Admit for NoModels {
    fn admit(&self, _: Request) -> Result<Reply, WireError> {
        Err(WireError::new(ErrorCode::Unavailable, "a simulated device answers no requests"))
    }
}

impl StatusSource for NoModels {
    fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: self.device.clone(),
            health: Health::Ready,
            uptime_secs: 0.0,
            models: Vec::new(),
            models_dir: None,
            generation: None,
            fleet_sources: Vec::new(),
            fleet_last_failure: None,
            provisioning: None,
            limits: Limits {
                max_upload_bytes: 0,
                max_audio_secs: 0,
                max_packet_bytes: 0,
                queue_length: 0,
                default_deadline_ms: 0,
                max_deadline_ms: 0,
            },
            queue_depth: 0,
            workers: 0,
            worker_restarts: 0,
            workers_stuck: 0,
            mqtt: "up".to_owned(),
            mqtt_reason: None,
            mqtt_storage: None,
            mqtt_contested: None,
            stalled: Vec::new(),
        }
    }

    fn is_ready(&self) -> bool {
        false
    }

    fn metrics(&self) -> String {
        String::new()
    }
}
