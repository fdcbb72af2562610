//! Pushes that stop, and are taken up again.

use std::process::Command;

use linnet_fleet::bucket;
use linnet_fleet::repository::Repository;
use linnet_fleet::waves::PushStanding;
use linnet_proto::fleet::PushState;

use crate::bench::Bench;
use crate::broker::Mosquitto;
use crate::devices::{DEVICES, devices_end, eventually, report, shipped};

#[test]
fn a_push_that_is_paused_left_or_short_of_reports_is_taken_up_again() {
    let Some(broker) = Mosquitto::start("a_push_that_is_paused_left") else { return };
    let bench = Bench::with_a_generation();
    let url = broker.url();
    let (code, e) = bench.fail(&["push", "--mqtt", &url, "--to", "all"]);
    assert!(code == 64 && e.contains("has reported") && bench.rollout(1).is_none(), "nothing is known yet: {e}");
    shipped(&broker);

    // Too few reports in time: it pauses, and says who is silent.
    let (code, e) = bench.fail(&["push", "--mqtt", &url, "--to", "all", "--waves", "50%,100%", "--wait", "1s"]);
    let rollout = bench.rollout(1).expect("signed");
    assert!(code == 75 && e.contains("only 0 of 2") && rollout.paused, "{code}: {e}");
    let of_the_wave: Vec<_> = DEVICES.into_iter().filter(|d| bucket(&rollout.salt, d) < rollout.opened).collect();
    assert!(of_the_wave.len() == 2 && of_the_wave.iter().all(|device| e.contains(device)), "{e}");

    // Resumed, it is paused by somebody else.
    let mut push = bench.command(&["push", "--mqtt", &url, "--resume"]).spawn().expect("it starts");
    // Its record says that one second is waited for, so it ends by itself or by the pause, whichever comes first: both are pauses.
    eventually("the end", || push.try_wait().expect("ours"));
    assert_eq!(push.wait().expect("ended").code(), Some(75));
    assert_eq!(bench.rollout(1).map(|it| it.salt), Some(rollout.salt.clone()), "a push keeps its salt");

    // Promoted, the wave is open again, and the push goes on when its devices report.
    assert!(bench.succeed(&["promote", "--mqtt", &url]).contains("generation 1 is open"));
    assert!(!bench.rollout(1).expect("signed").paused);
    for device in DEVICES {
        broker.report(&report(device, 1, PushState::Confirmed));
    }
    let resumed = bench.command(&["push", "--mqtt", &url, "--resume", "--json"]).output().expect("it runs");
    assert!(resumed.status.success(), "{resumed:?}");

    // Another generation: a long wait that `pause` ends, then Ctrl-C, then the end.
    bench.config("log = \"debug\"\n");
    bench.succeed(&["publish", "--config", &bench.config_text(), "--yes"]);
    let push =
        bench.command(&["push", "--mqtt", &url, "--to", "all", "--waves", "25%,100%"]).spawn().expect("it starts");
    eventually("the first wave", || bench.rollout(2));
    let (code, e) = bench.fail(&["push", "--mqtt", &url, "--to", "all"]);
    assert!(code == 75 && e.contains("`push` of"), "a second push is refused by name: {e}");
    // The push may just be signing.
    eventually("the pause", || bench.run(&["pause", "--mqtt", &url]).status.success().then_some(()));
    let ended = push.wait_with_output().expect("it ended");
    assert_eq!(ended.status.code(), Some(75), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("somebody paused it"), "{ended:?}");

    let mut push = bench.command(&["push", "--mqtt", &url, "--resume"]).spawn().expect("it starts");
    eventually("it is open again", || bench.rollout(2).filter(|rollout| !rollout.paused));
    // It has written that down, too, once the record says so.
    eventually("its record", || {
        let push = Repository::load(&bench.fleet()).expect("loads").settings().push.clone().expect("a push");
        (push.state == PushStanding::Running).then_some(())
    });
    let interrupted = Command::new("kill").args(["-INT", &push.id().to_string()]).status().expect("kill runs");
    assert!(interrupted.success());
    assert_eq!(push.wait().expect("ended").code(), Some(130));
    // It may have been cut off between the signature and the word to the devices: the one that goes on says it.
    let opened = bench.rollout(2).expect("signed");
    let device = DEVICES.into_iter().find(|d| bucket(&opened.salt, d) < opened.opened).expect("one of four");
    let hint = format!("linnet/{device}/config/desired");
    broker.client("mosquitto_pub", &["-r", "-n", "-q", "1", "-t", &hint]);
    assert_eq!(broker.retained(&hint), None);
    let push = bench.command(&["push", "--mqtt", &url, "--resume", "--json"]).spawn().expect("it starts");
    eventually("the device is told", || broker.retained(&hint));
    let (code, last, said) = devices_end(&bench, &broker, push, 2, PushState::Confirmed);
    assert_eq!((code, &last["confirmed"]), (0, &4.into()), "{last} {said}");

    // What is done stays done: a pause holds back who comes later, and its end begins no push anew.
    let state = || Repository::load(&bench.fleet()).expect("loads").settings().push.clone().expect("a push").state;
    assert_eq!(state(), PushStanding::Done);
    bench.config("log = \"warn\"\n");
    bench.succeed(&["publish", "--config", &bench.config_text(), "--yes"]);
    let said = bench.succeed(&["pause"]);
    assert!(said.contains("generation 2 is paused") && said.contains("generation 3, which is newer"), "{said}");
    assert!(state() == PushStanding::Done && bench.rollout(2).expect("signed").paused);
    bench.succeed(&["promote"]);
    assert!(state() == PushStanding::Done && !bench.rollout(2).expect("signed").paused);
}
