//! `linnet fleet serve`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::args::ServeArgs;
use super::copies::Told;
use super::link::Link;
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
    let (mut told, mut copies, mut heard_on) = (None, Told::default(), 0);
    loop {
        if let Some(heard) = link.heard_out().filter(|heard| heard.connection != heard_on) {
            heard_on = heard.connection;
            eprintln!("linnet: {}", heard.said());
        }
        for line in link.seen(|seen| copies.untold(seen)) {
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

impl Link {
    /// Publishes the repository, if it, or the connection, is not the one of before.
    pub(super) async fn follow(&mut self, dir: &Path) -> Result<(), ClientError> {
        match tokio::fs::read(dir.join("metadata/timestamp.json")).await {
            Ok(timestamp) if self.holds("timestamp.json", &timestamp) => Ok(()),
            _ => self.publish(&load(dir)?).await,
        }
    }
}
