//! The real daemon and a real Mosquitto, killed, stopped, flooded and refused.

use std::process::{Command, Stdio};

use base64::Engine;
use linnet_proto::{ErrorCode, Transcript};
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::MqttClient;
use crate::fixture::{correlation, heard, refusal, reply_to, topic};
use crate::harness::{
    Daemon, DaemonBuilder, Mosquitto, NotifySocket, Tmpfs, audio, eventually, long_recording, mosquitto, root, sample,
    skip, wav,
};

const REQUEST: &str = "linnet/kitchen/request/transcribe";

fn config(broker: &Mosquitto, more: &str) -> String {
    format!("device = \"kitchen\"\n[mqtt]\nurl = \"{}\"\nbackoff_first_ms = 50\n{more}\n", broker.url())
}

fn daemon(broker: &Mosquitto, home: &TempDir) -> DaemonBuilder {
    Daemon::builder().in_home(home.path()).config(config(broker, ""))
}

fn home() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn link_state(daemon: &Daemon) -> String {
    daemon.get("/v1/status").json()["mqtt"].as_str().expect("a state").to_owned()
}

fn wait_until_up(daemon: &Daemon) {
    eventually("the link is up", || (link_state(daemon) == "up").then_some(()));
}

/// A second of silence, another one for each number.
fn silence(number: usize) -> Vec<u8> {
    let mut samples = vec![0_i16; 16_000];
    samples[0] = i16::try_from(number).expect("few");
    wav(16_000, 1, &samples)
}

/// The first `samples` of a recording of 16-bit samples, 16 kHz, mono.
fn excerpt(recording: &[u8], samples: usize) -> Vec<u8> {
    let pcm = recording[44..].chunks_exact(2).take(samples).map(|b| i16::from_le_bytes([b[0], b[1]]));
    wav(16_000, 1, &pcm.collect::<Vec<_>>())
}

/// Properties of a request that may take as long as it needs.
fn patient(name: &str) -> PublishProperties {
    let mut properties = reply_to("linnet/counter/response/x", name);
    properties.user_properties.push(("timeout_ms".into(), "3600000".into()));
    properties
}

/// The marks of requests that ran when the daemon was killed.
fn marks(home: &TempDir) -> Vec<String> {
    let files = std::fs::read_dir(home.path().join("state/mqtt/running")).expect("the ledger");
    files.map(|file| file.expect("a mark").file_name().to_string_lossy().into_owned()).collect()
}

/// Sends requests, and counts what became of them.
struct Counter {
    client: MqttClient,
    wanted: Vec<String>,
    speech: Vec<u8>,
}

impl Counter {
    fn send(&mut self, count: usize) {
        for _ in 0..count {
            let name = format!("r{}", self.wanted.len());
            self.client.publish(REQUEST, self.speech.clone(), patient(&name));
            self.wanted.push(name);
        }
        self.client.wait_published(self.wanted.len());
    }

    fn unanswered(&self) -> usize {
        self.wanted.len() - self.client.answers().len()
    }
}

