//! The clock by which expiry is judged.

use std::path::Path;

use linnet_fleet::clock::Clock;

use crate::config::fleet::ClockTrust;
use crate::sys::clock;

/// Where the kernel may not be asked: systemd-timesyncd makes it when the clock is right for the first time since boot.
const TIMESYNCD_MARK: &str = "/run/systemd/timesync/synchronized";

/// The system's clock, believed as the configuration says.
#[derive(Debug, Clone, Copy)]
pub struct KernelClock(pub ClockTrust);

impl Clock for KernelClock {
    fn now_secs(&self) -> u64 {
        clock::since_epoch().as_secs()
    }

    fn trusted(&self) -> bool {
        match self.0 {
            ClockTrust::Always => true,
            ClockTrust::Never => false,
            ClockTrust::Kernel => {
                linnet_kernels::clock::is_synchronised().unwrap_or_else(|| Path::new(TIMESYNCD_MARK).exists())
            }
        }
    }
}
