//! The sources of the configuration, as they are asked.

use std::sync::Arc;

use linnet_fleet::source::{Directory, Http, Mqtt, Source};
use linnet_proto::topic::FleetName;

use super::Broker;
use crate::config::fleet::{FleetSettings, FleetSource};
use crate::push::machine::Fault;
use crate::transport::mqtt::exchange::BrokerExchange;

/// A source, and the broker's connection behind it where it is one.
#[derive(Clone)]
pub(super) struct Reached {
    pub(super) source: Arc<dyn Source>,
    pub(super) broker: Option<Arc<BrokerExchange>>,
}

/// In the order of the configuration. One that cannot be set up is named, and the others are asked.
pub(super) fn sources(settings: &FleetSettings, broker: Option<&Broker>) -> (Vec<Reached>, Vec<Fault>) {
    let (mut reached, mut faults) = (Vec::new(), Vec::new());
    for source in &settings.sources {
        match set_up(source, settings, broker) {
            Ok(source) => reached.push(source),
            Err(reason) => faults.push(Fault::new("source", reason)),
        }
    }
    (reached, faults)
}

fn set_up(source: &FleetSource, settings: &FleetSettings, broker: Option<&Broker>) -> Result<Reached, String> {
    let alone = |source: Arc<dyn Source>| Reached { source, broker: None };
    match source {
        FleetSource::Directory(dir) => Ok(alone(Arc::new(Directory::new(dir)))),
        FleetSource::Http(url) => {
            Http::new(url, None).map(|http| alone(Arc::new(http))).map_err(|e| format!("fleet.sources: {url}: {e}"))
        }
        FleetSource::Mqtt => {
            let broker = broker.ok_or("fleet.sources names mqtt, but mqtt.url is not set")?;
            let exchange =
                BrokerExchange::new(broker.mqtt.clone(), broker.intake.clone()).map_err(|e| e.to_string())?;
            let exchange = Arc::new(exchange);
            let fleet = FleetName::new(settings.name.as_str()).map_err(|e| format!("fleet.name: {e}"))?;
            let source = Arc::new(Mqtt::new(Arc::clone(&exchange) as _, fleet));
            Ok(Reached { source, broker: Some(exchange) })
        }
    }
}