#[test]
fn every_request_is_transcribed_although_daemon_and_broker_go_down_while_it_runs() {
    let test = "every_request_is_transcribed_although_daemon_and_broker_go_down_while_it_runs";
    let Some(mut broker) = Mosquitto::start(test) else { return };
    let home = home();
    let more = "[scheduler]\nworkers = 1\nqueue_length = 200\ndrain_secs = 0\n";
    let start = |broker: &Mosquitto| Daemon::builder().in_home(home.path()).config(config(broker, more)).start();
    let first = start(&broker);
    wait_until_up(&first);
    let speech = excerpt(&sample(), 3 * 16_000);
    let text = first.transcribe(&speech)["text"].as_str().expect("a text").to_owned();
    assert!(text.split_whitespace().count() > 2, "speech has words: {text:?}");
    let client = MqttClient::connect(broker.port(), "counter", "linnet/counter/response/#");
    let mut counter = Counter { client, wanted: Vec::new(), speech };

    // Killed while one runs and others wait.
    counter.send(30);
    first.wait_until_busy(5);
    first.kill();
    let ran_first = marks(&home);
    // One worker runs one request; the mark of the one before may be about to be removed.
    assert!((1..=2).contains(&ran_first.len()), "{ran_first:?}");
    let left = counter.unanswered();
    assert!(left > 5, "{left} were in flight when it was killed");

    // More come while it is away, and the broker is stopped in good order.
    counter.send(15);
    broker.stop();
    broker.restart();
    let second = start(&broker);
    wait_until_up(&second);
    second.wait_until_busy(5);
    // The broker goes while requests run, and comes back.
    counter.send(15);
    second.wait_until_busy(5);
    broker.stop();
    assert!(counter.unanswered() > 5, "the broker was stopped too late");
    broker.restart();
    wait_until_up(&second);
    second.wait_until_busy(5);
    second.kill();
    let ran_second = marks(&home);
    assert!(counter.unanswered() > 5, "it was killed too late");

    let third = start(&broker);
    wait_until_up(&third);
    counter.send(10);
    third.wait_until_busy(1);
    broker.stop();
    broker.restart();
    counter.send(5);
    counter.client.wait_for_answers(&counter.wanted);

    let answers = counter.client.answers();
    assert_eq!(answers.len(), counter.wanted.len(), "each is answered, and nothing that was not asked");
    let mut poisoned = 0;
    for name in &counter.wanted {
        let of_one = &answers[name];
        // Answered twice it may be, but not in two ways.
        if serde_json::from_slice::<Transcript>(&of_one[0].payload).is_ok() {
            of_one.iter().for_each(|answer| assert_eq!(heard(answer), text, "{name}"));
        } else {
            of_one.iter().for_each(|answer| assert_eq!(refusal(answer), ErrorCode::Poisoned, "{name}"));
            poisoned += 1;
        }
    }
    // Only what ran at both crashes may be given up for it.
    let ran_at_both = ran_first.iter().filter(|mark| ran_second.contains(mark)).count();
    assert!(poisoned <= ran_at_both, "{poisoned} are poisoned, {ran_at_both} ran at both crashes");
    let counted = third.metric("linnet_requests_total{task=\"transcribe\",transport=\"mqtt\",outcome=\"ok\"}");
    assert!(counted > 0.0);
}

/// An orderly end that an impatient operator cuts short is no crash.
#[test]
fn a_request_that_ran_when_the_end_was_asked_for_twice_is_not_poisoned() {
    let test = "a_request_that_ran_when_the_end_was_asked_for_twice_is_not_poisoned";
    let Some(broker) = Mosquitto::start(test) else { return };
    let home = home();
    let more = "[scheduler]\nworkers = 1\ndrain_secs = 600\n";
    let start = || Daemon::builder().in_home(home.path()).config(config(&broker, more)).start();
    let client = MqttClient::connect(broker.port(), "counter", "linnet/counter/response/#");
    for end in 1..=2 {
        let daemon = start();
        if end == 1 {
            // Once the daemon has a session, the broker keeps what it has not acknowledged.
            wait_until_up(&daemon);
            client.publish(REQUEST, long_recording(4), patient("long"));
        }
        daemon.wait_until_busy(0);
        eventually("its mark is there", || (marks(&home).len() == 1).then_some(()));
        daemon.signal("TERM");
        eventually("the drain has begun", || {
            (daemon.log().matches("ending: running requests have").count() == end).then_some(())
        });
        daemon.signal("TERM");
        let ended = daemon.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        assert_eq!(ended.log.matches("asked to end a second time").count(), end, "it ran when it ended");
        assert_eq!(marks(&home), [""; 0]);
    }
    let _daemon = start();
    client.wait_for_answers(&["long".to_owned()]);
    assert!(!heard(&client.answers()["long"][0]).is_empty());
}

#[test]
fn the_end_is_heard_while_a_reload_waits_for_running_requests() {
    let test = "the_end_is_heard_while_a_reload_waits_for_running_requests";
    let Some(broker) = Mosquitto::start(test) else { return };
    let (home, systemd) = (home(), NotifySocket::new());
    let more = "[scheduler]\nworkers = 1\ndrain_secs = 600\n";
    let builder = Daemon::builder().in_home(home.path()).config(config(&broker, more));
    let daemon = builder.variable("NOTIFY_SOCKET", systemd.path()).start();
    wait_until_up(&daemon);
    let client = MqttClient::connect(broker.port(), "counter", "linnet/counter/response/#");
    client.publish(REQUEST, long_recording(4), patient("long"));
    daemon.wait_until_busy(0);
    // Without MQTT: its running request is waited for, ten minutes if need be.
    daemon.write_config("device = \"kitchen\"\n[scheduler]\nworkers = 1\ndrain_secs = 600\n");
    daemon.signal("HUP");
    systemd.wait_for("RELOADING=1");
    daemon.signal("TERM");
    systemd.wait_for("STOPPING=1");
    daemon.signal("TERM");
    let ended = daemon.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(ended.log.contains("the reload is given up"), "{}", ended.log);
    assert_eq!(marks(&home), [""; 0]);
}

