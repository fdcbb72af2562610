//! Answers devices that ask for a name, one after the other.

use std::sync::Arc;

use bytes::Bytes;
use linnet_fleet::claims::Registrar;
use linnet_proto::fleet::{Fingerprint, FleetTopic};
use linnet_proto::topic::FleetName;
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use tokio::sync::mpsc;

use super::link::Shared;
use crate::clock;

/// Requests for names that wait; a further device asks again by itself.
pub(super) const WAITING_CLAIMS: usize = 256;

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
    client: AsyncClient,
    shared: Arc<Shared>,
) {
    let mut registrar = Some(registrar);
    while let Some(Asked { key, payload }) = waiting.recv().await {
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
                shared.publishing();
                let topic = FleetTopic::ClaimAnswer { fleet: fleet.clone(), key }.to_string();
                if client.publish(topic, QoS::AtLeastOnce, false, answered.payload).await.is_err() {
                    return;
                }
            }
        }
    }
}
