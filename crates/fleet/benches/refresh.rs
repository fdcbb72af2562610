//! What a refresh costs: `cargo bench -p linnet-fleet --bench refresh`.

#[path = "../tests/trust/support.rs"]
#[allow(dead_code)]
mod support;

use std::time::{Duration, Instant};

use linnet_fleet::clock::VirtualClock;
use linnet_fleet::trust::{Limits, Trusted, refresh};
use support::{NOW, Repo};

const ROUNDS: u32 = 2000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (mut repo, trusted) = Repo::begun();
        let (clock, limits) = (VirtualClock::at(NOW), Limits::default());
        let one = |trusted: Trusted| {
            let (source, clock, limits) = (&repo.memory, &clock, &limits);
            async move { refresh(&trusted, source, clock, limits).await.expect("accepted").trusted }
        };
        let first = measure(|| one(trusted.clone())).await;
        let same = one(trusted.clone()).await;
        let unchanged = measure(|| one(same.clone())).await;
        let parsed = same.to_json();
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            Trusted::parse(&parsed).expect("reads");
        }
        let parse = begun.elapsed() / ROUNDS;
        repo.release(2);
        repo.open(2);
        repo.publish_all();
        let one = |trusted: Trusted| {
            let (source, clock, limits) = (&repo.memory, &clock, &limits);
            async move { refresh(&trusted, source, clock, limits).await.expect("accepted").trusted }
        };
        let update = measure(|| one(same.clone())).await;
        println!("first {first:?}, update {update:?}, nothing new {unchanged:?}, read back and verified {parse:?}");
    });
}

async fn measure<F: Future<Output = Trusted>>(mut one: impl FnMut() -> F) -> Duration {
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        one().await;
    }
    begun.elapsed() / ROUNDS
}
