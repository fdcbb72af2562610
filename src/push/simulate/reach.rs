//! How a device reaches repositories and its operator: over a simulated link ([`super::link`]) or over a broker ([`super::live`]).

use linnet_fleet::source::Source;

use super::device::World;
use super::random::Random;
use super::traffic::Traffic;

/// Whose repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The operator's.
    Operator,
    /// The mirror's that tells of a generation of its own.
    Forger,
    /// The mirror's that shows the past.
    Hider,
}

/// One device's way to everybody else.
pub(super) trait Reach {
    /// A repository while the device asks it.
    type Visit<'a>: Source
    where
        Self: 'a;

    /// A look by the interval begins.
    fn count_routine_look(&mut self);

    /// Turns to a repository. `is_routine`: the interval between two looks asks for it, and nothing else.
    fn visit<'a>(&'a mut self, whose: Whose, is_routine: bool, world: &'a World) -> Self::Visit<'a>;

    /// Turns away again; what came of it.
    fn end(visit: Self::Visit<'_>) -> Passage;

    /// Sends a report. After how many milliseconds it arrives, where whoever plays the device hands it over.
    fn report(&mut self, payload: Vec<u8>) -> Option<u64>;

    /// The device's own random numbers.
    fn random(&mut self) -> &mut Random;

    /// All that was sent and received.
    fn traffic(&self) -> Traffic;
}

/// What came of the questions of a visit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Passage {
    /// How long it took, milliseconds of the simulation's time.
    pub(super) spent_ms: u64,
    /// Which publication the operator's repository held; none where a question got no answer, and of a mirror's.
    pub(super) reached: Option<u32>,
    /// Of which publication the signed rollouts have arrived, whole.
    pub(super) seen: Option<u32>,
}
