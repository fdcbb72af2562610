//! `linnet fleet serve`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::args::ServeArgs;
use super::devices::borne_by_several;
use super::link::Link;
use super::seen::Seen;
use super::{fleet_name, load};
use crate::ClientError;

/// How often the repository is looked at for a change.
pub(super) const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn run(args: ServeArgs) -> Result<ExitCode, ClientError> {
    let dir = &args.dir.dir;
    let broker = args.broker.required("")?;
    let repository = load(dir)?;
    let registrar = args.grants.registrar(dir, repository.fleet())?;
    let mut link = Link::open_to_serve(&broker, fleet_name(&repository)?, dir, registrar).await?;
    eprintln!("linnet: serving the fleet `{}` out of {}; Ctrl-C ends it", repository.fleet(), dir.display());
    let (mut told, mut named, mut heard_on) = (None, BTreeSet::new(), 0);
    loop {
        if let Some(heard) = link.heard_out().filter(|heard| heard.connection != heard_on) {
            heard_on = heard.connection;
            eprintln!("linnet: {}", heard.said());
        }
        for line in link.seen(|seen| duplicates(seen, &mut named)) {
            eprintln!("linnet: {line}");
        }
        for line in link.said() {
            eprintln!("linnet: {line}");
        }
        let published = match link.down() {
            Some(fault) => Err(link.of_fault(&fault)),
            None => link.follow(dir).await,
        };
        // What it does, and by what it is told from what it did at the last look.
        let held_up = match published {
            Ok(()) => None,
            // It went meanwhile.
            Err(ClientError::Broker { reason, .. }) => Some((0, format!("is away ({reason})"))),
            Err(ClientError::BrokerRefuses { said, code, .. }) => Some((code, said)),
            Err(e) => return Err(e),
        };
        let code = held_up.as_ref().map(|(code, _)| *code);
        if let Some((_, said)) = held_up.filter(|_| code != told) {
            eprintln!("linnet: the broker {said}; trying again");
        }
        told = code;
        tokio::time::sleep(LOOK).await;
    }
}

/// Names that several devices bear, each told once.
fn duplicates(seen: &Seen, named: &mut BTreeSet<String>) -> Vec<String> {
    let several = seen.duplicates().filter(|(name, _)| named.insert((*name).clone()));
    let mut said: Vec<_> = several.map(|(name, reports)| borne_by_several(name, reports)).collect();
    // Copies of one card: nothing but the session tells them apart.
    for report in seen.last().filter(|report| report.contested && named.insert(report.device.clone())) {
        said.push(format!("{} says that another client takes its session: two devices bear this name", report.device));
    }
    said
}

impl Link {
    /// Publishes the repository, if it, or the connection, is not the one of before.
    pub(super) async fn follow(&mut self, dir: &Path) -> Result<(), ClientError> {
        match tokio::fs::read(dir.join("metadata/timestamp.json")).await {
            Ok(timestamp) if self.holds("timestamp.json", &timestamp) => Ok(()),
            _ => self.publish(&load(dir)?).await,
        }
    }
}
