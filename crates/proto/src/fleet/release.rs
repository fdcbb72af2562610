//! What signed metadata say of a generation, so that a device need not fetch it to know that it is not meant.

use serde::{Deserialize, Serialize};

use super::Selector;

/// The custom part of the target `generations/<number>.json`; where there is none, every device may be meant, and the generation's
/// own [`super::Generation::audience`] decides once it is read.
///
/// An unknown field is refused: it may narrow the audience in a way that this program does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// [`Selector::wire`] of the audience.
    pub wire: u32,
    /// [`super::Generation::audience`].
    #[serde(default)]
    pub audience: Selector,
}

impl Default for Release {
    fn default() -> Self {
        Self { wire: super::FLEET_WIRE, audience: Selector::default() }
    }
}

impl Release {
    /// The rules that need no device; a fault is one sentence.
    pub fn check(&self) -> Result<(), String> {
        super::check_wire("release", self.wire, self.audience.wire())?;
        self.audience.check()
    }
}
