//! A package that comes over MQTT while the broker is restarted: the device goes on where it stopped.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use linnet_proto::fleet::{MAX_RANGE_BYTES, RangeHead};

use crate::forge::sha256;
use crate::harness::{Daemon, Mosquitto, eventually};
use crate::operator::{Operator, half_written, served_version, status};
use crate::thief::Thief;

/// Large enough that it is under way for a while, bytes.
const LARGE_BYTES: u64 = 128 * MAX_RANGE_BYTES;

#[test]
fn a_package_under_way_goes_on_where_it_stopped_when_the_broker_is_back() {
    let test = "a_package_under_way_goes_on_where_it_stopped_when_the_broker_is_back";
    let Some(mut broker) = Mosquitto::start(test) else { return };
    let (operator, server) = (Operator::new(), Thief::connect(&broker));
    let package = operator.large_package("pushed", "1.0.0", LARGE_BYTES as usize);
    let large = std::fs::read(package.join("large.bin")).expect("readable");
    let file = format!("files/{}", sha256(&large));
    let one = operator.push("", &[package]);
    let given = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&given);
    server.answers(&operator.repository(), move |_, honest| {
        let (_, piece) = RangeHead::parse(&honest).expect("it is honest");
        counted.fetch_add(piece.len() as u64, Ordering::Relaxed);
        // As a link would be that is no loopback interface: there is time for a cut.
        std::thread::sleep(Duration::from_millis(10));
        vec![honest]
    });
    server.shows(&operator.repository());

    // As it is shipped: no hint comes, and the next look is an hour away.
    let config = format!(
        "device = \"kitchen\"\nmodels = [{:?}]\n[mqtt]\nurl = {:?}\n{}",
        operator.bundled(),
        broker.url(),
        operator.fleet("mqtt").replace("refresh_secs = 10", "refresh_secs = 3600")
    );
    let daemon = Daemon::builder().models_of_the_configuration().config(config).start();
    eventually("half of it has come", || (given.load(Ordering::Relaxed) > LARGE_BYTES / 2).then_some(()));
    broker.stop();
    let on_disk = half_written(&daemon).iter().map(|path| path.metadata().map_or(0, |found| found.len())).sum::<u64>();
    assert!(on_disk > LARGE_BYTES / 3, "{on_disk} bytes of {LARGE_BYTES} are on the disk");
    std::thread::sleep(Duration::from_secs(1));
    broker.restart();

    eventually("it is confirmed", || {
        let serving = &status(&daemon)["generation"];
        (serving["generation"] == one && serving["confirmed"] == true).then_some(())
    });
    assert_eq!(served_version(&daemon, "pushed").as_deref(), Some("1.0.0"));
    assert_eq!(half_written(&daemon), Vec::<PathBuf>::new());
    let log = daemon.log();
    assert!(log.contains(&format!("generation {one} is verified: ")), "it has noticed, and said so: {log}");

    // All that the server sent, other files and the document too.
    let given = given.load(Ordering::Relaxed);
    assert!(given >= LARGE_BYTES && given * 10 <= LARGE_BYTES * 11, "{given} bytes for {LARGE_BYTES}");
    let asked = server.asked();
    let of_large: Vec<u64> =
        asked.iter().filter(|asked| asked.piece.path == file).map(|asked| asked.piece.offset).collect();
    assert!(of_large.is_sorted(), "it never goes back: {of_large:?}");
    let again = of_large.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert!(again <= 2, "what was under way is asked for again, and nothing else: {of_large:?}");
}
