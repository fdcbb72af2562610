//! A real Mosquitto.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use linnet_proto::fleet::Report;
use tempfile::TempDir;

use crate::eventually;

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
    _home: TempDir,
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
        let programs = ["mosquitto", "mosquitto_pub", "mosquitto_sub", "mosquitto_rr"];
        if let Some(missing) = programs.iter().find(|name| find(name).is_none()) {
            eprintln!(
                "SKIPPED {test}: `{missing}` is not installed (Debian: apt-get install mosquitto mosquitto-clients)"
            );
            assert!(std::env::var("LINNET_TEST_REQUIRE").as_deref() != Ok("all"), "{missing} is required");
            return None;
        }
        let home = tempfile::tempdir().expect("a directory");
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
        Some(Self { child, port, _home: home })
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
