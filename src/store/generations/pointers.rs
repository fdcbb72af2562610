//! Which generation serves, and which one is known to be good.

use serde::{Deserialize, Serialize};

use super::is_digest;

/// Version of the file's form.
const FORM: u32 = 1;

/// A generation on this disk, by its number and the SHA-256 of its document; 0 and no digest is what was shipped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// Its number.
    pub generation: u64,
    /// SHA-256 of `generation.json`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
}

/// Content of the file `pointers`, which is replaced as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointers {
    form: u32,
    /// What serves.
    pub live: Pointer,
    /// What was confirmed last: where a roll back leads.
    pub good: Pointer,
}

impl Default for Pointers {
    fn default() -> Self {
        Self::of(Pointer::default(), Pointer::default())
    }
}

impl Pointers {
    pub(super) fn of(live: Pointer, good: Pointer) -> Self {
        Self { form: FORM, live, good }
    }

    /// Reads them; a fault is what follows "the file": one clause.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let pointers: Self = serde_json::from_slice(bytes).map_err(|e| format!("cannot be read: {e}"))?;
        if pointers.form != FORM {
            return Err(format!("is written in form {}, form {FORM} is read", pointers.form));
        }
        for pointer in [&pointers.live, &pointers.good] {
            let is_sound = if pointer.generation == 0 { pointer.sha256.is_empty() } else { is_digest(&pointer.sha256) };
            if !is_sound {
                return Err(format!("names generation {} without its digest", pointer.generation));
            }
        }
        Ok(pointers)
    }

    /// As it is written.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}
