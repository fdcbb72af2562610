//! Why a generation did not prove itself.

use serde::{Deserialize, Serialize};

/// Stable words for reports; one for each kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Code {
    /// The configuration breaks a rule.
    #[serde(rename = "config")]
    Config,
    /// It is for other versions of linnetd.
    #[serde(rename = "linnetd_version")]
    Version,
    /// A package of the generation bears the name of one that was added on this device.
    #[serde(rename = "name_clash")]
    Clash,
    /// A package cannot be read, or is not what its manifest says.
    #[serde(rename = "package")]
    Package,
    /// A model does not load.
    #[serde(rename = "model_load")]
    Load,
    /// A model answers its canary otherwise.
    #[serde(rename = "canary")]
    Canary,
    /// The proof needed more memory than it may take.
    #[serde(rename = "probe_memory")]
    Memory,
    /// A signal ended the proof.
    #[serde(rename = "probe_signal")]
    Signal,
    /// The proof took too long.
    #[serde(rename = "probe_timeout")]
    Timeout,
    /// The proof said nothing that could be understood.
    #[serde(rename = "probe_output")]
    Output,
    /// The proof could not be started, or could not take its limits upon itself.
    #[serde(rename = "probe_start")]
    Start,
    /// What the generation needs does not fit into this device's memory.
    #[serde(rename = "no_memory")]
    NoMemory,
    /// linnetd ended meanwhile: nothing is known, and the proof is to be tried again.
    #[serde(rename = "interrupted")]
    Interrupted,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 13] = [
        Self::Config,
        Self::Version,
        Self::Clash,
        Self::Package,
        Self::Load,
        Self::Canary,
        Self::Memory,
        Self::Signal,
        Self::Timeout,
        Self::Output,
        Self::Start,
        Self::NoMemory,
        Self::Interrupted,
    ];

    /// As it is written in a report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Version => "linnetd_version",
            Self::Clash => "name_clash",
            Self::Package => "package",
            Self::Load => "model_load",
            Self::Canary => "canary",
            Self::Memory => "probe_memory",
            Self::Signal => "probe_signal",
            Self::Timeout => "probe_timeout",
            Self::Output => "probe_output",
            Self::Start => "probe_start",
            Self::NoMemory => "no_memory",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Why a generation did not prove itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeFault {
    /// What kind of fault.
    pub code: Code,
    /// The package that was being proved, by its directory's name.
    pub model: Option<String>,
    /// One sentence; for a configuration, one line for each fault.
    pub reason: String,
}

impl ProbeFault {
    /// A fault of no model.
    pub fn new(code: Code, reason: impl Into<String>) -> Self {
        Self { code, model: None, reason: reason.into() }
    }
}

impl std::fmt::Display for ProbeFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.model {
            Some(model) => write!(f, "{model}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for ProbeFault {}

/// A signal by its name, where people know it by one.
pub(super) fn signal_name(signal: i32) -> String {
    use rustix::process::Signal;
    let names = [
        (Signal::ILL, "SIGILL: the processor does not know an instruction"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS: a file was cut short under it"),
        (Signal::FPE, "SIGFPE"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::SYS, "SIGSYS: the service's sandbox forbids a system call"),
        (Signal::TERM, "SIGTERM"),
    ];
    let known = names.iter().find(|(known, _)| known.as_raw() == signal);
    known.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_written_as_it_is_named() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_string(&code).expect("JSON"), format!("\"{}\"", code.as_str()));
        }
    }

    #[test]
    fn a_signal_is_told_by_its_name() {
        assert!(signal_name(4).starts_with("SIGILL"));
        assert_eq!(signal_name(60), "signal 60");
    }
}
