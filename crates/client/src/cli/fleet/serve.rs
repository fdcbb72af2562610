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
    let (mut was_down, mut named, mut heard_on) = (false, BTreeSet::new(), 0);
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
        let away = match link.down() {
            Some(reason) => Some(reason),
            None => match link.follow(dir).await {
                Ok(()) => None,
                // It went, or would not take something, meanwhile.
                Err(ClientError::Broker { reason, .. }) => Some(reason),
                Err(e) => return Err(e),
            },
        };
        if let Some(reason) = away.as_ref().filter(|_| !was_down) {
            eprintln!("linnet: the broker is away ({reason}); trying again");
        }
        was_down = away.is_some();
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
