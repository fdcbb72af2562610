//! The sources of the configuration, as they are asked.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
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
    /// Its place in the configuration.
    pub(super) place: usize,
    pub(super) source: Arc<dyn Source>,
    pub(super) broker: Option<Arc<BrokerExchange>>,
}

/// Those that are set up, by their places in the configuration.
#[derive(Default)]
pub(super) struct FleetSources {
    slots: Vec<Option<Reached>>,
    /// The file of authorities that servers among them were set up with.
    authorities: Option<Stamp>,
}

impl FleetSources {
    /// Sets up what is not yet. One that cannot be is named with its place and tried again at the next call; the others are asked.
    pub(super) fn set_up(&mut self, settings: &FleetSettings, broker: Option<&Broker>) -> Vec<(usize, Fault)> {
        self.slots.resize_with(settings.sources.len(), || None);
        let mut faults = Vec::new();
        for (place, (slot, source)) in self.slots.iter_mut().zip(&settings.sources).enumerate() {
            if slot.is_some() {
                continue;
            }
            match set_up(place, source, settings, broker) {
                Ok(reached) => *slot = Some(reached),
                Err(reason) => faults.push((place, Fault::new("source", reason))),
            }
        }
        faults
    }

    /// Has servers set up anew where the file of authorities is another one by now, so that a renewed one needs no restart.
    pub(super) fn follow_authorities(&mut self, settings: &FleetSettings) {
        let now = settings.ca_file.as_deref().and_then(Stamp::of);
        if std::mem::replace(&mut self.authorities, now) == now {
            return;
        }
        for (slot, source) in self.slots.iter_mut().zip(&settings.sources) {
            if matches!(source, FleetSource::Http(_)) {
                *slot = None;
            }
        }
    }

    /// Has all of them set up anew.
    pub(super) fn forget(&mut self) {
        self.slots.clear();
    }

    pub(super) fn get(&self, place: usize) -> Option<&Reached> {
        self.slots.get(place)?.as_ref()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Reached> {
        self.slots.iter().flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }
}

/// Tells one file, and one content of it, from another without reading it. Its time of modification can be set back by whoever copies a file with its
/// times; the time of its last change of any kind cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let found = std::fs::metadata(file).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

fn set_up(
    place: usize,
    source: &FleetSource,
    settings: &FleetSettings,
    broker: Option<&Broker>,
) -> Result<Reached, String> {
    let alone = |source: Arc<dyn Source>| Reached { place, source, broker: None };
    match source {
        FleetSource::Directory(dir) => Ok(alone(Arc::new(Directory::new(dir)))),
        FleetSource::Http(url) => {
            let http = Http::new(url, settings.ca_file.as_deref()).map_err(|e| e.to_string())?;
            Ok(alone(Arc::new(http)))
        }
        FleetSource::Mqtt => {
            let broker = broker.ok_or("fleet.sources names mqtt, but mqtt.url is not set")?;
            let exchange =
                BrokerExchange::new(broker.mqtt.clone(), broker.intake.clone()).map_err(|e| e.to_string())?;
            let exchange = Arc::new(exchange);
            let fleet = FleetName::new(settings.name.as_str()).map_err(|e| format!("fleet.name: {e}"))?;
            let source = Arc::new(Mqtt::new(Arc::clone(&exchange) as _, fleet));
            Ok(Reached { place, source, broker: Some(exchange) })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_that_is_written_over_with_as_many_bytes_and_its_old_time_is_another_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, "one").expect("written");
        let (before, written) =
            (Stamp::of(&path), std::fs::metadata(&path).and_then(|found| found.modified()).expect("a time"));
        assert_eq!(Stamp::of(&path), before);
        // The kernel's clock of files ticks some hundred times a second.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut file = std::fs::OpenOptions::new().write(true).open(&path).expect("opened");
        file.write_all(b"two").expect("written");
        file.set_modified(written).expect("its time is ours");
        drop(file);
        let found = std::fs::metadata(&path).expect("it is there");
        assert_eq!((found.len(), found.modified().expect("a time")), (3, written));
        assert_ne!(Stamp::of(&path), before);
        assert_eq!(Stamp::of(&dir.path().join("none.pem")), None);
    }
}
