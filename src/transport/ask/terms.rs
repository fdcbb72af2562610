//! What every JSON request may say beside its task: how long its caller waits, and who goes first.

use std::time::Duration;

use linnet_proto::fields::Fields;
use linnet_proto::{ErrorCode, WireError};
use serde_json::{Map, Value};

use crate::job::Priority;

/// The rules, and what counts where the body says nothing.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Longest deadline that a request may name.
    pub max_timeout: Duration,
    /// Priority of a body that names none.
    pub priority: Priority,
}

/// What a request said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TermsTaken {
    /// The deadline, where one is named.
    pub timeout: Option<Duration>,
    /// Who goes first.
    pub priority: Priority,
}

impl Terms {
    /// Takes `timeout_ms` and `priority` out of `body`.
    pub fn take(self, body: &mut Map<String, Value>) -> Result<TermsTaken, WireError> {
        let mut fields = Fields::new(std::mem::take(body));
        let timeout = self.timeout(fields.whole("timeout_ms")?)?;
        let names = Priority::ALL.map(Priority::as_str);
        let priority = fields.word("priority", &names)?.and_then(Priority::parse).unwrap_or(self.priority);
        *body = fields.into_rest();
        Ok(TermsTaken { timeout, priority })
    }

    fn timeout(self, timeout_ms: Option<u64>) -> Result<Option<Duration>, WireError> {
        let Some(ms) = timeout_ms else { return Ok(None) };
        let max_ms = u64::try_from(self.max_timeout.as_millis()).unwrap_or(u64::MAX);
        if (1..=max_ms).contains(&ms) {
            return Ok(Some(Duration::from_millis(ms)));
        }
        let message = format!("timeout_ms is {ms}; it must be from 1 to {max_ms}");
        Err(WireError::new(ErrorCode::InvalidOption, message).with_param("timeout_ms"))
    }
}
