//! The operator's process and a broker that is restarted: what devices reported meanwhile is heard, and nothing is counted twice.

use linnet_fleet::bucket;
use linnet_fleet::repository::Repository;
use linnet_proto::fleet::Rollout;
use rustix::process::Signal;

use crate::client::{Running, linnet};
use crate::harness::{Mosquitto, eventually, mosquitto, skip};
use crate::operator::Operator;
use crate::reports::{of, retain, shipped};

const NAMES: [&str; 4] = ["attic", "bath", "cellar", "den"];

fn rollout(operator: &Operator) -> Option<Rollout> {
    Repository::load(&operator.repository()).expect("whole").rollout(1).expect("readable")
}

#[test]
fn reports_of_the_time_without_a_broker_are_heard_and_none_is_counted_twice() {
    let test = "reports_of_the_time_without_a_broker_are_heard_and_none_is_counted_twice";
    if mosquitto::find("mosquitto_pub").is_none() {
        return skip(test, "the program `mosquitto_pub` (Debian: apt-get install mosquitto-clients)");
    }
    let Some(mut broker) = Mosquitto::start(test) else { return };
    let operator = Operator::new();
    operator.publish("[limits]\nmax_upload_mib = 7\n", &[]);
    NAMES.iter().for_each(|name| retain(&broker, name, &shipped(name)));

    let mut command = linnet();
    command.args([
        "fleet",
        "push",
        "--to",
        "all",
        "--waves",
        "50%,100%",
        "--max-failed",
        "50%",
        "--min-reported",
        "100%",
    ]);
    command.args(["--wait", "10m", "--json", "--mqtt", &broker.url(), "--dir"]).arg(operator.repository());
    let mut push = Running::start(command, operator.path("words"));
    push.says("wave 1 of 2 is open");
    let opened = rollout(&operator).expect("signed");
    let (wave, later): (Vec<_>, Vec<_>) = NAMES.into_iter().partition(|name| opened.opens(bucket(&opened.salt, name)));
    assert_eq!((wave.len(), later.len()), (2, 2));

    // One of two has failed, which is just allowed: counted twice it would halt the push.
    retain(&broker, wave[0], &of(wave[0], 1, "rejected"));
    broker.stop();
    push.says("the broker is away");
    broker.restart();
    push.says_times("the reports of 4 devices were heard", 2);
    assert_eq!(rollout(&operator).expect("signed").wave, 1, "the other one has not ended");

    // The other one ends while nobody listens.
    push.signal(Signal::STOP);
    broker.stop();
    broker.restart();
    retain(&broker, wave[1], &of(wave[1], 1, "confirmed"));
    push.signal(Signal::CONT);
    eventually("it is heard, and the next wave opens", || {
        rollout(&operator).filter(|rollout| rollout.wave == 2).map(drop)
    });
    later.iter().for_each(|name| retain(&broker, name, &of(name, 1, "confirmed")));
    let ended = push.end();
    let counts = ["confirmed", "failed", "working", "silent", "wave"].map(|key| ended.last[key].as_u64());
    assert_eq!(counts, [3, 1, 0, 0, 2].map(Some), "{} {}", ended.last, ended.said);
    assert!(ended.ok && ended.last["done"] == true, "{}", ended.said);
}
