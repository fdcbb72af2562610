//! The link: brokers that are absent, refuse, hang or speak nonsense, and what is asked of one that does not.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use linnet::status::{LinkCount, LinkState};
use linnet::transport::mqtt::MqttStartError;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, ConnectReturnCode, Packet, RetainForwardRule, SubscribeReasonCode};

use crate::bench::Bench;
use crate::fixture::{Fixture, REQUEST, heard, intake, reply_to, settings};
use crate::harness::{eventually, free_port};
use crate::scripted_broker::{ScriptedBroker, Seen, no_properties};

#[test]
fn the_broker_is_asked_for_what_the_promises_need() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let mut settings = settings(broker.port(), state.path());
    settings.receive_maximum = 2;
    settings.username = Some("linnet".into());
    settings.password_file = Some(state.path().join("password"));
    std::fs::write(state.path().join("password"), "s3cret\n").expect("writes");
    let _fixture = Fixture::with(settings, 40);
    let mut peer = broker.accept();
    let (connect, will, login) = peer.expect_connect();
    assert_eq!((connect.client_id.as_str(), connect.clean_start, connect.keep_alive), ("linnet-k", false, 60));
    let properties = connect.properties.expect("properties");
    assert_eq!(properties.session_expiry_interval, Some(3600));
    assert!(properties.receive_maximum.expect("set") > 40, "above the queue, so that overload can be answered");
    let will = will.expect("a last will");
    assert_eq!((&will.topic[..], &will.message[..]), (&b"linnet/k/status"[..], &b"offline"[..]));
    assert!(will.retain && will.qos == QoS::AtLeastOnce);
    let login = login.expect("a login");
    assert_eq!((login.username.as_str(), login.password.as_str()), ("linnet", "s3cret"));
    peer.send(&Packet::ConnAck(ConnAck { session_present: true, code: ConnectReturnCode::Success, properties: None }));
    // Also where the session is present: it may be without the subscription.
    let subscribe = peer.subscribe();
    let filter = &subscribe.filters[0];
    assert_eq!((filter.path.as_str(), filter.qos), ("linnet/k/request/#", QoS::AtLeastOnce));
    assert_eq!(filter.retain_forward_rule, RetainForwardRule::Never);
    assert!(filter.preserve_retain);
}

#[test]
fn a_broker_that_comes_late_is_reached() {
    let state = tempfile::tempdir().expect("a directory");
    let port = free_port();
    let fixture = Fixture::start(port, &state);
    fixture.wait_for(LinkState::Down);
    eventually("several attempts fail", || (fixture.link.counted(LinkCount::Lost) >= 3).then_some(()));
    let broker = ScriptedBroker::on(port);
    let mut peer = broker.accept_up(false);
    assert_eq!(peer.next(), Seen::Status("online".into()));
    assert_eq!(fixture.link.get(), LinkState::Up);
}

#[test]
fn nonsense_is_survived_and_the_broker_that_follows_it_reached() {
    let state = tempfile::tempdir().expect("a directory");
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let fixture = Fixture::start(port, &state);
    let nonsense: [&[u8]; 6] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff\xff\xff",
        b"\x20\x7f",
        b"\x20\x03\x00\x00",
        b"",
    ];
    for bytes in nonsense {
        let (mut stream, _) = listener.accept().expect("the daemon tries again");
        // It may have gone before it has heard everything.
        let _ = stream.write_all(bytes);
    }
    eventually("each attempt is counted", || (fixture.link.counted(LinkCount::Lost) >= 5).then_some(()));
    let broker = ScriptedBroker::of(listener);
    let mut peer = broker.accept_up(false);
    peer.deliver(1, REQUEST, b"x", reply_to("site/a", "c"));
    fixture.bench.take().answer("at last");
    assert_eq!(heard(&peer.answer_taken()), "at last");
}

#[test]
fn garbage_in_an_established_connection_costs_the_connection_only() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let garbage: [&[u8]; 5] = [
        b"\x00\x00",
        // A publish whose topic is longer than the packet.
        b"\x32\x05\x00\xff\x00\x01\x00",
        // A publish with a property that does not exist.
        b"\x32\x09\x00\x01a\x00\x01\x02\xfe\x00x",
        // An acknowledgement of nothing.
        b"\x40\x02\x00\x07",
        // A second CONNECT.
        b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00",
    ];
    for bytes in garbage {
        let mut peer = broker.accept_up(true);
        peer.send_raw(bytes);
        while !matches!(peer.next(), Seen::Closed | Seen::Disconnect) {}
    }
    let mut peer = broker.accept_up(true);
    peer.deliver(1, REQUEST, b"x", reply_to("site/a", "c"));
    fixture.bench.take().answer("unharmed");
    assert_eq!(heard(&peer.answer_taken()), "unharmed");
}

