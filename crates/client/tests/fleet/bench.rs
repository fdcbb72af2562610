//! An operator with `linnet`, a repository, and what lies beside them.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use linnet_fleet::repository::Repository;
use linnet_proto::fleet::Rollout;
use tempfile::TempDir;

/// A directory with `linnet`, and beside it a `linnetd` that refuses a generation with the word `nonsense` and otherwise says what it was
/// asked.
pub struct Bench {
    pub dir: TempDir,
}

const LINNETD: &str = "#!/bin/sh\n\
    if [ \"$1\" = --check ]; then\n\
      if grep -q nonsense \"$4\"; then echo 'line 1: nonsense is no key' >&2; exit 78; fi\n\
      if grep -q '\"min_linnetd\":\"99' \"$4\"; then echo 'linnetd: it needs linnetd 99.0.0 or newer' >&2; exit 78; fi\n\
      exit 0\n\
    fi\n\
    echo \"$@\"\n";

impl Bench {
    pub fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        // A copy and not a link: the program looks beside where it lies.
        if std::fs::hard_link(env!("CARGO_BIN_EXE_linnet"), dir.path().join("linnet")).is_err() {
            // By another program: what this one writes stays open in what another test starts meanwhile, and cannot be run until that is over.
            let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_linnet")).arg(dir.path().join("linnet")).status();
            assert!(copied.expect("cp is there").success());
        }
        let linnetd = dir.path().join("linnetd");
        std::fs::write(&linnetd, LINNETD).expect("written");
        std::fs::set_permissions(&linnetd, std::fs::Permissions::from_mode(0o755)).expect("may run");
        Self { dir }
    }

    /// A fleet `home` with one generation.
    pub fn with_a_generation() -> Self {
        let bench = Self::new();
        bench.succeed(&["init", &bench.fleet_text(), "--name", "home"]);
        bench.config("log = \"info\"\n");
        bench.succeed(&["publish", "--config", &bench.config_text(), "--yes"]);
        bench
    }

    pub fn fleet(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub fn fleet_text(&self) -> String {
        self.fleet().display().to_string()
    }

    pub fn config(&self, text: &str) {
        std::fs::write(self.dir.path().join("fleet.toml"), text).expect("written");
    }

    pub fn config_text(&self) -> String {
        self.dir.path().join("fleet.toml").display().to_string()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.dir.path().join("linnet"));
        command.arg("fleet").args(arguments).env("LINNET_FLEET_DIR", self.fleet()).env_remove("LINNET_MQTT_URL");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("linnet runs")
    }

    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Exit code and what was said on standard error.
    pub fn fail(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}: {output:?}");
        (output.status.code().expect("no signal"), String::from_utf8(output.stderr).expect("text"))
    }

    pub fn rollout(&self, number: u64) -> Option<Rollout> {
        Repository::load(&self.fleet()).expect("loads").rollout(number).expect("read")
    }
}
