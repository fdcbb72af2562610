//! The operating system: clock, signals, service manager, ownership of the socket, memory.

pub mod clock;
