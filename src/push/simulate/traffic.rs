//! What a device has sent and received: what an update costs, what the waves that mean others cost, and what a device costs to which nothing
//! happens, each apart.

use super::bounds::OVERHEAD;

/// Messages and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Count {
    /// Adds another's.
    pub(super) fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The update: its hint and the look that follows, the document, files, reports, what a restart looks for.
    Update,
    /// Signatures of a push that a look by the interval finds; most are of waves that mean others.
    Waves,
    /// The question whether there is anything new, by the interval, and its answer.
    Idle,
}

impl Cause {
    /// Of a question for the metadata file `name`, in a look that the interval asked for (`is_routine`) or something else did.
    pub(super) fn of_metadata(name: &str, is_routine: bool) -> Self {
        // These two are asked for at every look; whatever else is fetched has changed.
        let is_asked_always = name == "timestamp.json" || name.ends_with(".root.json");
        match (is_routine, is_asked_always) {
            (false, _) => Self::Update,
            (true, false) => Self::Waves,
            (true, true) => Self::Idle,
        }
    }
}

/// All that a device has sent and received, by what it was for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) update: Count,
    pub(super) waves: Count,
    pub(super) idle: Count,
    /// Looks by the interval.
    pub(super) routine_looks: u64,
}

impl Traffic {
    /// Counts a message of so many bytes beside its topic and headers.
    pub(super) fn add(&mut self, cause: Cause, payload_bytes: usize) {
        let count = match cause {
            Cause::Update => &mut self.update,
            Cause::Waves => &mut self.waves,
            Cause::Idle => &mut self.idle,
        };
        count.messages += 1;
        count.bytes += payload_bytes as u64 + OVERHEAD;
    }

    /// All of it.
    pub(super) fn sum(&self) -> Count {
        [self.update, self.waves, self.idle].into_iter().fold(Count::default(), |mut sum, one| {
            sum.add(one);
            sum
        })
    }

    /// Takes in another device's.
    pub(super) fn merge(&mut self, other: &Self) {
        self.update.add(other.update);
        self.waves.add(other.waves);
        self.idle.add(other.idle);
        self.routine_looks += other.routine_looks;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_by_the_interval_is_no_part_of_an_update() {
        for (name, is_routine, cause) in [
            ("timestamp.json", true, Cause::Idle),
            ("2.root.json", true, Cause::Idle),
            ("7.snapshot.json", true, Cause::Waves),
            ("7.rollouts.json", true, Cause::Waves),
            ("timestamp.json", false, Cause::Update),
            ("2.root.json", false, Cause::Update),
        ] {
            assert_eq!(Cause::of_metadata(name, is_routine), cause, "{name} {is_routine}");
        }
        let mut traffic = Traffic::default();
        traffic.add(Cause::Idle, 0);
        traffic.add(Cause::Update, 10);
        assert_eq!(traffic.idle, Count { messages: 1, bytes: OVERHEAD });
        traffic.add(Cause::Waves, 1);
        assert_eq!(traffic.sum(), Count { messages: 3, bytes: 11 + 3 * OVERHEAD });
    }
}
