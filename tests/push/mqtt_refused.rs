//! A broker whose access list does not let a device fetch: it is told at once, with the topic and what to do, and mended by the list alone.

use crate::harness::{Daemon, Mosquitto};
use crate::operator::{Operator, answers, status, wait_for, wait_for_log};
use crate::serving::Serving;

#[test]
fn what_the_broker_refuses_a_device_that_fetches_is_told_with_its_topic_and_goes_on_once_it_is_allowed() {
    let test = "what_the_broker_refuses_a_device_that_fetches_is_told_with_its_topic_and_goes_on_once_it_is_allowed";
    let dir = tempfile::tempdir().expect("a directory");
    let list = dir.path().join("acl");
    // The operator, who names no user, may do everything.
    let own = "topic readwrite linnet/#\n\nuser linnet-kitchen\ntopic read linnet/#\ntopic write linnet/kitchen/#\n";
    std::fs::write(&list, own).expect("written");
    let Some(mut broker) = Mosquitto::start_with(test, &format!("acl_file {}", list.display())) else { return };
    let operator = Operator::new();
    let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
    let _serving = Serving::start(&operator, &broker.url(), &[]);
    let config = format!(
        "device = \"kitchen\"\nmodels = [{:?}]\n[mqtt]\nurl = {:?}\nusername = \"linnet-kitchen\"\n{}",
        operator.bundled(),
        broker.url(),
        operator.fleet("mqtt")
    );
    let daemon = Daemon::builder().models_of_the_configuration().config(config).start();
    wait_for_log(
        &daemon,
        "the broker does not let this device ask for files on linnet/fleet/home/fetch (NotAuthorized); check its ACL",
    );
    let told = status(&daemon)["fleet_sources"][0].clone();
    assert!(
        told["failing"] == true && told["failed"]["reason"].as_str().is_some_and(|why| why.contains("its ACL")),
        "{told}"
    );
    assert_eq!(status(&daemon)["generation"]["generation"], 0);
    answers(&daemon);
    std::fs::write(&list, format!("{own}topic write linnet/fleet/home/fetch\n")).expect("written");
    broker.restart();
    wait_for(&daemon, one);
}
