//! What a refresh costs: `cargo bench -p linnet-fleet --bench refresh`.

#[path = "../tests/trust/support.rs"]
#[allow(dead_code)]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use linnet_fleet::clock::VirtualClock;
use linnet_fleet::trust::{Limits, Trusted, refresh};
use support::{NOW, Repo};

const ROUNDS: u32 = 2000;
/// Ticks of `/proc/self/stat`, a second.
const TICKS: u32 = 100;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (mut repo, shipped) = Repo::begun();
    let device = Limits::default();
    let first = measure("the first refresh", || runtime.block_on(one(&shipped, &repo, &device)));
    measure("a refresh that finds nothing new", || runtime.block_on(one(&first, &repo, &device)));
    let kept = first.to_json();
    measure("what was kept, read back and verified", || Trusted::parse(&kept).expect("reads"));
    repo.release(2);
    repo.open(2);
    repo.publish_all();
    measure("a refresh that finds a new generation", || runtime.block_on(one(&first, &repo, &device)));
    let simulation = Limits { memo: Some(Arc::default()), ..Limits::default() };
    measure("the same, where the process has seen it", || runtime.block_on(one(&first, &repo, &simulation)));
}

async fn one(trusted: &Trusted, repo: &Repo, limits: &Limits) -> Trusted {
    let refreshed = refresh(trusted, &repo.memory, &VirtualClock::at(NOW), limits).await;
    refreshed.expect("accepted").trusted
}

/// Prints the mean of wall time and of processor time; the last result.
fn measure(what: &str, mut one: impl FnMut() -> Trusted) -> Trusted {
    let (begun, cpu) = (Instant::now(), processor());
    let mut last = one();
    for _ in 1..ROUNDS {
        last = one();
    }
    let (wall, cpu) = (begun.elapsed() / ROUNDS, (processor() - cpu) / ROUNDS);
    println!("{what}: {wall:?}, of which processor {cpu:?}");
    last
}

/// User and system time of this process.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    let ticks: u32 = after_name.split_whitespace().skip(11).take(2).map(|n| n.parse::<u32>().expect("ticks")).sum();
    Duration::from_secs(1) * ticks / TICKS
}