#[test]
fn a_broker_that_refuses_is_asked_again() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept();
    peer.expect_connect();
    peer.send(&Packet::ConnAck(ConnAck {
        session_present: false,
        code: ConnectReturnCode::NotAuthorized,
        properties: None,
    }));
    let mut peer = broker.accept();
    peer.connect(false);
    peer.subscribe_with(SubscribeReasonCode::NotAuthorized);
    assert!(matches!(peer.next(), Seen::Closed));
    fixture.wait_for(LinkState::Down);
    let mut peer = broker.accept();
    let mut qos_0_only = no_properties();
    qos_0_only.max_qos = Some(0);
    peer.connect_with(false, Some(qos_0_only));
    assert!(matches!(peer.next(), Seen::Closed));
    let mut peer = broker.accept_up(false);
    assert_eq!(peer.next(), Seen::Status("online".into()));
    assert_eq!(fixture.link.counted(LinkCount::Lost), 3);
}

#[test]
fn a_broker_that_wants_no_keep_alive_is_not_flooded_with_pings() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let fixture = Fixture::start(broker.port(), &state);
    let mut peer = broker.accept();
    let mut no_pings = no_properties();
    no_pings.server_keep_alive = Some(0);
    peer.connect_with(false, Some(no_pings));
    peer.subscribe();
    for id in 1..=20_u16 {
        peer.deliver(id, REQUEST, id.to_string().as_bytes(), reply_to("site/a", "c"));
        fixture.bench.take().answer("words");
        peer.answer_taken();
        assert_eq!(peer.ack(), id);
    }
    assert!(peer.pings <= 1, "{} pings", peer.pings);
}

#[test]
fn wrong_settings_are_refused_by_name_before_anything_connects() {
    let state = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = state.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path
    };
    let (empty, two_lines, no_pem) = (file("empty", "\n"), file("two", "a\nb\n"), file("pem", "nothing"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let _inside = runtime.enter();
    let refusal = |change: &dyn Fn(&mut linnet::config::transport::MqttSettings)| -> String {
        let mut settings = settings(1, state.path());
        change(&mut settings);
        let bench = Bench::new(1);
        let started = linnet::transport::mqtt::MqttTransport::start(
            settings,
            intake(),
            bench.clone(),
            bench,
            linnet::status::BrokerLink::default(),
            linnet::transport::mqtt::notices::Notices::default(),
            &linnet::sys::liveness::Loops::default(),
        );
        let error: MqttStartError = started.err().expect("refused");
        error.to_string()
    };
    for (text, says) in [
        (refusal(&|s| s.url = "localhost".into()), "mqtt.url"),
        (refusal(&|s| s.device = "a/b".into()), "mqtt.device"),
        (refusal(&|s| s.response_topics = vec!["a/#/b".into()]), "mqtt.response_topics"),
        (refusal(&|s| s.client_id = String::new()), "mqtt.client_id"),
        (refusal(&|s| s.url = "mqtts://h".into()), "mqtt.ca_file"),
        (refusal(&|s| s.password_file = Some("/nonexistent/p".into())), "/nonexistent/p"),
        (refusal(&|s| s.password_file = Some(empty.clone())), "empty"),
        (refusal(&|s| s.password_file = Some(two_lines.clone())), "one line"),
        (
            refusal(&|s| {
                s.url = "wss://h".into();
                s.ca_file = Some(no_pem.clone());
            }),
            "no PEM certificate",
        ),
    ] {
        assert!(text.contains(says), "{says}: {text}");
    }
}

#[test]
fn a_state_directory_that_cannot_be_used_stops_no_answer() {
    let (broker, state) = (ScriptedBroker::start(), tempfile::tempdir().expect("a directory"));
    let blocked = state.path().join("file");
    std::fs::write(&blocked, b"").expect("writes");
    let mut fixture = Fixture::with(settings(broker.port(), &blocked), 2);
    let mut peer = broker.accept_up(false);
    peer.deliver(1, REQUEST, b"x", reply_to("site/a", "c"));
    let job = fixture.bench.take();
    job.begin();
    job.answer("words");
    let unacknowledged = peer.answer();
    assert_eq!(heard(&unacknowledged), "words");
    let drained = fixture.drain(Duration::from_millis(20));
    assert_eq!(fixture.runtime.block_on(drained).expect("it drains"), 0);
}
