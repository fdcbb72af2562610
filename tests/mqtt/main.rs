//! MQTT: what the transport promises, packet by packet against a scripted broker, and as a whole with the real daemon and
//! a real Mosquitto.

mod answers;
mod bad_input;
mod bench;
mod client;
mod connection;
mod daemon;
mod fixture;
#[path = "../harness/mod.rs"]
mod harness;
mod link_health;
mod privacy;
mod promises;
mod repeats;
mod scripted_broker;
mod streams;
mod tasks;
mod transports;
