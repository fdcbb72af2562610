//! The operating system: clock, signals, service manager, ownership of the socket, what this machine gives.

pub mod clock;
pub mod descriptors;
pub mod groups;
pub mod notify;
pub mod signals;
pub mod socket;
pub mod surroundings;
