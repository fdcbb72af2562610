//! Config push: an operator's repository, signed for real, and the real daemon that updates itself from it.

#[path = "../harness/mod.rs"]
mod harness;
mod hostile;
mod interrupted;
mod operator;
mod over_mqtt;
mod provisioning;
mod updates;
