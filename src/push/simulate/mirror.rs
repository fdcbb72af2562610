//! The malicious mirror. It cannot sign, so it lies in every way that is left to it.

use std::path::Path;

use bytes::Bytes;
use linnet_fleet::source::Memory;
use linnet_proto::fleet::Rollout;

use super::SimulateError;
use super::names::Names;
use super::operator::{Home, Publication, model};
use super::random::Random;

/// What the mirror tells whom.
#[derive(Debug)]
pub(super) struct Mirror {
    /// A generation of the attacker's own, above every honest one and opened for all, signed by keys of the attacker's own.
    pub(super) forged: Told,
    /// The metadata of before the push, for ever.
    pub(super) old: Told,
}

/// One of its stories.
#[derive(Debug)]
pub(super) struct Told {
    /// As devices reach it.
    pub(super) memory: Memory,
    /// Every metadata file by name.
    pub(super) metadata: Vec<(String, Bytes)>,
}

impl Mirror {
    /// Makes both out of what the honest repository held before the push (`before`) and holds now (`home`). Files that are asked for
    /// by name are of the right length and of other bytes.
    pub(super) fn new(
        scratch: &Path,
        random: Random,
        before: &Publication,
        home: &Home,
        names: &Names,
    ) -> Result<Self, SimulateError> {
        let mut attacker = Home::found(scratch, random.clone(), names)?;
        let mut newest = 0;
        // Numbers rise one by one; the last lies above those of the honest repository.
        while newest <= home.repository().newest() {
            newest = attacker.publish(&model(random.clone()))?;
        }
        let rollout = Rollout { opened: Rollout::BUCKETS, wave: 1, ..attacker.rollout(newest, "forged")? };
        attacker.sign(&rollout, 0)?;
        let forged = attacker.now()?;
        let forged = Told { memory: forged.memory, metadata: forged.metadata };
        let old = Told { memory: Memory::new(), metadata: before.metadata.clone() };
        for (name, bytes) in &before.metadata {
            old.memory.put_metadata(name, bytes.clone());
        }
        for (path, mut bytes) in home.files()? {
            for byte in &mut bytes {
                *byte ^= 0x55;
            }
            forged.memory.put_file(&path, bytes.clone());
            old.memory.put_file(&path, bytes);
        }
        Ok(Self { forged, old })
    }
}