#[test]
fn a_full_disk_and_one_that_is_read_only_cost_no_answer_and_are_told_until_they_are_mended() {
    let test = "a_full_disk_and_one_that_is_read_only_cost_no_answer_and_are_told_until_they_are_mended";
    let Some(mut broker) = Mosquitto::start(test) else { return };
    let Some(disk) = Tmpfs::mount(test, 512) else { return };
    let home = home();
    let daemon =
        Daemon::builder().in_home(home.path()).state(disk.path().join("state")).config(config(&broker, "")).start();
    wait_until_up(&daemon);
    let speech = excerpt(&sample(), 3 * 16_000);
    let text = daemon.transcribe(&speech)["text"].as_str().expect("a text").to_owned();
    let client = MqttClient::connect(broker.port(), "counter", "linnet/counter/response/#");
    let mut asked = Vec::new();
    let mut ask = |broker: Option<&mut Mosquitto>| {
        let name = format!("d{}", asked.len());
        asked.push(name.clone());
        client.publish(REQUEST, speech.clone(), patient(&name));
        if let Some(broker) = broker {
            // The broker goes while it is in hand, so that its answer lies and is to be written.
            daemon.wait_until_busy(0);
            broker.stop();
            eventually("it is worked off", || (daemon.metric("linnet_jobs_running") == 0.0).then_some(()));
            std::thread::sleep(std::time::Duration::from_secs(3));
            broker.restart();
        }
        client.wait_for_answers(std::slice::from_ref(&name));
        assert_eq!(heard(&client.answers()[&name][0]), text);
    };
    let told = || daemon.get("/v1/status").json()["mqtt_storage"].as_str().map(str::to_owned);
    let errors = || daemon.log().lines().filter(|l| l.contains("ERROR") && l.contains("MQTT works without it")).count();
    ask(None);
    assert_eq!((told(), errors()), (None, 0));

    let filler = disk.fill();
    ask(None);
    ask(Some(&mut broker));
    let reason = eventually("it is told", told);
    assert!(reason.contains("no storage space"), "{reason}");
    assert_eq!(daemon.get("/v1/status").json()["health"], "degraded");
    assert_eq!(daemon.transcribe(&speech)["text"], Value::from(text.clone()), "HTTP needs no disk");
    assert_eq!(errors(), 1, "once for the cause: {}", daemon.log());
    std::fs::remove_file(filler).expect("the filler");
    eventually("it is mended", || told().is_none().then_some(()));
    assert_eq!(daemon.get("/v1/status").json()["health"], "ready");

    disk.read_only(true);
    ask(None);
    let reason = eventually("it is told", told);
    assert!(reason.contains("read-only"), "{reason}");
    ask(None);
    assert_eq!(errors(), 2, "once for each cause: {}", daemon.log());
    disk.read_only(false);
    eventually("it is mended", || told().is_none().then_some(()));
    ask(None);
    assert_eq!(daemon.log().matches("can be written again").count(), 2);
}

