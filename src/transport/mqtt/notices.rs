//! What the link carries for updates: hints that there may be something new, and the device's report. What is fetched goes over a
//! connection of its own ([`super::exchange`]).

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use linnet_proto::topic::{DeviceName, Topic};
use tokio::sync::Notify;

/// One for each daemon: it outlives the link, which MQTT's settings may end and begin anew. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Notices(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Somebody waits for hints. Fixed from the start: a connection that came up before they are asked for would be without them for as
    /// long as it holds.
    is_listening: bool,
    /// Newest report, JSON.
    report: Mutex<Option<Bytes>>,
    /// The report has changed.
    reported: Notify,
    /// A hint has come.
    hinted: Notify,
}

impl Notices {
    /// With hints on every connection, where the device belongs to a fleet; without them otherwise.
    pub fn new(is_listening: bool) -> Self {
        Self(Arc::new(Inner { is_listening, ..Inner::default() }))
    }

    /// Says where the device stands: published at once and on each connection, retained. Kept while the broker is away.
    pub fn report(&self, report: Bytes) {
        *lock(&self.0.report) = Some(report);
        self.0.reported.notify_one();
    }

    /// Waits for the next hint; those that came since the last call are one.
    pub async fn hint(&self) {
        self.0.hinted.notified().await;
    }

    /// As a hint does: looks again.
    pub fn look(&self) {
        self.0.hinted.notify_one();
    }

    /// What is subscribed to beside requests, QoS 0: nothing of it is trusted, and the next look comes anyway. Not the fleet's index: each wave
    /// of a push changes it, and every device would look at once although few are meant.
    pub(super) fn filters(&self, device: &DeviceName) -> Vec<String> {
        if self.0.is_listening { vec![Topic::ConfigDesired(device.clone()).to_string()] } else { Vec::new() }
    }

    /// Takes a message that is a hint; `false` for any other.
    pub(super) fn take(&self, topic: &[u8], device: &DeviceName) -> bool {
        let is_hint = self.filters(device).iter().any(|filter| filter.as_bytes() == topic);
        if is_hint {
            self.0.hinted.notify_one();
        }
        is_hint
    }

    /// The report to publish on a new connection.
    pub(super) fn newest(&self) -> Option<Bytes> {
        lock(&self.0.report).clone()
    }

    /// Waits until there is another report than the last.
    pub(super) async fn reported(&self) {
        self.0.reported.notified().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hints_are_those_for_the_own_device_and_many_are_one() {
        let device = DeviceName::new("kitchen").expect("a name");
        let nobody = Notices::new(false);
        assert!(nobody.filters(&device).is_empty());
        assert!(!nobody.take(b"linnet/kitchen/config/desired", &device));
        let notices = Notices::new(true);
        assert_eq!(notices.filters(&device), ["linnet/kitchen/config/desired"]);
        for other in ["linnet/fleet/home/index", "linnet/attic/config/desired", "linnet/kitchen/request/transcribe"] {
            assert!(!notices.take(other.as_bytes(), &device), "{other}");
        }
        assert!(notices.take(b"linnet/kitchen/config/desired", &device));
        assert!(notices.take(b"linnet/kitchen/config/desired", &device));
        notices.hint().await;
        let again = tokio::time::timeout(std::time::Duration::from_millis(50), notices.hint()).await;
        assert!(again.is_err(), "two hints before a look are one");
    }
}
