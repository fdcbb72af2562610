//! A daemon that has to begin anew for a generation: the same process, ready again, nothing left behind.

mod harness;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use harness::{NotifySocket, eventually, http, models};
use linnet::config::{Overrides, Sources};
use linnet::daemon::{Ended, serve_updated};
use linnet::sys::{restart, surroundings};

/// Where the daemon of the test below lives; only its own process has it.
const HOME: &str = "PUSH_RESTART_HOME";

/// Not a test of its own: the process that [`it_begins_anew_in_the_same_process_and_is_ready_again`] watches. It asks for a restart
/// once, at its first start, and is run again by its own command line.
#[test]
#[ignore = "the process of the test beside it"]
fn the_daemon() {
    let Some(home) = std::env::var_os(HOME).map(PathBuf::from) else { return };
    let flags = Overrides {
        socket: Some(home.join("s").into()),
        models: vec![models().into()],
        state: Some(home.join("state").into()),
        ..Overrides::default()
    };
    let around = surroundings::look();
    let sources = Sources { flags, environment: Overrides::default(), around, generation: None };
    let first = !home.join("begun").exists();
    std::fs::write(home.join("begun"), "").expect("a file");
    let ended = serve_updated(sources, move |updates| {
        tokio::spawn(async move {
            if first {
                while !home.join("now").exists() {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
                updates.restart().await.expect("it runs");
            }
            // Who updates is there as long as the daemon is.
            std::future::pending::<()>().await;
        });
    });
    if ended.expect("it serves") == Ended::Restart {
        panic!("{}", restart::replace_self());
    }
}

#[test]
fn it_begins_anew_in_the_same_process_and_is_ready_again() {
    let home = tempfile::tempdir().expect("a directory");
    let systemd = NotifySocket::new();
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "the_daemon", "--ignored", "--nocapture"])
        .env(HOME, home.path())
        .env("NOTIFY_SOCKET", systemd.path())
        .env("WATCHDOG_USEC", "30000000")
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let socket = home.path().join("s");
    let uptime = |socket: &Path| {
        let status = http::request(socket, "GET", "/v1/status", &[], b"").ok().filter(|answer| answer.status == 200)?;
        status.json()["uptime_secs"].as_f64()
    };
    systemd.wait_for("READY=1");
    eventually("it has served for a while", || uptime(&socket).filter(|secs| *secs > 0.5));
    let asked = Instant::now();
    std::fs::write(home.path().join("now"), "").expect("a file");
    let restarting = systemd.wait_for("RELOADING=1");
    assert!(restarting.contains("STATUS=restarting") && restarting.contains("MONOTONIC_USEC="), "{restarting}");
    systemd.wait_for("EXTEND_TIMEOUT_USEC=30000000");
    // Marks of life come while models load, before there is a watchdog's thread.
    systemd.wait_for("WATCHDOG=1");
    systemd.wait_for("READY=1");
    assert!(child.try_wait().expect("it can be waited for").is_none(), "it is the same process");
    assert!(uptime(&socket).is_some_and(|secs| secs <= asked.elapsed().as_secs_f64()), "and it has begun anew");
    assert_eq!(http::request(&socket, "GET", "/readyz", &[], b"").expect("an answer").status, 200);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    assert!(child.wait().expect("it ends").success());
    assert!(!socket.exists(), "it has left nothing");
}
