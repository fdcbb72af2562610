//! Several sources: one that is of no use costs little, and what is wrong with it is told to who asks.

use std::time::Duration;

use serde_json::Value;

use crate::client::linnet;
use crate::harness::{Daemon, Reply, Web};
use crate::operator::{Operator, look_twice, looking, now, served_version, status, wait_for};

/// A device that takes generations from `sources`, in this order.
fn device(operator: &Operator, sources: &[&str]) -> Daemon {
    let config = operator.device_config("here").replace("[\"here\"]", &format!("{sources:?}"));
    Daemon::builder().models_of_the_configuration().config(config).start()
}

/// What `linnet` says of the daemon, as people read it.
fn said(daemon: &Daemon, verb: &str) -> String {
    let mut command = linnet();
    command.arg("--socket").arg(daemon.socket()).arg(verb);
    if verb == "doctor" {
        command.arg("--config").arg(daemon.home().join("linnet.toml"));
    }
    String::from_utf8_lossy(&command.output().expect("linnet runs").stdout).into_owned()
}

fn of_sources(daemon: &Daemon) -> Vec<Value> {
    status(daemon)["fleet_sources"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_source_that_drips_its_files_is_asked_for_one_of_them_and_the_next_source_brings_this_update_and_the_next() {
    let operator = Operator::new();
    let (drips, honest) = (Web::start(&operator.repository()), Web::start(&operator.repository()));
    // Good metadata at once, and of files a byte in a second.
    drips.answers(|asked, honest| {
        asked.path.starts_with("files/").then(|| Reply { pause: Duration::from_secs(1), ..honest.clone() })
    });
    let one = operator.push("", &[operator.large_package("pushed", "1.0.0", 3 << 20)]);
    let daemon = device(&operator, &[&drips.url(), &honest.url()]);
    wait_for(&daemon, one);
    assert_eq!(served_version(&daemon, "pushed").as_deref(), Some("1.0.0"));
    let files = |web: &Web| {
        let asked = web.asked().into_iter().filter(|asked| asked.path.starts_with("files/"));
        asked.map(|asked| asked.path).collect::<Vec<_>>()
    };
    let (of_drips, mut of_honest) = (files(&drips), files(&honest));
    of_honest.dedup();
    assert_eq!(of_drips.len(), 1, "{of_drips:?}");
    assert!(of_honest.len() > 2, "{of_honest:?}");
    let log = daemon.log();
    let told = log.matches("other sources are asked before").count();
    assert!(told == 1 && log.contains("for the rest of this update, and for 60 min"), "{log}");

    // The next looks, and all of the next update, leave it alone while its time lasts.
    look_twice(&daemon);
    let two = operator.push("", &[operator.large_package("pushed", "2.0.0", 3 << 20)]);
    wait_for(&daemon, two);
    assert_eq!(served_version(&daemon, "pushed").as_deref(), Some("2.0.0"));
    assert_eq!(drips.asked(), []);

    let [of_drips, of_honest] = &of_sources(&daemon)[..] else { panic!("two") };
    assert_eq!((&of_drips["source"], &of_drips["failing"]), (&Value::from(drips.url()), &true.into()));
    assert_eq!(of_drips["failed"]["code"], "too_slow");
    let until = of_drips["set_back_until_secs"].as_u64().expect("it is set back");
    assert!(until > now() && until <= now() + 3600, "{until}");
    assert!(of_honest["failing"] == false && of_honest.get("failed").is_none(), "{of_honest}");
    let doctor = said(&daemon, "doctor");
    assert!(doctor.contains("the others are asked before it for now"), "{doctor}");
}

#[test]
fn a_source_of_metadata_that_drip_or_are_false_is_left_alone_at_the_next_looks() {
    let operator = Operator::new();
    let (drips, lies) = (Web::start(&operator.repository()), Web::start(&operator.repository()));
    let (away, honest) = (Web::start(&operator.repository()), Web::start(&operator.repository()));
    let is_timestamp = |path: &str| path.ends_with("timestamp.json");
    drips.answers(move |asked, honest| {
        is_timestamp(&asked.path).then(|| Reply { pause: Duration::from_secs(1), ..honest.clone() })
    });
    lies.answers(move |asked, _| is_timestamp(&asked.path).then(|| Reply::new("200 OK", "", b"{\"signed\":{}}")));
    away.answers(|_, _| Some(Reply::new("503 Service Unavailable", "", b"")));
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    let daemon = device(&operator, &[&drips.url(), &lies.url(), &away.url(), &honest.url()]);
    wait_for(&daemon, one);
    for web in [&drips, &lies, &away, &honest] {
        assert!(web.asked().iter().any(|asked| asked.path.starts_with("metadata/")), "each was asked in its turn");
    }
    let log = daemon.log();
    let told = log.matches("other sources are asked before").count();
    assert!(told == 2 && log.contains(" for 60 min: timestamp.json"), "{log}");

    // One that was merely away is asked again at each look.
    let two = operator.push("[limits]\nmax_upload_mib = 8\n", &[]);
    wait_for(&daemon, two);
    assert_eq!((drips.asked(), lies.asked()), (vec![], vec![]));
    assert!(!away.asked().is_empty() && !honest.asked().is_empty());
    let is_set_back =
        of_sources(&daemon).iter().map(|source| source.get("set_back_until_secs").is_some()).collect::<Vec<_>>();
    assert_eq!(is_set_back, [true, true, false, false]);
    let doctor = said(&daemon, "doctor");
    assert_eq!(doctor.matches("the others are asked before it for now").count(), 2, "{doctor}");
}

#[test]
fn the_only_source_is_asked_again_though_its_files_were_wrong() {
    let operator = Operator::new();
    let web = Web::start(&operator.repository());
    web.answers(|asked, honest| {
        asked.path.starts_with("files/").then(|| {
            let mut reply = honest.clone();
            if let Some(last) = reply.bytes.last_mut() {
                *last ^= 1;
            }
            reply
        })
    });
    let one = operator.push("", &[operator.package("pushed", "1.0.0")]);
    let daemon = device(&operator, &[&web.url()]);
    looking(&daemon, "the lie is told", || {
        // None before the first look.
        let sources = of_sources(&daemon);
        let source = sources.first()?;
        (source["failing"] == true && source["failed"]["code"] == "digest").then_some(())
    });
    web.is_honest();
    wait_for(&daemon, one);
    let sources = of_sources(&daemon);
    assert!(sources[0]["failing"] == false && sources[0].get("set_back_until_secs").is_none(), "{sources:?}");
}

#[test]
fn why_the_last_look_was_refused_is_told_by_the_status_and_by_the_doctor_until_it_is_mended() {
    let operator = Operator::new();
    let web = Web::start(&operator.repository());
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    let stick = operator.path("stick").display().to_string();
    let daemon = device(&operator, &[&web.url(), &stick]);
    wait_for(&daemon, one);
    let fails = |code: &str| {
        looking(&daemon, &format!("{code} is told"), || {
            let source = of_sources(&daemon).into_iter().next()?;
            (source["failing"] == true && source["failed"]["code"] == code).then_some(source)
        })
    };
    let timestamp = |path: &str| path.ends_with("timestamp.json");
    web.answers(move |asked, _| timestamp(&asked.path).then(|| Reply::new("404 Not Found", "", b"")));
    let source = fails("missing");
    assert!(source["failed"]["reason"].as_str().is_some_and(|reason| reason.contains("timestamp.json")), "{source}");
    assert!(source["succeeded_secs"].as_u64().is_some_and(|secs| secs <= now() && secs + 600 > now()), "{source}");
    let thief = Operator::new();
    thief.push("[limits]\nmax_upload_mib = 1\n", &[]);
    let theirs = std::fs::read(thief.repository().join("metadata/timestamp.json")).expect("readable");
    web.answers(move |asked, _| timestamp(&asked.path).then(|| Reply::new("200 OK", "", &theirs)));
    fails("wrong_keys");
    let (doctor, line) = (said(&daemon, "doctor"), said(&daemon, "status"));
    for text in [&doctor, &line] {
        assert!(text.contains("are signed by none of the keys that count for them"), "{text}");
    }
    assert!(doctor.contains("whether it is this fleet's repository"), "{doctor}");
    assert!(line.contains(&format!("sources  {}: failing, ", web.url())), "{line}");
    // The stick was never there, and that is told, too, and not as a failure.
    assert!(line.contains(&format!("{stick}: not there now; ")), "{line}");
    web.answers(move |asked, _| timestamp(&asked.path).then(|| Reply::new("503 Service Unavailable", "", b"")));
    fails("unreachable");

    web.is_honest();
    looking(&daemon, "it is well", || (of_sources(&daemon)[0]["failing"] == false).then_some(()));
    let line = said(&daemon, "status");
    assert!(line.contains(&format!("{}: well, ", web.url())), "{line}");
    assert_eq!(of_sources(&daemon)[0]["failed"]["code"], "unreachable", "what it last failed of is still to be read");
}
