//! What the daemon publishes, as messages: `status`, `state` and answers.

use std::time::Instant;

use bytes::Bytes;
use linnet_proto::topic::Topic;
use linnet_proto::{ErrorCode, WireError};

use super::answer::Body;
use super::bounds::STATE_INTERVAL;
use super::connection::{Item, Message};
use super::outbox::Entry;
use super::plan::Plan;
use crate::status::StatusSource;

/// Which announcements are due.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    online_due: bool,
    state_due: Option<Instant>,
    last_state: Option<Instant>,
    report_due: bool,
}

impl Announcements {
    /// A connection has come up: everything is due.
    pub(super) fn all(&mut self, now: Instant) {
        self.online_due = true;
        self.state_due = Some(now);
        self.report_due = true;
    }

    /// There is another report.
    pub(super) fn reported(&mut self) {
        self.report_due = true;
    }

    /// `state` is due, yet at most once in [`STATE_INTERVAL`].
    pub(super) fn state_changed(&mut self, now: Instant) {
        self.state_due.get_or_insert(self.last_state.map_or(now, |last| (last + STATE_INTERVAL).max(now)));
    }

    /// What is due now.
    pub(super) fn next(&self, now: Instant) -> Option<Item> {
        if self.online_due {
            return Some(Item::Online);
        }
        if self.report_due {
            return Some(Item::Reported);
        }
        self.state_due.filter(|at| *at <= now).map(|_| Item::State)
    }

    /// When `state` is due.
    pub(super) fn next_state(&self) -> Option<Instant> {
        self.state_due
    }

    /// An announcement has gone out.
    pub(super) fn published(&mut self, item: Item, now: Instant) {
        match item {
            Item::State => (self.state_due, self.last_state) = (None, Some(now)),
            Item::Reported => self.report_due = false,
            _ => self.online_due = false,
        }
    }
}

/// `status` as `text`.
pub(super) fn status(plan: &Plan, text: &'static str) -> Message {
    Message {
        topic: Topic::Status(plan.device.clone()).to_string(),
        retain: true,
        payload: text.into(),
        content_type: Some("text/plain".into()),
        correlation: None,
    }
}

/// `state` as it is now, with the largest packet that this connection takes.
pub(super) fn state(plan: &Plan, source: &dyn StatusSource) -> Message {
    let mut status = source.status();
    status.limits.max_packet_bytes = plan.max_packet_bytes.into();
    Message {
        topic: Topic::State(plan.device.clone()).to_string(),
        retain: true,
        // Names and numbers always serialize.
        payload: serde_json::to_vec(&status).unwrap_or_default().into(),
        content_type: Some("application/json".into()),
        correlation: None,
    }
}

/// `config/reported`.
pub(super) fn report(plan: &Plan, report: Bytes) -> Message {
    Message {
        topic: Topic::ConfigReported(plan.device.clone()).to_string(),
        retain: true,
        payload: report,
        content_type: Some("application/json".into()),
        correlation: None,
    }
}

/// An answer.
pub(super) fn answer(entry: &Entry) -> Message {
    Message {
        topic: entry.target.topic.to_string(),
        retain: false,
        payload: entry.body.payload.clone(),
        content_type: Some(entry.body.content_type.clone()),
        correlation: entry.target.correlation.clone(),
    }
}

/// What takes the place of an answer of `bytes` at a broker that takes `max`.
pub(super) fn too_large(bytes: usize, max: u32) -> Body {
    let message = format!(
        "the answer takes a packet of {bytes} bytes, but the broker takes at most {max}; ask for format text, or send \
         less audio at once"
    );
    Body::of_error(WireError::new(ErrorCode::TooLarge, message))
}
