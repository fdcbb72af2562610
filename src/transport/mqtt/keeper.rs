//! Keeps the link running. A panic in it must neither go unseen nor end MQTT until somebody restarts the daemon.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures_util::FutureExt;

use super::backoff::Backoff;
use super::bounds::{PANIC_PAUSE, STEADY};
use super::link::Link;
use crate::status::BrokerLink;
use crate::sys::liveness::Beat;

/// What the status says after a panic.
const PANICKED: &str = "the link panicked, the log says where; it is started again";

/// Runs `link` until its transport is drained or dropped, and starts it again after a panic, with a pause that grows. A panic
/// of the way back ends this task, and with it the link's signs of life.
pub(super) async fn keep(mut link: Link, status: BrokerLink, beat: Beat) {
    let mut backoff = Backoff::new(PANIC_PAUSE);
    let mut pause = None;
    link.open().await;
    loop {
        let began = Instant::now();
        let run = async {
            if let Some(pause) = pause {
                link.rest_after_panic(pause).await;
            }
            link.run().await;
        };
        if AssertUnwindSafe(run).catch_unwind().await.is_ok() {
            return;
        }
        log::error!("mqtt: {PANICKED}");
        status.down(PANICKED);
        if began.elapsed() >= STEADY + PANIC_PAUSE.1 {
            backoff.reset();
        }
        link.recover().await;
        // Commands are heard during the longer pause; this one is for a panic that comes with the first step.
        beat.keep(tokio::time::sleep(PANIC_PAUSE.0)).await;
        pause = Some(backoff.next(rand::random()));
    }
}
