//! One look at the generation on trial: requests, workers, canaries, and the broker.

use std::time::{Duration, Instant};

use linnet_fleet::source::Exchange;
use linnet_proto::topic::{DeviceName, Topic};

use super::effects::Device;
use crate::config::transport::MqttSettings;
use crate::push::Watched;
use crate::push::bounds::{BROKER_PATIENCE, PROVE_AGAIN_EVERY};
use crate::push::machine::{Fault, Persisted};
use crate::status::LinkState;
use crate::transport::mqtt::exchange::BrokerExchange;

/// What a trial has seen so far.
#[derive(Default)]
pub(super) struct Watch {
    /// The settings of MQTT before the switch, where it changed them.
    pub(super) mqtt_before: Option<MqttSettings>,
    /// When the canaries answered last.
    proved: Option<Instant>,
    /// Since when the broker is away.
    away: Option<Instant>,
}

impl Device {
    pub(super) fn watch_serving(&mut self, update: &Persisted) -> Watched {
        if self.serving != update.generation {
            let reason = format!("generation {} serves instead of it", self.serving);
            return Watched::Badly(Fault::new("not_served", reason));
        }
        let judged = self.trial.judge(self.events.tally());
        if let Watched::Badly(_) = judged {
            return judged;
        }
        // At the first look, and then seldom: a canary takes a worker's time from requests.
        if self.watch.proved.is_none_or(|last| last.elapsed() >= PROVE_AGAIN_EVERY) {
            let packages = self.store.packages_dir(update.generation);
            if let Err(reason) = (self.prove_again)(&packages) {
                return Watched::Badly(Fault::new("canary", reason));
            }
            self.watch.proved = Some(Instant::now());
        }
        self.watch_broker(update).unwrap_or(judged)
    }

    /// A broker that is away is this generation's fault only where it changed MQTT's settings and the old ones still connect; else the trial
    /// stands still, so that a broker's outage takes nobody back.
    fn watch_broker(&mut self, update: &Persisted) -> Option<Watched> {
        if !matches!(self.link.get(), LinkState::Down | LinkState::Connecting) {
            self.watch.away = None;
            return None;
        }
        let away = *self.watch.away.get_or_insert_with(Instant::now);
        let fault = |reason: String| Fault::new("broker", reason);
        let reason = self.link.reason().unwrap_or_else(|| "the broker has not answered yet".to_owned());
        if away.elapsed() >= BROKER_PATIENCE.min(self.settings.trial / 2)
            && let Some(before) = self.mqtt_before(update)
            && self.connects(before)
        {
            return Some(Watched::Badly(fault(format!("{reason}; with the settings before it the broker is reached"))));
        }
        Some(Watched::Unsure(fault(format!("the trial stands still while the broker is away: {reason}"))))
    }

    /// The settings before the switch, where they differ: as they were noted, or from the last good generation after a restart.
    fn mqtt_before(&self, update: &Persisted) -> Option<MqttSettings> {
        if let Some(before) = &self.watch.mqtt_before {
            return Some(before.clone());
        }
        let good = self.store.good();
        if good == update.generation {
            return None;
        }
        let config = crate::config::load(&self.candidate(good).ok()?).ok()?;
        config.mqtt.filter(|before| Some(before) != self.config.mqtt.as_ref())
    }

    fn connects(&self, settings: MqttSettings) -> bool {
        let Ok(exchange) = BrokerExchange::new(settings, self.config.mqtt_intake.clone()) else { return false };
        let Ok(device) = DeviceName::new(self.config.device.as_str()) else { return false };
        let topic = Topic::Status(device).to_string();
        let reached = self.wait(async {
            let asked = tokio::time::timeout(Duration::from_secs(30), exchange.retained(&topic, 1 << 10)).await;
            exchange.close().await;
            matches!(asked, Ok(Ok(_)))
        });
        reached == Some(true)
    }
}
