//! Config push: an operator's repository, signed for real, and the real daemon that updates itself from it.

mod attacks;
mod bad_generations;
mod client;
mod clock;
mod disk;
mod forge;
#[path = "../harness/mod.rs"]
mod harness;
mod hostile;
mod http;
mod https;
mod interrupted;
mod kills;
mod load;
mod operator;
mod operators;
mod over_mqtt;
mod provisioning;
mod sources;
mod updates;
