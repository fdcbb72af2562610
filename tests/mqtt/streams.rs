//! Text as it is written: `linnet`, a real Mosquitto, the real daemon and a real model.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::client::MqttClient;
use crate::fixture::correlation;
use crate::harness::{Daemon, Mosquitto, eventually, models_of_families};

/// The same at every run.
const GREEDY: [&str; 4] = ["--max-tokens", "24", "--temperature", "0"];

struct Site {
    broker: Mosquitto,
    daemon: Daemon,
    _home: tempfile::TempDir,
}

impl Site {
    /// A daemon named `kitchen` that writes and chats as tiny models do.
    fn start(test: &str) -> Option<Self> {
        let broker = Mosquitto::start(test)?;
        let home = tempfile::tempdir().expect("a directory");
        let models = models_of_families(home.path(), &["qwen2"]);
        let config = format!("device = \"kitchen\"\n[mqtt]\nurl = \"{}\"\n", broker.url());
        let daemon = Daemon::builder().models(models).config(config).start();
        eventually("the link is up", || (daemon.get("/v1/status").json()["mqtt"] == "up").then_some(()));
        Some(Self { broker, daemon, _home: home })
    }

    /// What `linnet` prints, asking over the broker or over the local socket.
    fn says(&self, over_mqtt: bool, arguments: &[&str]) -> String {
        let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_linnetd")).with_file_name("linnet"));
        command.args(arguments).args(GREEDY).env_remove("LINNET_MODEL").stdin(Stdio::null());
        match over_mqtt {
            true => command.args(["--mqtt", &self.broker.url(), "--device", "kitchen"]),
            false => command.arg("--socket").arg(self.daemon.socket()),
        };
        let output = command.output().expect("linnet is built with the workspace");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// The text of a piece, or of the whole answer.
fn text(message: &Value) -> &str {
    let choice = &message["choices"][0];
    let places = [&choice["text"], &choice["delta"]["content"], &choice["message"]["content"]];
    places.into_iter().find_map(Value::as_str).unwrap_or_default()
}

#[test]
fn pieces_over_a_broker_come_in_order_and_add_up_to_the_whole_answer() {
    let Some(site) = Site::start("pieces_over_a_broker_come_in_order_and_add_up_to_the_whole_answer") else { return };
    // Hears what `linnet` hears.
    let witness = MqttClient::connect(site.broker.port(), "witness", "linnet/kitchen/response/#");
    for (command, prompt) in [("generate", "The bird sings in the garden"), ("chat", "Why?")] {
        let before = witness.answers();
        let streamed = site.says(true, &[command, prompt]);
        let answers = eventually("the witness hears the last message", || {
            let mut answers = witness.answers();
            answers.retain(|request, _| !before.contains_key(request));
            let last = answers.values().next()?.last()?;
            let last: Value = serde_json::from_slice(&last.payload).expect("JSON");
            (last["final"] == true).then_some(answers)
        });
        assert_eq!(answers.len(), 1, "{command} asks once");
        let messages: Vec<Value> = answers
            .values()
            .flatten()
            .map(|publish| {
                assert!(!correlation(publish).is_empty());
                serde_json::from_slice(&publish.payload).expect("JSON")
            })
            .collect();
        let (last, pieces) = messages.split_last().expect("an answer");
        assert!(pieces.len() >= 2, "{command}: {messages:?}");
        for (number, message) in messages.iter().enumerate() {
            assert_eq!(message["seq"], number, "{command}: {message}");
            assert_eq!(message["final"], number == pieces.len(), "{command}: {message}");
        }
        let whole = text(last);
        let joined: String = pieces.iter().map(text).collect();
        // What no piece had a place for stands in the last message alone.
        assert!(!joined.is_empty() && whole.starts_with(&joined), "{command}: {joined:?} of {whole:?}");
        assert_eq!(streamed.trim_end_matches('\n'), whole.trim_end_matches('\n'), "{command} prints all of it once");
    }
}

#[test]
fn linnet_prints_the_same_over_a_broker_as_over_the_local_socket() {
    let Some(site) = Site::start("linnet_prints_the_same_over_a_broker_as_over_the_local_socket") else { return };
    for arguments in [["generate", "The bird sings in the garden"], ["chat", "Why?"]] {
        for how in [&["--explain"][..], &["--no-stream"], &[]] {
            let asked = [&arguments[..], how].concat();
            let here = site.says(false, &asked);
            assert!(here.trim().chars().count() > 3, "{asked:?}: {here:?}");
            assert_eq!(site.says(true, &asked), here, "{asked:?}");
        }
    }
}
