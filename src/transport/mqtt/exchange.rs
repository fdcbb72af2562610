//! A connection of its own to the broker for what an update fetches: metadata by name, pieces of files by request.
//!
//! It lives while something is fetched and no longer, under the client id of the device's link with `-fleet` behind it: what is
//! fetched then takes no place in the window that answers go through, and a device that has nothing to fetch is one client of the broker.

use std::time::{Duration, Instant};

use bytes::Bytes;
use linnet_fleet::source::{Exchange, SourceFault, async_trait};
use linnet_proto::fleet::FleetTopic;
use linnet_proto::topic::{DeviceName, RequestId};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, Publish, PublishProperties, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::sync::Mutex;
use tokio::time::{sleep_until, timeout_at};

use super::MqttStartError;
use super::bounds::{
    EXCHANGE_ANSWER_PATIENCE, EXCHANGE_CHANNEL, EXCHANGE_FRESH, EXCHANGE_PATIENCE, EXCHANGE_RETAINED_GRACE,
};
use super::plan::Plan;
use crate::config::transport::{IntakeSettings, MqttSettings};

/// The broker as an update's source reaches it. One call at a time; others wait for it.
pub struct BrokerExchange {
    options: MqttOptions,
    device: DeviceName,
    live: Mutex<Option<Live>>,
}

/// A connection between two calls.
struct Live {
    client: AsyncClient,
    events: EventLoop,
    /// Nobody polls it meanwhile, so that it is soon too old to be used.
    used: Instant,
    /// Subscribed to its answers.
    listens: bool,
}

impl BrokerExchange {
    /// Checks the settings and reads their files; connects when something is asked.
    pub fn new(mqtt: MqttSettings, intake: IntakeSettings) -> Result<Self, MqttStartError> {
        let plan = Plan::load(mqtt, intake, 1)?;
        Ok(Self { options: plan.beside_link("-fleet"), device: plan.device, live: Mutex::new(None) })
    }

    /// For a device that has no name yet: under the client id of `mqtt` as it is, with the login of its claim.
    pub fn of_claim(
        mqtt: MqttSettings,
        intake: IntakeSettings,
        login: Option<(String, String)>,
    ) -> Result<Self, MqttStartError> {
        let client_id = mqtt.client_id.clone();
        let mut exchange = Self::new(mqtt, intake)?;
        exchange.options.set_client_id(client_id);
        if let Some((user, password)) = login {
            exchange.options.set_credentials(user, password);
        }
        Ok(exchange)
    }

    /// Publishes `payload` to `topic`, and waits on the topic `answers` for one that `wanted` takes; others are passed over.
    pub async fn ask_once<T>(
        &self,
        topic: &str,
        answers: &str,
        payload: Bytes,
        patience: Duration,
        mut wanted: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<T, SourceFault> {
        let mut kept = self.live.lock().await;
        let mut live = self.take(kept.take()).await?;
        live.subscribe(answers).await?;
        live.client
            .try_publish(topic, QoS::AtLeastOnce, false, payload)
            .map_err(|_| SourceFault::Unreachable("the broker's connection takes nothing".into()))?;
        let unreachable = |reason: String| Some(Err(SourceFault::Unreachable(reason)));
        let answer = live.until(patience, "the operator's program has not answered", |packet| match packet {
            Packet::Publish(publish) if publish.topic == answers.as_bytes() => wanted(&publish.payload).map(Ok),
            Packet::PubAck(ack) => match ack.reason {
                PubAckReason::Success => None,
                PubAckReason::NoMatchingSubscribers => unreachable(
                    "the broker is reached, but nobody answers there: the operator's `linnet fleet serve` does not run"
                        .into(),
                ),
                reason => unreachable(format!("the broker refuses the request on {topic} ({reason:?}); check its ACL")),
            },
            _ => None,
        });
        let answer = answer.await?;
        live.used = Instant::now();
        *kept = Some(live);
        Ok(answer)
    }

    /// Says goodbye to the broker, where there is a connection.
    pub async fn close(&self) {
        if let Some(mut live) = self.live.lock().await.take()
            && live.client.try_disconnect().is_ok()
        {
            // What is left unsaid in this time is said by the end of the connection.
            let until = tokio::time::Instant::now() + Duration::from_millis(200);
            while let Ok(Ok(_)) = timeout_at(until, live.events.poll()).await {}
        }
    }

    async fn connected(&self) -> Result<Live, SourceFault> {
        let (client, events) = AsyncClient::new(self.options.clone(), EXCHANGE_CHANNEL);
        let mut live = Live { client, events, used: Instant::now(), listens: false };
        live.until(EXCHANGE_PATIENCE, "the broker has not taken the connection", |packet| {
            matches!(packet, Packet::ConnAck(_)).then_some(Ok(()))
        })
        .await?;
        Ok(live)
    }

    /// The last connection where it is fresh, else a new one.
    async fn take(&self, kept: Option<Live>) -> Result<Live, SourceFault> {
        match kept.filter(|live| live.used.elapsed() < EXCHANGE_FRESH) {
            Some(live) => Ok(live),
            None => self.connected().await,
        }
    }
}

impl Live {
    /// Polls until `wanted` has found what is waited for.
    async fn until<T>(
        &mut self,
        patience: Duration,
        otherwise: &str,
        mut wanted: impl FnMut(Packet) -> Option<Result<T, SourceFault>>,
    ) -> Result<T, SourceFault> {
        let until = tokio::time::Instant::now() + patience;
        loop {
            let event = timeout_at(until, self.events.poll()).await;
            let event = event.map_err(|_| SourceFault::Unreachable(format!("{otherwise} within {patience:?}")))?;
            let event = event.map_err(|e| SourceFault::Unreachable(format!("the broker: {e}")))?;
            if let Event::Incoming(packet) = event
                && let Some(found) = wanted(packet)
            {
                return found;
            }
        }
    }