#[test]
fn mosquittos_own_clients_are_answered_as_the_documentation_shows() {
    let test = "mosquittos_own_clients_are_answered_as_the_documentation_shows";
    let Some(broker) = Mosquitto::start(test) else { return };
    let (Some(rr), Some(publish), Some(subscribe)) =
        (mosquitto::find("mosquitto_rr"), mosquitto::find("mosquitto_pub"), mosquitto::find("mosquitto_sub"))
    else {
        return skip(test, "mosquitto_rr, mosquitto_pub, mosquitto_sub (Debian: apt-get install mosquitto-clients)");
    };
    let home = home();
    let daemon = daemon(&broker, &home).start();
    wait_until_up(&daemon);
    let over_http = daemon.transcribe(&sample());
    let port = broker.port().to_string();

    // Two and a half seconds: base64 of more does not fit into one argument. (mosquitto_rr 2.0.11 sends an empty message
    // with -f and -s.)
    let excerpt = excerpt(&sample(), 40_000);
    let wanted = daemon.transcribe(&excerpt);
    let json = format!("{{\"audio\": \"{}\"}}", base64::engine::general_purpose::STANDARD.encode(&excerpt));
    let answered = Command::new(rr)
        .args(["-p", &port, "-V", "5", "-W", "60", "-q", "1", "-t", REQUEST, "-e", "linnet/me/response/1"])
        .args(["-D", "publish", "content-type", "application/json", "-m", &json])
        .output()
        .expect("mosquitto_rr runs");
    let answer: Value = serde_json::from_slice(&answered.stdout).expect("JSON");
    assert_eq!(answer["text"], wanted["text"], "{answer}");
    assert!(!answer["text"].as_str().expect("a text").is_empty());

    // A client of MQTT 3.1.1 has no properties: the id leads the answer home.
    let mut waiting = Command::new(subscribe)
        .args([
            "-p",
            &port,
            "-V",
            "mqttv311",
            "-W",
            "120",
            "-C",
            "1",
            "-q",
            "1",
            "-v",
            "-t",
            "linnet/kitchen/response/42",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("mosquitto_sub runs");
    // Sent again until the answer is there, as a client does that may have listened too late: it costs nothing.
    eventually("mosquitto_sub has its answer", || {
        let published = Command::new(&publish)
            .args(["-p", &port, "-V", "mqttv311", "-q", "1", "-t", &format!("{REQUEST}/42"), "-f"])
            .arg(audio("sample.wav"))
            .status()
            .expect("mosquitto_pub runs");
        assert!(published.success());
        std::thread::sleep(std::time::Duration::from_millis(100));
        waiting.try_wait().expect("a child")
    });
    let output = waiting.wait_with_output().expect("mosquitto_sub ends");
    let line = String::from_utf8(output.stdout).expect("UTF-8");
    let (topic, json) = line.split_once(' ').expect("topic and payload");
    assert_eq!(topic, "linnet/kitchen/response/42");
    assert_eq!(serde_json::from_str::<Value>(json).expect("JSON")["text"], over_http["text"]);
}

#[test]
fn status_is_online_and_the_last_will_says_when_it_is_not() {
    let test = "status_is_online_and_the_last_will_says_when_it_is_not";
    let Some(broker) = Mosquitto::start(test) else { return };
    let home = home();
    let watcher = MqttClient::connect(broker.port(), "watcher", "linnet/+/status");
    let statuses = || -> Vec<String> {
        watcher.answers().into_values().flatten().map(|m| String::from_utf8_lossy(&m.payload).into_owned()).collect()
    };
    let first = daemon(&broker, &home).start();
    eventually("online", || (statuses() == ["online"]).then_some(()));
    first.kill();
    eventually("the last will", || (statuses() == ["online", "offline"]).then_some(()));
    let second = daemon(&broker, &home).start();
    eventually("online again", || (statuses() == ["online", "offline", "online"]).then_some(()));
    let ended = second.stop();
    assert!(ended.status.success(), "{}", ended.log);
    eventually("the goodbye", || (statuses().len() == 4).then_some(()));
    assert_eq!(statuses()[3], "offline");
    // Who comes late reads it, too, since it is retained.
    let late = MqttClient::connect(broker.port(), "late", "linnet/kitchen/+");
    late.message("the retained status", |m| (topic(m).ends_with("/status") && m.retain).then_some(()));
    let state = late.message("the retained state", |m| topic(m).ends_with("/state").then(|| m.payload.clone()));
    let state: Value = serde_json::from_slice(&state).expect("JSON");
    assert!(state["limits"]["max_packet_bytes"].as_u64().is_some_and(|bytes| bytes >= 1 << 20), "{state}");
}

#[test]
fn a_daemon_is_ready_without_its_broker_and_finds_it_when_it_comes() {
    let test = "a_daemon_is_ready_without_its_broker_and_finds_it_when_it_comes";
    let Some(mut broker) = Mosquitto::start(test) else { return };
    broker.stop();
    let home = home();
    let daemon = daemon(&broker, &home).start();
    eventually("the link is down", || (link_state(&daemon) == "down").then_some(()));
    broker.restart();
    wait_until_up(&daemon);
    let client = MqttClient::connect(broker.port(), "c", "linnet/c/response/#");
    client.publish(REQUEST, silence(1), reply_to("linnet/c/response/1", "1"));
    client.wait_for_answers(&["1".to_owned()]);
}

#[test]
fn a_flood_is_answered_whole_with_words_or_told_to_come_back() {
    let test = "a_flood_is_answered_whole_with_words_or_told_to_come_back";
    let Some(broker) = Mosquitto::start(test) else { return };
    let home = home();
    let more = "[scheduler]\nworkers = 1\nqueue_length = 10\n";
    let daemon = Daemon::builder().in_home(home.path()).config(config(&broker, more)).start();
    wait_until_up(&daemon);
    let speech = excerpt(&sample(), 3 * 16_000);
    let text = daemon.transcribe(&speech)["text"].as_str().expect("a text").to_owned();
    let client = MqttClient::connect(broker.port(), "flood", "linnet/counter/response/#");
    let wanted: Vec<String> = (0..200).map(|n| format!("f{n}")).collect();
    for name in &wanted {
        client.publish(REQUEST, speech.clone(), patient(name));
    }
    client.wait_for_answers(&wanted);
    let answers = client.answers();
    assert_eq!(answers.len(), wanted.len());
    assert!(answers.values().all(|of_one| of_one.len() == 1), "nothing went down: one answer for each");
    let answers: Vec<_> = answers.into_values().flatten().collect();
    let (words, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| serde_json::from_slice::<Transcript>(&answer.payload).is_ok());
    words.iter().for_each(|answer| assert_eq!(heard(answer), text));
    for answer in &refused {
        let refused: linnet_proto::ErrorBody = serde_json::from_slice(&answer.payload).expect("an error");
        assert_eq!(refused.error.code, ErrorCode::Overloaded);
        assert!(refused.error.retry_after_ms.is_some_and(|ms| ms > 0), "it is told when to come back");
    }
    // A worker and a queue of ten took what they hold, at least, and not everything.
    assert!(words.len() > 10 && !refused.is_empty(), "{} heard, {} refused", words.len(), refused.len());
    let counted = |outcome: &str| {
        daemon.metric(&format!("linnet_requests_total{{task=\"transcribe\",transport=\"mqtt\",outcome=\"{outcome}\"}}"))
    };
    assert_eq!((counted("ok"), counted("overloaded")), (words.len() as f64, refused.len() as f64));
    assert_eq!(link_state(&daemon), "up");
}

#[test]
fn a_retained_request_is_never_run() {
    let test = "a_retained_request_is_never_run";
    let Some(broker) = Mosquitto::start(test) else { return };
    let home = home();
    let client = MqttClient::connect(broker.port(), "c", "linnet/c/response/#");
    client.publish_retained(REQUEST, silence(0), reply_to("linnet/c/response/1", "held by the broker"));
    client.wait_published(1);
    let daemon = daemon(&broker, &home).start();
    wait_until_up(&daemon);
    client.publish_retained(REQUEST, silence(1), reply_to("linnet/c/response/1", "published with the flag"));
    client.publish(REQUEST, silence(2), reply_to("linnet/c/response/1", "an honest one"));
    client.wait_for_answers(&["an honest one".to_owned()]);
    assert_eq!(client.answers().into_keys().collect::<Vec<_>>(), ["an honest one"]);
}

#[test]
fn a_packet_that_is_too_large_is_answered_or_withheld_and_costs_no_connection() {
    let test = "a_packet_that_is_too_large_is_answered_or_withheld_and_costs_no_connection";
    let Some(broker) = Mosquitto::start(test) else { return };
    let home = home();
    let daemon = Daemon::builder().in_home(home.path()).config(config(&broker, "max_packet_mib = 1")).start();
    wait_until_up(&daemon);
    let client = MqttClient::connect(broker.port(), "c", "linnet/c/response/#");
    let zeros = |kib: usize| vec![0_u8; kib * 1024];
    client.publish(REQUEST, zeros(3 * 1024), reply_to("linnet/c/response/1", "far too large"));
    client.publish(REQUEST, zeros(1536), reply_to("linnet/c/response/1", "too large"));
    client.publish(REQUEST, silence(1), reply_to("linnet/c/response/1", "fits"));
    client.wait_for_answers(&["too large".to_owned(), "fits".to_owned()]);
    let answers = client.answers();
    assert_eq!(refusal(&answers["too large"][0]), ErrorCode::TooLarge);
    assert!(!answers.contains_key("far too large"), "Mosquitto withholds what exceeds the maximum packet size");
    let metrics = daemon.get("/metrics").text();
    let lost = metrics.lines().find(|l| l.contains("\"lost\"")).expect("the count of lost connections");
    assert!(lost.ends_with(" 0"), "{lost}");
}

#[test]
fn invalid_utf_8_in_a_topic_costs_its_sender_the_connection_and_nobody_else_anything() {
    use std::io::{Read, Write};
    let test = "invalid_utf_8_in_a_topic_costs_its_sender_the_connection_and_nobody_else_anything";
    let Some(broker) = Mosquitto::start(test) else { return };
    let home = home();
    let daemon = daemon(&broker, &home).start();
    wait_until_up(&daemon);
    let mut raw = std::net::TcpStream::connect(("127.0.0.1", broker.port())).expect("mosquitto listens");
    raw.write_all(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02zz").expect("CONNECT");
    let mut connack = [0; 4];
    raw.read_exact(&mut connack).expect("CONNACK");
    let topic = b"linnet/kitchen/request/\xff\xfe";
    let mut publish = vec![0x32, u8::try_from(2 + topic.len() + 2 + 1).expect("short"), 0, topic.len() as u8];
    publish.extend_from_slice(topic);
    publish.extend_from_slice(b"\x00\x01x");
    raw.write_all(&publish).expect("PUBLISH");
    let client = MqttClient::connect(broker.port(), "c", "linnet/c/response/#");
    client.publish(REQUEST, silence(1), reply_to("linnet/c/response/1", "next"));
    client.wait_for_answers(&["next".to_owned()]);
    assert_eq!(link_state(&daemon), "up");
}

#[test]
fn the_access_list_that_we_ship_lets_a_site_work_and_nobody_else_in() {
    let test = "the_access_list_that_we_ship_lets_a_site_work_and_nobody_else_in";
    let Some(passwd) = mosquitto::find("mosquitto_passwd") else {
        return skip(test, "the program `mosquitto_passwd` (Debian: apt-get install mosquitto)");
    };
    let home = home();
    let passwords = home.path().join("passwords");
    std::fs::write(&passwords, "").expect("writes");
    for user in ["linnet-kitchen", "hub", "alice", "linnet-cellar"] {
        let done = Command::new(&passwd).arg("-b").arg(&passwords).args([user, "secret"]).status().expect("it runs");
        assert!(done.success());
    }
    let acl = root().join("config/examples/mosquitto/linnet.acl");
    let lines = format!("allow_anonymous false\npassword_file {}\nacl_file {}", passwords.display(), acl.display());
    let Some(broker) = Mosquitto::start_with(test, &lines) else { return };
    std::fs::write(home.path().join("secret"), "secret\n").expect("writes");
    let secret = home.path().join("secret");
    let login = format!(
        "username = \"linnet-kitchen\"\npassword_file = \"{}\"\nresponse_topics = [\"site/#\"]",
        secret.display()
    );
    // Without its password it is refused, says so, and serves the socket meanwhile.
    let outside = Daemon::builder().in_home(home.path()).config(config(&broker, "")).start();
    outside.wait_for_log("mqtt.password_file");
    assert_eq!(link_state(&outside), "down");
    outside.write_config(&config(&broker, &login));
    outside.signal("HUP");
    wait_until_up(&outside);

    let connect =
        |user: &str, filter: &str| MqttClient::connect_as(broker.port(), user, Some((user, "secret")), filter);
    let hub = connect("hub", "linnet/hub/response/#");
    hub.publish(&format!("{REQUEST}/h1"), silence(1), reply_to("linnet/hub/response/1", "h"));
    hub.wait_for_answers(&["h".to_owned()]);
    let alice = connect("alice", "linnet/alice/response/#");
    // The daemon would answer there, but the broker does not let it: given up, and the next is answered.
    alice.publish(REQUEST, silence(2), reply_to("site/elsewhere", "lost"));
    alice.publish(REQUEST, silence(3), reply_to("linnet/alice/response/1", "a"));
    alice.wait_for_answers(&["a".to_owned()]);
    eventually("the refused answer is counted", || {
        let metrics = outside.get("/metrics").text();
        metrics.lines().any(|l| l.contains("answers_refused") && l.ends_with(" 1")).then_some(())
    });
    // Nobody reads another's answers, and no device answers for another.
    let spy = connect("linnet-cellar", "linnet/alice/response/#");
    alice.publish(REQUEST, silence(4), reply_to("linnet/alice/response/1", "private"));
    alice.wait_for_answers(&["private".to_owned()]);
    assert!(spy.answers().is_empty());
    spy.publish("linnet/kitchen/status", "offline", PublishProperties::default());
    spy.wait_published(1);
    assert_eq!(spy.refused(), 1);
}

#[test]
fn a_reload_moves_the_daemon_to_another_broker_and_off() {
    let test = "a_reload_moves_the_daemon_to_another_broker_and_off";
    let (Some(here), Some(there)) = (Mosquitto::start(test), Mosquitto::start(test)) else { return };
    let home = home();
    let daemon = daemon(&here, &home).start();
    wait_until_up(&daemon);
    let watcher = MqttClient::connect(here.port(), "w", "linnet/kitchen/status");
    let client = MqttClient::connect(there.port(), "c", "linnet/c/response/#");
    daemon.write_config(&config(&there, ""));
    daemon.signal("HUP");
    client.publish(REQUEST, silence(1), reply_to("linnet/c/response/1", "there"));
    let patient = format!("{REQUEST}/again");
    eventually("the other broker's requests are answered", || {
        client.publish(&patient, silence(2), reply_to("linnet/c/response/1", "repeat"));
        std::thread::sleep(std::time::Duration::from_millis(100));
        client.answers().contains_key("repeat").then_some(())
    });
    watcher.message("the goodbye", |m| (&m.payload[..] == b"offline").then_some(()));
    let answer = client.answers()["repeat"][0].clone();
    assert_eq!(correlation(&answer), "repeat");
    daemon.write_config("device = \"kitchen\"\n");
    daemon.signal("HUP");
    eventually("MQTT is off", || (link_state(&daemon) == "off").then_some(()));
    let again = daemon.transcribe(&sample());
    assert!(again["text"].is_string());
}

#[test]
fn what_is_heard_over_mqtt_is_what_is_heard_over_the_socket() {
    let test = "what_is_heard_over_mqtt_is_what_is_heard_over_the_socket";
    let Some(broker) = Mosquitto::start(test) else { return };
    let home = home();
    let daemon = daemon(&broker, &home).start();
    wait_until_up(&daemon);
    let client = MqttClient::connect(broker.port(), "c", "linnet/c/response/#");
    for name in ["sample", "sample2"] {
        let bytes = std::fs::read(audio(&format!("{name}.wav"))).expect("a recording");
        client.publish(REQUEST, bytes.clone(), reply_to("linnet/c/response/1", name));
        client.wait_for_answers(&[name.to_owned()]);
        let over_mqtt = heard(&client.answers()[name][0]);
        assert_eq!(Value::from(over_mqtt.clone()), daemon.transcribe(&bytes)["text"]);
        assert!(!over_mqtt.is_empty());
    }
}

/// What a broker lets through as it is, and the daemon has no use for.
#[test]
fn far_too_many_user_properties_through_a_broker_are_refused_by_name_and_the_next_request_is_answered() {
    let test = "far_too_many_user_properties_through_a_broker_are_refused_by_name_and_the_next_request_is_answered";
    let Some(broker) = Mosquitto::start(test) else { return };
    let home = home();
    let daemon = daemon(&broker, &home).start();
    wait_until_up(&daemon);
    let client = MqttClient::connect(broker.port(), "client", "linnet/client/response/#");
    for (name, pieces, each) in [("many", 128, 1024), ("long", 2, 65_535)] {
        let mut properties = reply_to("linnet/client/response/x", name);
        properties.user_properties = vec![("x-tag".into(), "v".repeat(each)); pieces];
        client.publish(REQUEST, sample(), properties);
    }
    client.publish(REQUEST, sample(), reply_to("linnet/client/response/x", "plain"));
    client.wait_for_answers(&["many", "long", "plain"].map(str::to_owned));
    assert_eq!(client.refused(), 0, "the broker lets them through");
    let answers = client.answers();
    for name in ["many", "long"] {
        assert_eq!(answers[name].len(), 1, "{name}");
        assert_eq!(refusal(&answers[name][0]), ErrorCode::TooLarge, "{name}");
        let error: Value = serde_json::from_slice(&answers[name][0].payload).expect("JSON");
        assert_eq!(error["error"]["param"], "user_properties", "{name}: {error}");
    }
    assert_eq!(heard(&answers["plain"][0]), daemon.transcribe(&sample())["text"].as_str().expect("a text"));
    assert_eq!(link_state(&daemon), "up");
}
