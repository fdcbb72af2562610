//! A real `linnetd` as a child process on a directory of its own.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use super::http::{Answer, request};
use super::{PATIENCE, eventually, models};

/// Lines of a daemon's log that are shown where a test fails.
const LAST_LINES: usize = 40;

/// How to start a daemon.
pub struct DaemonBuilder {
    home: Home,
    models: Option<PathBuf>,
    config: String,
    state: Option<PathBuf>,
    flags: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    wrapper: Vec<OsString>,
}

/// The directory of socket, state, configuration and log: the daemon's own, or one that outlives it.
enum Home {
    Own(TempDir),
    Shared(PathBuf),
}

impl Home {
    fn path(&self) -> &Path {
        match self {
            Self::Own(dir) => dir.path(),
            Self::Shared(path) => path,
        }
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    home: Home,
    log: PathBuf,
}

/// A daemon that has ended.
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// All that it logged.
    pub log: String,
}

impl DaemonBuilder {
    /// Keeps socket, state and log in `home`, so that a next daemon can go on with them.
    pub fn in_home(mut self, home: &Path) -> Self {
        self.home = Home::Shared(home.to_owned());
        self
    }

    /// Loads the packages in `models` instead of the bundled ones.
    pub fn models(mut self, models: impl Into<PathBuf>) -> Self {
        self.models = Some(models.into());
        self
    }

    /// Gives no flag for the models: the configuration names them, or the bundled ones are found.
    pub fn models_of_the_configuration(mut self) -> Self {
        self.models = None;
        self
    }

    /// Keeps state in `state` instead of its own directory.
    pub fn state(mut self, state: impl Into<PathBuf>) -> Self {
        self.state = Some(state.into());
        self
    }

    /// The text of the configuration file.
    pub fn config(mut self, text: impl Into<String>) -> Self {
        self.config = text.into();
        self
    }

    /// A further flag.
    pub fn flag(mut self, flag: impl Into<OsString>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// A variable of the environment.
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Starts it by another program, which takes its path and arguments behind these words and becomes it.
    pub fn under(mut self, words: Vec<OsString>) -> Self {
        self.wrapper = words;
        self
    }

    /// Starts it without waiting for anything.
    pub fn spawn(self) -> Daemon {
        let home = self.home.path();
        let config = home.join("linnet.toml");
        std::fs::write(&config, &self.config).expect("the configuration is written");
        let log = home.join("linnetd.log");
        let output = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("the log is opened");
        let mut command = program(&self.wrapper);
        command.arg("--config").arg(&config);
        command.arg("--socket").arg(home.join("linnet.sock"));
        command.arg("--state").arg(self.state.clone().unwrap_or_else(|| home.join("state")));
        if let Some(models) = &self.models {
            command.arg("--models").arg(models);
        }
        command.args(&self.flags).envs(self.variables.iter().map(|(name, value)| (name, value)));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).spawn().expect("linnetd starts");
        Daemon { child, home: self.home, log }
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Daemon {
        let mut daemon = self.spawn();
        daemon.wait_until_ready();
        daemon
    }
}

/// The program under test, with nothing of the environment that would change what it does.
pub fn linnetd() -> Command {
    program(&[])
}

/// The user that owns nothing.
pub const NOBODY: u32 = 65_534;

/// As [`linnetd`], for a user who is not root: the one who runs the test, else one who owns nothing. That one gets a copy of the
/// program in `home`, and may enter it: where the build lies nobody but root may look.
pub fn linnetd_without_root(home: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return linnetd();
    }
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let copy = home.join("linnetd");
    if !copy.exists() {
        // By another program: a file that this one writes stays open in whatever another test starts meanwhile, and cannot be run until that is over.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_linnetd")).arg(&copy).status().expect("cp is there");
        assert!(copied.success(), "cp: {copied}");
    }
    let mut command = without_environment(Command::new(copy));
    command.uid(NOBODY).gid(NOBODY);
    command
}

fn program(wrapper: &[OsString]) -> Command {
    let linnetd = OsString::from(env!("CARGO_BIN_EXE_linnetd"));
    let mut words = wrapper.iter().chain([&linnetd]);
    let mut command = Command::new(words.next().expect("there is one"));
    command.args(words);
    without_environment(command)
}

fn without_environment(mut command: Command) -> Command {
    for name in [
        "LINNET_CONFIG",
        "LINNET_SOCKET",
        "LINNET_MODELS",
        "LINNET_DEFAULT_MODEL",
        "LINNET_STATE",
        "LINNET_LOG",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
    ] {
        command.env_remove(name);
    }
    command.env_remove("WATCHDOG_PID").env_remove("JOURNAL_STREAM").env("RUST_BACKTRACE", "0");
    command
}

