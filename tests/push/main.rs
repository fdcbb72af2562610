//! Config push: an operator's repository, signed for real, and the real daemon that updates itself from it.

mod attacks;
mod bad_generations;
mod client;
mod clock;
mod disk;
mod forge;
mod fsyncs;
mod grants;
#[path = "../harness/mod.rs"]
mod harness;
mod hostile;
mod http;
mod https;
mod interrupted;
mod kills;
mod load;
mod mqtt_lies;
mod mqtt_refused;
mod mqtt_resume;
mod operator;
mod operators;
mod over_mqtt;
mod promote;
mod provisioning;
mod python_tuf;
mod reconnect;
mod reports;
#[allow(dead_code)]
#[path = "../mqtt/scripted_broker.rs"]
mod scripted_broker;
mod serving;
mod sources;
mod thief;
mod trial;
mod updates;
