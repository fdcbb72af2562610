//! How this device gets its name from a claim (`fleet.claim`): asks until it is granted one, keeps it, and has the daemon begin anew under it.
//!
//! It serves meanwhile what was shipped with it, over the local socket. Nothing here is trusted with what the device runs: a grant says how the device is
//! called and how it reaches the broker; what it runs is signed by the fleet, whose root of trust is in the claim.

mod ask;
pub mod bounds;
mod identity;
mod machine;
#[cfg(test)]
mod power_cut;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use linnet_fleet::claims::ClaimFile;
use linnet_fleet::keys::FileKey;
use linnet_proto::fleet::{ClaimRefusal, Fingerprint, Grant};
use linnet_proto::status::{Provisioning, ProvisioningState};
use tokio::task::JoinHandle;

use crate::config::fleet::ProvisionSettings;
use crate::config::transport::IntakeSettings;
use crate::config::{self, Sources};
use crate::daemon::update::Updates;
use crate::status::DaemonStatus;
use crate::transport::mqtt::backoff::Backoff;
use identity::Identity;
pub use identity::layer;

/// What a provisioner is made of.
pub struct Parts {
    /// `fleet.claim`.
    pub settings: ProvisionSettings,
    /// Limits of what MQTT takes in.
    pub intake: IntakeSettings,
    /// Flags, environment and file.
    pub sources: Sources,
    /// What is told of the daemon.
    pub status: Arc<DaemonStatus>,
    /// Has the daemon begin anew.
    pub updates: Updates,
}

/// Asks while it lives.
pub struct Provisioner(JoinHandle<()>);

impl Drop for Provisioner {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why there is no name yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The claim, the key or the disk of this device.
    Own(String),
    /// The broker is not reached, or nobody answers there.
    Unanswered(String),
    /// The operator refuses it.
    Refused(ClaimRefusal, String),
}

impl Fault {
    fn told(&self) -> (ProvisioningState, String) {
        match self {
            Self::Own(reason) => (ProvisioningState::Failed, reason.clone()),
            Self::Unanswered(reason) => (ProvisioningState::Unanswered, reason.clone()),
            Self::Refused(code, reason) => (ProvisioningState::Refused, format!("{reason} ({})", code.as_str())),
        }
    }
}

impl Provisioner {
    /// Begins. Must be called on a tokio runtime.
    pub fn start(parts: Parts) -> Self {
        Self(tokio::spawn(run(parts)))
    }
}

async fn run(parts: Parts) {
    let path = parts.settings.claim.display().to_string();
    log::info!(
        "provisioning: this device has no name yet and asks for one with {path}; MQTT and updates are off until it has"
    );
    if let Some(damage) = &parts.settings.damaged {
        log::error!("provisioning: what was granted before does not count: {damage}; it is asked for again");
    }
    let mut backoff = Backoff::new(bounds::ATTEMPTS);
    let mut last = None;
    loop {
        match attempt(&parts).await {
            Ok(device) => {
                log::warn!("provisioning: this device is {device} from now on; linnetd restarts");
                // Refused only where the daemon ends anyway.
                let _ = parts.updates.restart().await;
                return;
            }
            Err(fault) => {
                let (state, reason) = fault.told();
                // The same fault again is no news.
                let level = if last.as_ref() == Some(&fault) { log::Level::Debug } else { log::Level::Warn };
                log::log!(level, "provisioning: no name yet: {reason}; linnetd goes on asking");
                parts.status.set_provisioning(Some(Provisioning { claim: path.clone(), state, reason: Some(reason) }));
                last = Some(fault);
            }
        }
        tokio::time::sleep(backoff.next(rand::random())).await;
    }
}

/// From the claim to the grant on the disk; gives the name.
async fn attempt(parts: &Parts) -> Result<String, Fault> {
    let (claim, identity, key) = blocking({
        let (claim, dir) = (parts.settings.claim.clone(), parts.settings.identity.clone());
        move || prepare(claim, dir)
    })
    .await?;
    let authorities = identity.authorities();
    let asked = ask::Asked { claim: &claim, authorities: &authorities, key: &key, settings: &parts.settings };
    let grant = ask::ask(asked, parts.intake.clone()).await?;
    let (sources, path) = (parts.sources.clone(), parts.settings.claim.clone());
    blocking(move || keep(&identity, (&path, &claim), &grant, &sources)).await
}

fn prepare(claim: PathBuf, dir: PathBuf) -> Result<(ClaimFile, Identity, FileKey), Fault> {
    let claim = ClaimFile::read(&claim).map_err(|e| Fault::Own(e.to_string()))?;
    let identity = Identity::at(&dir).map_err(Fault::Own)?;
    let key = identity.key().map_err(Fault::Own)?;
    identity.put_authorities(&claim).map_err(Fault::Own)?;
    Ok((claim, identity, key))
}

/// Puts the grant on the disk, if this device can run with it: one that it cannot load takes nobody down, not even by a power cut.
fn keep(
    identity: &Identity,
    (path, claim): (&Path, &ClaimFile),
    grant: &Grant,
    sources: &Sources,
) -> Result<String, Fault> {
    let text = layer(claim, grant, identity.dir()).map_err(Fault::Own)?;
    if let Err(e) = config::load_granted(sources, &text) {
        let path = path.display();
        return Err(Fault::Own(format!(
            "what was granted by {path} does not go with this device's configuration: {e}"
        )));
    }
    identity.put(claim, grant).map_err(Fault::Own)?;
    Ok(grant.device.clone())
}

async fn blocking<T: Send + 'static>(what: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(what).await;
    done.unwrap_or_else(|e| Err(Fault::Own(format!("the thread that does it ended: {e}"))))
}

/// What the topics and the broker know the device by.
fn fingerprint(key: &FileKey) -> Fingerprint {
    use linnet_fleet::claims::proof;
    proof::fingerprint(&proof::public(key.pair()))
}