    async fn subscribe(&mut self, filter: &str) -> Result<Option<Publish>, SourceFault> {
        let full = |_| SourceFault::Unreachable("the broker's connection takes nothing".into());
        self.client.try_subscribe(filter, QoS::AtLeastOnce).map_err(full)?;
        // A broker may send what it retains before it acknowledges.
        let mut early = None;
        self.until(EXCHANGE_PATIENCE, "the broker has not answered a subscription", |packet| match packet {
            Packet::SubAck(ack) => Some(match ack.return_codes.first() {
                Some(SubscribeReasonCode::Success(_)) => Ok(()),
                refused => Err(SourceFault::Unreachable(format!(
                    "the broker refuses the subscription to {filter} ({refused:?}); check its ACL"
                ))),
            }),
            Packet::Publish(publish) if publish.topic == filter.as_bytes() => {
                early = Some(publish);
                None
            }
            _ => None,
        })
        .await?;
        Ok(early)
    }

    async fn retained(&mut self, topic: &str) -> Result<Option<Bytes>, SourceFault> {
        let early = self.subscribe(topic).await?;
        let found = match early {
            Some(publish) => Some(publish.payload),
            None => self.next_on(topic).await?,
        };
        // Not waited for: its acknowledgement comes before anything that is asked next.
        let _ = self.client.try_unsubscribe(topic);
        Ok(found)
    }

    /// What the broker retains on a topic just subscribed to comes at once, or not at all.
    async fn next_on(&mut self, topic: &str) -> Result<Option<Bytes>, SourceFault> {
        let until = tokio::time::Instant::now() + EXCHANGE_RETAINED_GRACE;
        loop {
            tokio::select! {
                event = self.events.poll() => match event {
                    Ok(Event::Incoming(Packet::Publish(publish))) if publish.topic == topic.as_bytes() => {
                        return Ok(Some(publish.payload));
                    }
                    Ok(_) => {}
                    Err(e) => return Err(SourceFault::Unreachable(format!("the broker: {e}"))),
                },
                () = sleep_until(until) => return Ok(None),
            }
        }
    }

    async fn ask(&mut self, device: &DeviceName, topic: &str, id: &str, payload: Bytes) -> Result<Bytes, SourceFault> {
        if !self.listens {
            self.subscribe(&FleetTopic::fetched_filter(device)).await?;
            self.listens = true;
        }
        let correlation = Bytes::copy_from_slice(id.as_bytes());
        let answered = RequestId::new(id).map_err(|e| SourceFault::Lied(e.to_string()))?;
        let expected = FleetTopic::Fetched { device: device.clone(), id: answered }.to_string();
        let properties = PublishProperties {
            response_topic: Some(expected.clone()),
            correlation_data: Some(correlation.clone()),
            content_type: Some("application/json".into()),
            ..PublishProperties::default()
        };
        self.client
            .try_publish_with_properties(topic, QoS::AtLeastOnce, false, payload, properties)
            .map_err(|_| SourceFault::Unreachable("the broker's connection takes nothing".into()))?;
        self.until(EXCHANGE_ANSWER_PATIENCE, "nobody who serves the fleet's repository has answered", |packet| {
            match packet {
                Packet::Publish(publish) if publish.topic == expected.as_bytes() => Some(Ok(publish.payload)),
                Packet::PubAck(ack) if ack.reason == PubAckReason::NoMatchingSubscribers => {
                    Some(Err(SourceFault::Unreachable(format!(
                        "the broker is reached, but nobody listens to {topic}: neither `linnet fleet push` nor `serve` runs"
                    ))))
                }
                _ => None,
            }
        })
        .await
    }
}

#[async_trait]
impl Exchange for BrokerExchange {
    async fn retained(&self, topic: &str, cap: u64) -> Result<Option<Bytes>, SourceFault> {
        let mut kept = self.live.lock().await;
        // Taken out: a call that is dropped or fails takes its connection with it.
        let mut live = self.take(kept.take()).await?;
        let found = live.retained(topic).await?;
        live.used = Instant::now();
        *kept = Some(live);
        match found {
            Some(payload) if payload.len() as u64 > cap => Err(SourceFault::TooLarge { cap }),
            // An empty retained message is how one is removed.
            found => Ok(found.filter(|payload| !payload.is_empty())),
        }
    }

    async fn ask(&self, topic: &str, id: &str, payload: Bytes) -> Result<Bytes, SourceFault> {
        let mut kept = self.live.lock().await;
        let mut live = self.take(kept.take()).await?;
        let answer = live.ask(&self.device, topic, id, payload).await?;
        live.used = Instant::now();
        *kept = Some(live);
        Ok(answer)
    }
}
