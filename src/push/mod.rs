//! Config push: a generation is received, verified, staged, probed, activated, and confirmed or rolled back.
//!
//! [`table`] is the way as data, [`machine`] walks it without any effect, [`Driver`] brings the actions about by a trait that the
//! daemon and the simulation implement, `keep` puts the machine and the store together, [`report()`] says where it stands.
//! Each state is durable before anything is done in it, so that a power cut at any moment leaves one generation serving and an
//! update that goes on to its end.

pub mod agent;
mod authorities;
pub mod bounds;
mod driver;
pub mod held;
mod keep;
pub mod machine;
mod open;
pub mod probe;
pub mod recover;
mod report;
pub mod simulate;
pub mod table;
#[cfg(test)]
mod tests;
mod trial;
pub mod versions;

pub use authorities::check_authorities;
pub use driver::{Driver, Effects, Moment, Progress, Settings, Step, Watched};
pub use keep::{Started, save, settle, start, take_back};
pub use machine::{Decision, Fault, Outcome, Persisted, Wanted};
pub use open::{Opened, open};
pub use report::{ReportFacts, report};
pub use table::Action;
