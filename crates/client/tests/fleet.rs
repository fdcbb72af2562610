//! `linnet fleet` from the outside: the real program, a real Mosquitto, and devices that only report.

#[path = "fleet/bench.rs"]
mod bench;
#[path = "fleet/broker.rs"]
mod broker;
#[path = "fleet/claims.rs"]
mod claims;
#[path = "fleet/devices.rs"]
mod devices;
#[path = "fleet/login.rs"]
mod login;
#[path = "fleet/refresh.rs"]
mod refresh;
#[path = "fleet/refusals.rs"]
mod refusals;
#[path = "fleet/reports.rs"]
mod reports;
#[path = "fleet/repository.rs"]
mod repository;
#[path = "fleet/resumed.rs"]
mod resumed;
#[path = "fleet/told.rs"]
mod told;
#[path = "fleet/waves.rs"]
mod waves;
