//! Reloads that somebody asks for over the socket, and when they are done.

use tokio::sync::{mpsc, watch};

/// How many reloads began and ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    begun: u64,
    ended: u64,
}

/// Asks for reloads. Clones are one.
#[derive(Debug, Clone)]
pub struct Reloads {
    ask: mpsc::Sender<()>,
    count: watch::Sender<Count>,
}

/// The daemon's end: what is asked for.
#[derive(Debug)]
pub struct Asked(mpsc::Receiver<()>);

impl Asked {
    /// Waits until a reload is asked for; never ends when nobody can ask any more.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Both ends.
pub fn reloads() -> (Reloads, Asked) {
    // One that waits is enough: it will see what everybody has changed who asked meanwhile.
    let (ask, asked) = mpsc::channel(1);
    (Reloads { ask, count: watch::Sender::new(Count::default()) }, Asked(asked))
}

impl Reloads {
    /// Asks for a reload and waits until one that began after this call has ended. False when the daemon ends instead.
    pub async fn reload(&self) -> bool {
        let mut count = self.count.subscribe();
        let wanted = count.borrow_and_update().begun + 1;
        // A full channel holds a wish that nobody has taken yet: it is as good as ours.
        if let Err(mpsc::error::TrySendError::Closed(())) = self.ask.try_send(()) {
            return false;
        }
        count.wait_for(|count| count.ended >= wanted).await.is_ok()
    }

    /// A reload begins.
    pub fn begin(&self) {
        self.count.send_modify(|count| count.begun += 1);
    }

    /// The reload ended, whatever came of it.
    pub fn end(&self) {
        self.count.send_modify(|count| count.ended = count.begun);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_wish_is_granted_by_a_reload_that_began_after_it() {
        let (reloads, mut asked) = reloads();
        reloads.begin();
        let waiting = {
            let reloads = reloads.clone();
            tokio::spawn(async move { reloads.reload().await })
        };
        tokio::time::timeout(Duration::from_secs(5), asked.next()).await.expect("it asks");
        reloads.end();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished(), "that one had begun before");
        reloads.begin();
        reloads.end();
        assert!(tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("it ends").expect("no panic"));
    }

    #[tokio::test]
    async fn nobody_waits_for_a_daemon_that_ends() {
        let (reloads, asked) = reloads();
        drop(asked);
        assert!(!reloads.reload().await);
    }
}