impl Daemon {
    /// A daemon with the bundled models and no settings, ready.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// How to start another.
    pub fn builder() -> DaemonBuilder {
        DaemonBuilder {
            home: Home::Own(tempfile::tempdir().expect("a directory")),
            models: Some(models()),
            config: String::new(),
            state: None,
            flags: Vec::new(),
            variables: Vec::new(),
            wrapper: Vec::new(),
        }
    }

    /// Its directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Its local socket.
    pub fn socket(&self) -> PathBuf {
        self.home().join("linnet.sock")
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until its log holds `text`.
    pub fn wait_for_log(&self, text: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(Instant::now() < until, "the log never said {text:?}:\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Waits until `/readyz` answers 200; fails with its log when it ends instead.
    pub fn wait_until_ready(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Ok(answer) = request(&self.socket(), "GET", "/readyz", &[], b"")
                && answer.status == 200
            {
                return;
            }
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                panic!("linnetd ended with {status} instead of being ready:\n{}", self.log());
            }
            assert!(Instant::now() < until, "linnetd is not ready:\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Asks over the socket.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    /// Sends a body over the socket.
    pub fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        self.send("POST", path, &[("content-type", content_type)], body)
    }

    /// One request over the socket.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        request(&self.socket(), method, path, headers, body)
            .unwrap_or_else(|e| panic!("{method} {path}: {e}\n{}", self.log()))
    }

    /// Transcribes a file's bytes and gives Linnet's own JSON.
    pub fn transcribe(&self, audio: &[u8]) -> Value {
        let path = "/v1/audio/transcriptions?response_format=linnet_json";
        let answer = self.post(path, "application/octet-stream", audio);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Sends a signal by its name (`TERM`).
    pub fn signal(&self, name: &str) {
        let signal = match name {
            "TERM" => rustix::process::Signal::TERM,
            "INT" => rustix::process::Signal::INT,
            "HUP" => rustix::process::Signal::HUP,
            "KILL" => rustix::process::Signal::KILL,
            "STOP" => rustix::process::Signal::STOP,
            "CONT" => rustix::process::Signal::CONT,
            other => panic!("no signal {other}"),
        };
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the daemon runs");
    }

    /// The value of a series of `/metrics`, without labels or with all of them.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Waits until a worker runs a request and at least `waiting` others wait.
    pub fn wait_until_busy(&self, waiting: usize) {
        eventually("a request runs", || {
            let busy = self.metric("linnet_jobs_running") >= 1.0 && self.metric("linnet_queue_depth") >= waiting as f64;
            busy.then_some(())
        });
    }

    /// Lets it open at most `more` files beside those that it has open.
    pub fn limit_files(&self, more: usize) {
        use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("its open files").count();
        let limit = Rlimit { current: Some((open + more) as u64), maximum: getrlimit(Resource::Nofile).maximum };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit).expect("its parent may");
    }

    /// Lets it map at most `more` MiB beside what it has mapped.
    pub fn limit_memory(&self, more: u64) {
        use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("its status");
        let mapped = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB"));
        let mapped: u64 = mapped.and_then(|kib| kib.parse().ok()).expect("what it has mapped");
        let limit = Rlimit { current: Some((mapped << 10) + (more << 20)), maximum: getrlimit(Resource::As).maximum };
        prlimit(Some(Pid::from_child(&self.child)), Resource::As, limit).expect("its parent may");
    }

    /// Writes another configuration file; `SIGHUP` makes the daemon read it.
    pub fn write_config(&self, text: &str) {
        std::fs::write(self.home().join("linnet.toml"), text).expect("the configuration is written");
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child can be waited for").is_none()
    }

    /// Asks it to end and waits for that.
    pub fn stop(self) -> Ended {
        self.signal("TERM");
        self.wait()
    }

    /// Kills it as a power cut would, and waits for that.
    pub fn kill(self) -> Ended {
        self.signal("KILL");
        self.wait()
    }

    /// Has it end by SIGABRT, as a fault of its own does, and waits for that.
    pub fn crash(self) -> Ended {
        use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
        let pid = Pid::from_child(&self.child);
        // Nobody wants its memory in a file.
        let none = Rlimit { current: Some(0), maximum: getrlimit(Resource::Core).maximum };
        prlimit(Some(pid), Resource::Core, none).expect("its parent may");
        kill_process(pid, Signal::ABORT).expect("the daemon runs");
        self.wait()
    }

    /// Waits until it ends.
    pub fn wait(mut self) -> Ended {
        let child = &mut self.child;
        let status = eventually("linnetd ends", || child.try_wait().expect("the child can be waited for"));
        Ended { status, log: self.log() }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its directory goes with it, and a failure that comes once in a hundred runs is told by nothing else.
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().rev().take(LAST_LINES).collect();
            eprintln!("the last lines of {}:", self.log.display());
            lines.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}
