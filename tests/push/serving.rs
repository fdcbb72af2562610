//! `linnet fleet serve`, as an operator has it run.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use crate::client::linnet_under;
use crate::harness::eventually;
use crate::operator::Operator;

/// The process; ended when dropped.
pub struct Serving {
    child: Child,
    log: PathBuf,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    /// Serves the operator's repository at the broker `url`, with further arguments.
    pub fn start(operator: &Operator, url: &str, arguments: &[&str]) -> Self {
        Self::start_under(&[], operator, url, arguments)
    }

    /// The same without waiting until it serves: the broker may be the test's own, which answers later.
    pub fn launch(operator: &Operator, url: &str, arguments: &[&str]) -> Self {
        Self::launch_under(&[], operator, url, arguments)
    }

    /// The same by another program ([`linnet_under`]).
    pub fn start_under(words: &[OsString], operator: &Operator, url: &str, arguments: &[&str]) -> Self {
        let serving = Self::launch_under(words, operator, url, arguments);
        eventually("it serves", || serving.log().contains("serving the fleet").then_some(()));
        serving
    }

    fn launch_under(words: &[OsString], operator: &Operator, url: &str, arguments: &[&str]) -> Self {
        let log = operator.path("serve.log");
        let output = std::fs::File::create(&log).expect("a log");
        let mut command = linnet_under(words);
        command.args(["fleet", "serve", "--mqtt", url, "--dir"]).arg(operator.repository());
        command.arg("--keys").arg(operator.keys()).args(arguments);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).spawn().expect("linnet runs");
        Self { child, log }
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}
