//! The operating system: clock, signals, service manager, signs of life, ownership of the socket, what this machine gives.

pub mod clock;
pub mod descriptors;
pub mod groups;
pub mod liveness;
pub mod notify;
pub mod reloads;
pub mod restart;
pub mod signals;
pub mod socket;
pub mod surroundings;
