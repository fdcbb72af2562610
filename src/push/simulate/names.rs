//! What the fleet and its devices are called.

/// The names of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    fleet: String,
    device: String,
}

impl Names {
    /// In virtual time: the same in every run, since the hash of a name decides on its wave.
    pub(super) fn steady() -> Self {
        Self { fleet: "simulated".into(), device: "device".into() }
    }

    /// Over a broker that others use, too: nobody else's, with `run` in each.
    pub(super) fn of_run(run: u32) -> Self {
        let name = format!("simulated-{run:08x}");
        Self { fleet: name.clone(), device: name }
    }

    /// The fleet.
    pub(super) fn fleet(&self) -> &str {
        &self.fleet
    }

    /// A device; of the same length for all.
    pub(super) fn device(&self, index: u32) -> String {
        format!("{}-{index:07}", self.device)
    }

    /// Which device is called so.
    pub(super) fn index(&self, device: &str) -> Option<u32> {
        let index = device.strip_prefix(&self.device)?.strip_prefix('-')?.parse().ok()?;
        (self.device(index) == device).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_device_and_no_other_name_does() {
        let names = Names::of_run(7);
        assert_eq!(names.device(12), "simulated-00000007-0000012");
        assert_eq!(names.index(&names.device(12)), Some(12));
        for other in ["kitchen", "simulated-00000008-0000012", "simulated-00000007-12", "device-0000012"] {
            assert_eq!(names.index(other), None, "{other}");
        }
        assert_eq!(Names::steady().index("device-0000012"), Some(12));
    }
}
