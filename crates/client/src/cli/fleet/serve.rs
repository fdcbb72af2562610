//! `linnet fleet serve`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::args::ServeArgs;
use super::link::{Link, Purpose};
use super::{fleet_name, load};
use crate::ClientError;

/// How often the repository is looked at for a change.
pub(super) const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn run(args: ServeArgs) -> Result<ExitCode, ClientError> {
    let dir = &args.dir.dir;
    let broker = args.broker.required("")?;
    let repository = load(dir)?;
    let mut link = Link::open(&broker, fleet_name(&repository)?, Some(dir), Purpose::Serve).await?;
    eprintln!("linnet: serving the fleet `{}` out of {}; Ctrl-C ends it", repository.fleet(), dir.display());
    let mut was_down = false;
    loop {
        match link.down() {
            Some(reason) if !was_down => {
                eprintln!("linnet: the broker is away ({reason}); trying again");
                was_down = true;
            }
            Some(_) => {}
            None => {
                was_down = false;
                link.follow(dir).await?;
            }
        }
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
