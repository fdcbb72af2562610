//! Whether what serves and a proof fit into memory together. Pure: the numbers are passed in.

use super::{Code, ProbeFault};
use crate::config::fleet::ProbeSettings;
use crate::limits::PROBE_OWN_MIB;
use crate::store::memory::Memory;
use crate::task::catalog::Changed;

/// What a candidate needs, MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// The child, which proves one model after another: the largest of them, and what the process takes itself.
    pub proof_mib: u64,
    /// The daemon, which loads those that are preloaded or pinned beside what serves.
    pub start_mib: u64,
}

/// Where a proof has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Beside what serves.
    Beside {
        /// The memory that it may take, MiB; without a limit where the system does not tell.
        memory_mib: Option<u64>,
    },
    /// Where the models that serve are let go of for as long as it takes.
    Drained {
        /// The memory that it may take, MiB.
        memory_mib: Option<u64>,
    },
}

impl Room {
    /// The memory that the proof may take, MiB.
    pub fn memory_mib(self) -> Option<u64> {
        match self {
            Self::Beside { memory_mib } | Self::Drained { memory_mib } => memory_mib,
        }
    }

    /// Whether the models that serve have to be let go of.
    pub fn is_drained(self) -> bool {
        matches!(self, Self::Drained { .. })
    }
}

impl Need {
    /// Of these models.
    pub fn of(changed: &[Changed]) -> Self {
        let mib = |changed: &Changed| changed.package.manifest.memory_mib;
        let largest = changed.iter().map(mib).max().unwrap_or(0);
        let at_start = changed.iter().filter(|changed| changed.at_start).map(mib).fold(0, u64::saturating_add);
        Self { proof_mib: largest.saturating_add(PROBE_OWN_MIB), start_mib: at_start }
    }

    /// What must be there at once: proof and start come one after the other.
    pub fn most_mib(self) -> u64 {
        self.proof_mib.max(self.start_mib)
    }

    /// Where there is room for it, beside `held_mib` of models in memory; the refusal has both numbers.
    pub fn room(self, held_mib: u64, memory: Option<Memory>, settings: &ProbeSettings) -> Result<Room, ProbeFault> {
        let refuse = |reason: String| Err(ProbeFault::new(Code::NoMemory, reason));
        let needed = self.most_mib();
        if let Some(most) = settings.memory_mib.filter(|most| *most < self.proof_mib) {
            let needed = self.proof_mib;
            return refuse(format!("its proof needs {needed} MiB, fleet.probe_memory_mib allows {most} MiB"));
        }
        let limited = |available: u64| Some(settings.memory_mib.map_or(available, |most| most.min(available)));
        let Some(Memory { total_mib, available_mib }) = memory else {
            return Ok(Room::Beside { memory_mib: settings.memory_mib });
        };
        let drained_mib = available_mib.saturating_add(held_mib).min(total_mib);
        if available_mib >= needed {
            return Ok(Room::Beside { memory_mib: limited(available_mib) });
        }
        if drained_mib < needed {
            return refuse(format!(
                "it needs {needed} MiB, and this device has {drained_mib} MiB even without the models that serve"
            ));
        }
        if !settings.drained {
            return refuse(format!(
                "it needs {needed} MiB beside what serves, and {available_mib} MiB are available; fleet.drained_probe would let go of \
                 {held_mib} MiB meanwhile"
            ));
        }
        Ok(Room::Drained { memory_mib: limited(drained_mib) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settings(memory_mib: Option<u64>, drained: bool) -> ProbeSettings {
        ProbeSettings { time: Duration::from_secs(9), memory_mib, drained }
    }

    fn has(available_mib: u64) -> Option<Memory> {
        Some(Memory { total_mib: 1000, available_mib })
    }

    #[test]
    fn the_numbers_decide_where_the_proof_has_room() {
        let need = Need { proof_mib: 300, start_mib: 500 };
        let room = |available, held, settings: ProbeSettings| need.room(held, has(available), &settings);
        assert_eq!(room(500, 400, settings(None, false)), Ok(Room::Beside { memory_mib: Some(500) }));
        assert_eq!(room(600, 400, settings(Some(350), false)), Ok(Room::Beside { memory_mib: Some(350) }));
        assert_eq!(room(200, 400, settings(None, true)), Ok(Room::Drained { memory_mib: Some(600) }));
        assert_eq!(room(200, 400, settings(Some(320), true)), Ok(Room::Drained { memory_mib: Some(320) }));
        assert_eq!(need.room(0, None, &settings(None, false)), Ok(Room::Beside { memory_mib: None }));
    }

    #[test]
    fn what_does_not_fit_is_rejected_with_both_numbers() {
        let need = Need { proof_mib: 300, start_mib: 500 };
        for (available, held, settings, says) in [
            (200, 400, settings(None, false), ["500 MiB", "200 MiB"]),
            (200, 299, settings(None, true), ["500 MiB", "499 MiB"]),
            (900, 400, settings(Some(299), true), ["300 MiB", "299 MiB"]),
        ] {
            let fault = need.room(held, has(available), &settings).expect_err("it does not fit");
            assert_eq!(fault.code, Code::NoMemory);
            assert!(says.iter().all(|number| fault.reason.contains(number)), "{fault}");
        }
    }
}
