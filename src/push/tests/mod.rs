//! What must hold of every update.

mod crash;
mod device;
mod driver;
mod flash;
mod machine;
mod power_cut;
mod start;
