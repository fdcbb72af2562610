//! Answers devices that ask for a name, one after the other.

use std::sync::Arc;

use bytes::Bytes;
use linnet_fleet::claims::Registrar;
use linnet_proto::fleet::{Fingerprint, FleetTopic};
use linnet_proto::topic::FleetName;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use tokio::sync::mpsc;

use super::hearing::LONGEST;
use super::shared::{Sender, Shared};
use crate::clock;

/// Requests for names that wait; a further device asks again by itself.
pub(super) const WAITING_CLAIMS: usize = 256;

/// A request for a name.
pub(super) struct Asked {
    /// Whose topic it came on.
    pub(super) key: Fingerprint,
    pub(super) payload: Bytes,
}

/// Answers what waits. Which names are borne is known by the reports that the broker retains, and a request may come before them: so none is
/// answered over a connection before they have all been heard. A device that waited in vain meanwhile asks again.
pub(super) async fn grant(
    registrar: Registrar,
    fleet: FleetName,
    mut waiting: mpsc::Receiver<Asked>,
    sender: Sender,
    shared: Arc<Shared>,
) {
    let mut registrar = Some(registrar);
    let mut heard_on = 0;
    loop {
        let asked = tokio::select! {
            biased;
            () = shared.connected_after(heard_on) => {
                hear(&shared, &mut heard_on).await;
                continue;
            }
            asked = waiting.recv() => asked,
        };
        let Some(Asked { key, payload }) = asked else { return };
        // It may be the first thing that comes over a new connection.
        while shared.connections() != heard_on {
            shared.connected_after(heard_on).await;
            hear(&shared, &mut heard_on).await;
        }
        // Lost only with a thread that panicked, whose words stand on the terminal.
        let Some(mut answering) = registrar.take() else { return };
        let (from, of) = (key.clone(), Arc::clone(&shared));
        // The ledger's disk and the grant command block.
        let answered = tokio::task::spawn_blocking(move || {
            let answered = answering.answer(&from, &payload, clock::now_secs(), &|name| of.bears(name));
            (answering, answered)
        });
        let Ok((answering, answered)) = answered.await else { continue };
        registrar = Some(answering);
        match answered {
            Err(why) => shared.say_refused(&key, &why),
            Ok(answered) => {
                match answered.is_granted {
                    true => shared.say_granted(&key, answered.said),
                    false => shared.say_refused(&key, &answered.said),
                }
                let topic = FleetTopic::ClaimAnswer { fleet: fleet.clone(), key }.to_string();
                sender.answer(topic, answered.payload, PublishProperties::default()).await;
            }
        }
    }
}

/// Hears what the broker retains. Where the connection goes meanwhile, `heard_on` stays as it was.
async fn hear(shared: &Shared, heard_on: &mut u64) {
    if let Some(heard) = shared.hear(LONGEST).await {
        *heard_on = heard.connection;
    }
}
