//! How a request is to be treated, whatever it asks.

use std::time::Duration;

use linnet_proto::Priority;

/// How a request is to be treated. The default leaves everything to the daemon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// Give up after this time; without it after the longest that the daemon allows, over MQTT after 45 s.
    pub timeout: Option<Duration>,
    /// Who goes first when requests wait for a worker; without it [`Priority::Normal`].
    pub priority: Option<Priority>,
}
