//! A real Mosquitto.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use linnet_proto::fleet::Report;
use tempfile::TempDir;

use crate::devices::eventually;

/// A program of the search path, or of the directories of system programs.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    dirs.map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// A broker that takes anonymous clients.
pub struct Mosquitto {
    child: Child,
    port: u16,
    home: TempDir,
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Mosquitto {
    /// `None`, said loudly, where Mosquitto or its clients are not installed.
    pub fn start(test: &str) -> Option<Self> {
        Self::start_with(test, "allow_anonymous true")
    }

    /// The same with these lines of `mosquitto.conf`.
    pub fn start_with(test: &str, lines: &str) -> Option<Self> {
        Self::start_in(tempfile::tempdir().expect("a directory"), test, lines)
    }

    /// The same with an access list, by which whoever comes without a name may do everything.
    pub fn start_with_acl(test: &str, acl: &str) -> Option<Self> {
        let home = tempfile::tempdir().expect("a directory");
        let file = home.path().join("acl");
        write_acl(&file, acl);
        Self::start_in(home, test, &format!("allow_anonymous true\nacl_file {}", file.display()))
    }

    fn start_in(home: TempDir, test: &str, lines: &str) -> Option<Self> {
        let programs = ["mosquitto", "mosquitto_pub", "mosquitto_sub", "mosquitto_rr"];
        if let Some(missing) = programs.iter().find(|name| find(name).is_none()) {
            eprintln!(
                "SKIPPED {test}: `{missing}` is not installed (Debian: apt-get install mosquitto mosquitto-clients)"
            );
            assert!(std::env::var("LINNET_TEST_REQUIRE").as_deref() != Ok("all"), "{missing} is required");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
        let config = home.path().join("mosquitto.conf");
        // Started by root it would else change to a user that may not read what a test writes.
        std::fs::write(&config, format!("user root\nlistener {port} 127.0.0.1\n{lines}\n")).expect("written");
        let child = Command::new(find("mosquitto").expect("found"))
            .arg("-c")
            .arg(&config)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the broker starts");
        eventually("the broker", || TcpStream::connect(("127.0.0.1", port)).ok());
        Some(Self { child, port, home })
    }

    /// Gives it another access list while it runs.
    pub fn follow_acl(&self, acl: &str) {
        write_acl(&self.home.path().join("acl"), acl);
        let told = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(told.success());
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    pub fn client(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(find(program).expect("found"));
        command.args(["-p", &self.port.to_string()]).args(arguments).output().expect("it runs")
    }

    pub fn report(&self, report: &Report) {
        let topic = format!("linnet/{}/config/reported", report.device);
        let payload = serde_json::to_string(report).expect("JSON");
        let output = self.client("mosquitto_pub", &["-q", "1", "-r", "-t", &topic, "-m", &payload]);
        assert!(output.status.success(), "{output:?}");
    }

    /// What is retained on a topic now.
    pub fn retained(&self, topic: &str) -> Option<Vec<u8>> {
        let output = self.client("mosquitto_sub", &["-t", topic, "-C", "1", "-W", "1", "-N"]);
        Some(output.stdout).filter(|bytes| !bytes.is_empty())
    }
}

fn write_acl(file: &Path, acl: &str) {
    std::fs::write(file, format!("topic readwrite #\n{acl}")).expect("written");
}
