//! A place in the queue for a further job of a request that has begun.

use std::time::{Duration, Instant};

use linnet_proto::{ErrorCode, WireError};
use tokio::time::sleep;

use super::{Admit, Reply, Request};

/// Shortest and longest pause before a place is asked for again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Admits `request`, and while the queue is full asks again until `deadline`: what was done of the whole already would be lost
/// otherwise. Nobody waits like this with a first job.
pub async fn place(admit: &dyn Admit, request: &Request, deadline: Instant) -> Result<Reply, WireError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let message =
                "the deadline passed before all parts of the request had their turn; allow more time or ask for less";
            return Err(WireError::new(ErrorCode::DeadlineExceeded, message));
        }
        match admit.admit(Request { timeout: left, ..request.clone() }) {
            Err(full) if full.code == ErrorCode::Overloaded => {
                let pause = Duration::from_millis(full.retry_after_ms.unwrap_or_default());
                sleep(pause.clamp(PAUSE.0, PAUSE.1).min(left)).await;
            }
            admitted => return admitted,
        }
    }
}
