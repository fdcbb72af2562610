//! Answers devices that ask for a name, one after the other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use linnet_fleet::claims::Registrar;
use linnet_proto::fleet::{Fingerprint, FleetTopic};
use linnet_proto::topic::FleetName;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use tokio::sync::mpsc;

use super::link::{Sender, Shared};
use crate::clock;

/// Requests for names that wait; a further device asks again by itself.
pub(super) const WAITING_CLAIMS: usize = 256;

/// How long reports are listened to before the first name is given: which names are borne is known by the reports that the broker retains, and
/// those may come after the first request. Less than a device waits for its answer.
const HEAR_REPORTS: Duration = Duration::from_secs(5);

/// A request for a name.
pub(super) struct Asked {
    /// Whose topic it came on.
    pub(super) key: Fingerprint,
    pub(super) payload: Bytes,
}

/// Answers what waits. The ledger's disk and the grant command block, so each is answered on a thread that may wait.
pub(super) async fn grant(
    registrar: Registrar,
    fleet: FleetName,
    mut waiting: mpsc::Receiver<Asked>,
    sender: Sender,
    shared: Arc<Shared>,
) {
    let mut registrar = Some(registrar);
    let mut listen = HEAR_REPORTS;
    while let Some(Asked { key, payload }) = next(&mut waiting, &mut listen).await {
        // Lost only with a thread that panicked, whose words stand on the terminal.
        let Some(mut answering) = registrar.take() else { return };
        let (from, of) = (key.clone(), Arc::clone(&shared));
        let answered = tokio::task::spawn_blocking(move || {
            let answered = answering.answer(&from, &payload, clock::now_secs(), &|name| of.bears(name));
            (answering, answered)
        });
        let Ok((answering, answered)) = answered.await else { continue };
        registrar = Some(answering);
        match answered {
            Err(why) => shared.say(why),
            Ok(answered) => {
                shared.say(answered.said);
                let topic = FleetTopic::ClaimAnswer { fleet: fleet.clone(), key }.to_string();
                sender.answer(topic, answered.payload, PublishProperties::default()).await;
            }
        }
    }
}

/// The next request; the first one after `listen`, which is zero from then on.
async fn next(waiting: &mut mpsc::Receiver<Asked>, listen: &mut Duration) -> Option<Asked> {
    let asked = waiting.recv().await;
    // That it came says that this side is subscribed.
    tokio::time::sleep(std::mem::take(listen)).await;
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_request_waits_until_reports_were_heard_and_no_other_does() {
        let (sender, mut waiting) = mpsc::channel(2);
        for _ in 0..2 {
            let key = Fingerprint::new("0123456789abcdef0123456789abcdef").expect("a fingerprint");
            assert!(sender.try_send(Asked { key, payload: Bytes::new() }).is_ok());
        }
        let (wait, began) = (Duration::from_millis(100), std::time::Instant::now());
        let mut listen = wait;
        for _ in 0..2 {
            next(&mut waiting, &mut listen).await.expect("a request");
            assert!(began.elapsed() >= wait && listen.is_zero());
        }
    }
}
