//! Signing a role by those of its keys that are at hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::{Role as TufRole, Signature, Signed};

use super::metadata::{Held, to_bytes};
use super::{RepositoryError, Role};
use crate::keys::{Keys, Locator, Signer};

/// Id of a key in metadata.
pub(super) type KeyId = Decoded<Hex>;

/// The keys of a role that could be opened, by their id, and a sentence for each that could not.
pub(super) struct Hand {
    signers: BTreeMap<Vec<u8>, (KeyId, Arc<dyn Signer>)>,
    missing: Vec<String>,
}

/// Opens the keys at `locators`, those that can be.
pub(super) fn open(keys: &mut Keys<'_>, locators: &[Locator]) -> Hand {
    let mut hand = Hand { signers: BTreeMap::new(), missing: Vec::new() };
    for locator in locators {
        match keys.get(locator).map_err(|e| e.to_string()).and_then(|signer| {
            let id = signer.public().key_id().map_err(|e| e.to_string())?;
            Ok((id, signer))
        }) {
            Ok((id, signer)) => drop(hand.signers.insert(id.to_vec(), (id, signer))),
            Err(e) => hand.missing.push(e),
        }
    }
    hand
}

/// Signs `role` by every key at hand whose id is among `allowed`, and has `verify` judge whether these are enough.
pub(super) fn sign<T: TufRole + Serialize>(
    role: Role,
    signed: T,
    hand: &Hand,
    allowed: &[&[KeyId]],
    verify: impl FnOnce(&Signed<T>) -> Result<(), String>,
) -> Result<Held<T>, RepositoryError> {
    let failed = |reason: String| RepositoryError::Sign { role, reason };
    let message = signed.canonical_form().map_err(|e| failed(e.to_string()))?;
    let mut signatures = Vec::new();
    for (id, signer) in hand.signers.values() {
        if allowed.iter().any(|ids| ids.contains(id)) {
            signatures.push(Signature { keyid: id.clone(), sig: signer.sign(&message)?.into() });
        }
    }
    let signed = Signed { signed, signatures };
    verify(&signed).map_err(|e| {
        let mut reason = e;
        for missing in &hand.missing {
            reason.push_str("; ");
            reason.push_str(missing);
        }
        failed(reason)
    })?;
    Ok(Held { bytes: to_bytes(role, &signed)?, signed })
}
