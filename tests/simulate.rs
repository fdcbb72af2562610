//! `linnetd simulate --broker`: a push to real clients over a real Mosquitto, in scaled time.

mod harness;

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use harness::{Mosquitto, eventually};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Client, Event, MqttOptions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest run that is waited for.
const PATIENCE: Duration = Duration::from_secs(180);

/// A run of the program.
struct Run(Child);

/// What it said.
struct Said {
    status: ExitStatus,
    out: String,
    err: String,
}

impl Run {
    fn start(url: &str, arguments: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_linnetd"));
        command.args(["simulate", "--json", "--broker", url]).args(arguments.split_whitespace());
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self(child.expect("linnetd starts"))
    }

    fn interrupt(&self) {
        kill_process(Pid::from_child(&self.0), Signal::INT).expect("it runs");
    }

    /// Waits for its end.
    fn end(mut self) -> Said {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match self.0.try_wait().expect("the child can be waited for") {
                Some(status) => break status,
                None if Instant::now() > until => {
                    self.0.kill().expect("it runs");
                    panic!("it has not ended within {PATIENCE:?}");
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let (mut out, mut err) = (String::new(), String::new());
        self.0.stdout.take().expect("piped").read_to_string(&mut out).expect("text");
        self.0.stderr.take().expect("piped").read_to_string(&mut err).expect("text");
        Said { status, out, err }
    }
}

impl Said {
    fn summary(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }
}

fn run(broker: &Mosquitto, arguments: &str) -> Said {
    Run::start(&broker.url(), arguments).end()
}

/// The topics below `linnet` on which the broker retains something.
fn retained(broker: &Mosquitto) -> Vec<String> {
    let mut options = MqttOptions::new("looks", "127.0.0.1", broker.port());
    options.set_max_packet_size(Some(4 << 20));
    let (client, mut events) = Client::new(options, 16);
    // QoS 0: of others the broker sends twenty and waits.
    client.subscribe("linnet/#", QoS::AtMostOnce).expect("a subscription");
    // What comes before the answer to this was retained.
    let mut topics = Vec::new();
    let mut is_subscribed = false;
    for event in events.iter() {
        match event.expect("a connection") {
            Event::Incoming(Packet::SubAck(_)) if !is_subscribed => {
                is_subscribed = true;
                client.publish("looks", QoS::AtLeastOnce, false, "x").expect("a message");
            }
            Event::Incoming(Packet::PubAck(_)) => break,
            Event::Incoming(Packet::Publish(publish)) if publish.retain => {
                topics.push(String::from_utf8_lossy(&publish.topic).into_owned());
            }
            _ => {}
        }
    }
    topics
}

#[test]
fn real_clients_converge_by_the_rules_and_leave_nothing_at_the_broker() {
    let Some(broker) = Mosquitto::start("real_clients_converge_by_the_rules_and_leave_nothing_at_the_broker") else {
        return;
    };
    // By this seed device 5 is away, and comes back after 332 seconds.
    let said = run(&broker, "--devices 8 --speed 150 --waves 50%,100% --bad 25% --offline 1% --no-halt --seed 12");
    let summary = said.summary();
    assert!(said.status.success() && summary["converged"] == true, "{summary} {}", said.err);
    assert_eq!(
        (&summary["wrong_generation"], &summary["on_new"], &summary["on_old"]),
        (&0.into(), &6.into(), &2.into()),
        "{summary}"
    );
    assert_eq!(summary["waves"].as_array().map(Vec::len), Some(2), "{summary}");
    // For each of two sources the index and the timestamp, of one the rest of the metadata, the document, two pieces, six reports, a hint.
    let messages = summary["messages_per_update"].as_f64().expect("a number");
    assert!((20.0..80.0).contains(&messages), "{summary}");
    assert!(summary["bytes_per_update"].as_f64().is_some_and(|bytes| bytes > 192e3), "{summary}");
    let refused = summary["refusals"].as_object().expect("refusals");
    assert!(refused.contains_key("wrong_keys") && refused.contains_key("rollback"), "{summary}");

    let log = broker.log();
    let connected = |nth: usize| log.matches(&format!("-{nth:07} (p5")).count();
    assert!((0..8).all(|nth| connected(nth) >= 1), "every device was a client of its own: {log}");
    assert!(connected(5) >= 2, "it has left and come back: {log}");
    assert_eq!(retained(&broker), Vec::<String>::new());
}

#[test]
fn a_fault_of_the_devices_is_seen_over_a_broker_too() {
    let Some(broker) = Mosquitto::start("a_fault_of_the_devices_is_seen_over_a_broker_too") else { return };
    let said = run(&broker, "--devices 4 --speed 150 --waves 100% --bad 50% --no-halt --break rollback");
    let summary = said.summary();
    assert!(summary["wrong_generation"] == 2 && summary["converged"] == false, "{summary} {}", said.err);
    assert!(said.status.success(), "a fault that was asked for is no failure of the program");
    assert_eq!(retained(&broker), Vec::<String>::new());
}

#[test]
fn ctrl_c_ends_a_run_and_clears_the_broker() {
    let Some(broker) = Mosquitto::start("ctrl_c_ends_a_run_and_clears_the_broker") else { return };
    let running = Run::start(&broker.url(), "--devices 4 --speed 1 --waves 100%");
    eventually("a device was told to look", || {
        retained(&broker).iter().any(|topic| topic.ends_with("/config/desired")).then_some(())
    });
    running.interrupt();
    let said = running.end();
    assert_eq!(said.status.code(), Some(130), "{}", said.err);
    assert!(said.err.contains("interrupted"), "{}", said.err);
    assert_eq!(retained(&broker), Vec::<String>::new());
}

#[test]
fn a_broker_that_is_absent_refuses_or_is_lost_is_named_with_what_is_wrong() {
    let test = "a_broker_that_is_absent_refuses_or_is_lost_is_named_with_what_is_wrong";
    let Some(mut broker) = Mosquitto::start(test) else { return };
    let running = Run::start(&broker.url(), "--devices 4 --speed 1 --waves 100%");
    eventually("a device was told to look", || {
        retained(&broker).iter().any(|topic| topic.ends_with("/config/desired")).then_some(())
    });
    broker.stop();
    let said = running.end();
    assert_eq!(said.status.code(), Some(69), "{}", said.err);
    let url = broker.url();
    assert!(said.err.contains(&url) && said.err.contains("stays at the broker"), "{}", said.err);

    let said = run(&broker, "--devices 2");
    assert_eq!(said.status.code(), Some(69), "{}", said.err);
    assert!(said.err.contains(&url) && said.err.lines().count() == 1, "{}", said.err);

    let home = tempfile::tempdir().expect("a directory");
    let acl = home.path().join("acl");
    std::fs::write(&acl, "topic read nothing\n").expect("a file");
    let Some(closed) = Mosquitto::start_with(test, &format!("acl_file {}", acl.display())) else { return };
    let said = run(&closed, "--devices 2");
    assert_eq!(said.status.code(), Some(69), "{}", said.err);
    assert!(said.err.contains("refuse"), "{}", said.err);
}

#[test]
fn arguments_of_a_broker_that_make_no_sense_are_named() {
    for (arguments, says) in [
        ("--devices 351", "at most 350 with --broker"),
        ("--speed 301", "--speed"),
        ("--loss 5%", "--loss"),
        ("--password-file /nonexistent", "--user"),
        ("--user me --password-file /nonexistent", "/nonexistent"),
    ] {
        let said = Run::start("mqtt://127.0.0.1:9", arguments).end();
        assert!(said.status.code().is_some_and(|code| code == 64 || code == 2), "{arguments}: {:?}", said.status);
        assert!(said.err.contains(says), "{arguments}: {}", said.err);
    }
    let said = Run::start("localhost", "--devices 2").end();
    assert!(said.status.code() == Some(64) && said.err.contains("mqtt://host"), "{}", said.err);
}
