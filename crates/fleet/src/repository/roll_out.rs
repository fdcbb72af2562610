//! Opening, narrowing and pausing what is published.

use linnet_proto::fleet::{CUSTOM, Rollout, Selector, rollout_target};

use super::edit::Change;
use super::generations::named;
use super::publish::target;
use super::{Editor, Repository, RepositoryError};
use crate::keys::Keys;

impl Repository {
    /// A rollout of `number` that opens nothing yet. `salt` decides which devices come first; a push keeps its salt.
    pub fn new_rollout(&self, number: u64, to: Selector, salt: &str) -> Result<Rollout, RepositoryError> {
        Ok(Rollout {
            wire: to.wire(),
            fleet: self.fleet().to_owned(),
            number,
            sha256: self.generation_sha256(number)?,
            to,
            salt: salt.to_owned(),
            opened: 0,
            wave: 0,
            paused: false,
            attempt: 1,
        })
    }
}

impl Editor {
    /// Signs `rollout` by `rollouts`, in the place of the one that its generation had.
    pub fn roll_out(&mut self, rollout: &Rollout, keys: &mut Keys<'_>, now_secs: u64) -> Result<(), RepositoryError> {
        rollout.check().map_err(RepositoryError::Rollout)?;
        if rollout.fleet != self.fleet() {
            return Err(RepositoryError::Rollout(format!(
                "the rollout is of the fleet `{}`, this is `{}`",
                rollout.fleet,
                self.fleet()
            )));
        }
        if rollout.sha256 != self.generation_sha256(rollout.number)? {
            return Err(RepositoryError::Rollout(format!(
                "the rollout opens another generation {} than the one that was published",
                rollout.number
            )));
        }
        let mut listed = target(b"");
        let custom = serde_json::to_value(rollout).map_err(|e| RepositoryError::Rollout(e.to_string()))?;
        listed.custom.insert(CUSTOM.to_owned(), custom);
        // Nobody of ours fetches the empty file; other programs that know TUF may.
        let empty = format!("{}.{}.json", hex::encode(&listed.hashes.sha256[..]), rollout.number);
        let path = self.dir().join("targets/rollouts").join(empty);
        if !path.exists() {
            self.disk.put(&path, b"")?;
        }
        let mut rollouts = self.repository.metadata.rollouts.signed.signed.clone();
        rollouts.targets.insert(named(rollout_target(rollout.number))?, listed);
        self.commit(Change { rollouts: Some(rollouts), ..Change::default() }, keys, now_secs)
    }
}
