//! SIGKILL at any moment of any update, while requests come.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::harness::{Daemon, eventually};
use crate::load::{Count, Load};
use crate::operator::{Operator, look, served_version, status, wait_for};

/// SIGKILLs of the test; a night's run sets `LINNET_KILLS=500`.
fn kills() -> u32 {
    std::env::var("LINNET_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(15)
}

/// Of them, those after which what is held in memory and on the disk is the measure for all that follow.
const SETTLING: u32 = 5;

/// A pseudo-random number below `n`: the test says which moments it takes.
fn next(seed: &mut u64, n: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % n
}

/// Bytes of a directory's files, each counted once however many names it has.
fn disk_bytes(dir: &Path) -> u64 {
    fn add(dir: &Path, seen: &mut BTreeSet<u64>) -> u64 {
        // What vanishes meanwhile is collected garbage.
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let bytes = entries.map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => add(&entry.path(), seen),
            Ok(found) if seen.insert(found.ino()) => found.len(),
            _ => 0,
        });
        bytes.sum()
    }
    add(dir, &mut BTreeSet::new())
}

/// Resident memory of the daemon, KiB.
fn resident_kib(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    line.expect("its resident memory")
}

#[test]
fn a_daemon_that_is_killed_at_any_moment_of_any_update_serves_one_whole_generation() {
    let operator = Operator::new();
    let home = tempfile::tempdir().expect("a directory");
    let start = || operator.device().in_home(home.path());
    let packages = [operator.package("pushed", "1.0.0"), operator.package("pushed", "2.0.0")];
    let package_bytes = disk_bytes(&packages[0]);
    let state = home.path().join("state/fleet");
    let mut load = Load::at(&home.path().join("linnet.sock"));
    let mut seed = 7;
    // What each generation is to be known by: its limit of uploads, MiB, and the version of its model.
    let mut made = BTreeMap::from([(0, (128, None))]);
    let (mut last, mut confirmed) = (0, 0);
    let (mut resident, mut disk) = ((0, 0), (0, 0));
    let mut daemon = load.while_down(|| start().start());
    for n in 0..kills() {
        let (upload, package) = (7 + n % 50, n as usize % 2);
        last = operator.push(&format!("[limits]\nmax_upload_mib = {upload}\n"), &[packages[package].clone()]);
        made.insert(last, (u64::from(upload), Some(["1.0.0", "2.0.0"][package].to_owned())));
        look(&daemon);
        std::thread::sleep(Duration::from_millis(next(&mut seed, 4000)));
        let (rss_kib, held_bytes) = (resident_kib(&daemon), disk_bytes(&state));
        daemon = load.while_down(|| {
            daemon.kill();
            start().start()
        });

        let said = status(&daemon);
        let serving = said["generation"]["generation"].as_u64().expect("a number");
        let (upload, version) = made.get(&serving).unwrap_or_else(|| panic!("generation {serving} was never made"));
        assert_eq!(said["limits"]["max_upload_bytes"], upload << 20, "generation {serving} is not whole");
        assert_eq!(served_version(&daemon, "pushed"), *version, "generation {serving} is not whole");
        assert!(serving >= confirmed, "generation {serving} serves, though {confirmed} was confirmed before");
        if said["generation"]["confirmed"] == true {
            confirmed = serving;
        }

        let until = if n < SETTLING { (&mut resident.0, &mut disk.0) } else { (&mut resident.1, &mut disk.1) };
        *until.0 = rss_kib.max(*until.0);
        *until.1 = held_bytes.max(*until.1);
        // The live one, the good one, the one that is coming, and what a kill left of another: they share their weights or not.
        assert!(held_bytes <= 4 * package_bytes + (1 << 20), "{held_bytes} bytes in {}", state.display());
    }
    wait_for(&daemon, last);
    let Count { answered, refused, broken } = load.stop();
    println!(
        "{} kills: {answered} answered, {refused} refused, {} cut off by a kill; resident at most {} MiB in the first {SETTLING}, \
         {} MiB after; on the disk {} KiB and {} KiB",
        kills(),
        broken.len(),
        resident.0 >> 10,
        resident.1 >> 10,
        disk.0 >> 10,
        disk.1 >> 10,
    );
    assert!(answered > 0);
    assert!(resident.1 <= resident.0 * 3 / 2 + (16 << 10), "resident: {resident:?} KiB");
    assert!(disk.1 <= disk.0 * 3 / 2 + (1 << 20), "on the disk: {disk:?} bytes");
    // Nothing of all those generations is left but the one that serves.
    let count = |dir: &str| std::fs::read_dir(state.join(dir)).expect("readable").count();
    eventually("what nobody needs has gone", || (count("generations") == 1 && count("partial") == 0).then_some(()));
    assert!(count("files") <= 8, "{} files", count("files"));
}
