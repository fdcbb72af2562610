//! What a request costs beyond its inference, and what a flood of requests does to the daemon.
//!
//! ```text
//! cargo bench --bench overload                      the bundled model, 10,000 requests over 1,000 connections
//! cargo bench --bench overload -- --models DIR --requests N --connections N
//! ```
//!
//! It starts the real `linnetd` and drives it as clients do, over the socket and, where Mosquitto is installed, over MQTT.
//! It prints Markdown tables (`docs/benchmarks.md`). Leave the machine alone while it runs: client and daemon share it.

#[path = "../../tests/harness/mod.rs"]
mod harness;

mod connection;
mod flood;
mod overhead;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use harness::{Daemon, sample};

const HELP: &str = "What a request costs beyond its inference, and what a flood of requests does to the daemon.

  cargo bench --bench overload -- [--models DIR] [--requests N] [--connections N]

  --models DIR      packages to serve (default: the bundled ones)
  --requests N      requests of the flood (default 10000)
  --connections N   connections of the flood (default 1000)";

struct Options {
    models: PathBuf,
    requests: usize,
    connections: usize,
}

fn options() -> Result<Option<Options>, String> {
    let mut options = Options { models: harness::models(), requests: 10_000, connections: 1_000 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value; see --help"));
        let number = |text: String| match text.parse::<usize>() {
            Ok(n) if n > 0 => Ok(n),
            _ => Err(format!("{text:?} is no number above 0; see --help")),
        };
        match word.as_str() {
            "-h" | "--help" => return Ok(None),
            "--models" => options.models = value()?.into(),
            "--requests" => options.requests = number(value()?)?,
            "--connections" => options.connections = number(value()?)?,
            // What `cargo bench` itself adds.
            "--bench" => {}
            other => return Err(format!("{other:?} is not an option; see --help")),
        }
    }
    Ok(Some(options))
}

fn main() -> Result<(), String> {
    let Some(options) = options()? else {
        println!("{HELP}");
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let clip = sample();

    println!("| overhead of a request beyond its inference | p50, ms | p99, ms | goal, ms |\n|---|---|---|---|");
    let daemon = Daemon::builder().models(&options.models).config("log = \"info\"\n").start();
    let socket = runtime.block_on(overhead::over_socket(&daemon.socket(), &clip))?;
    println!("| socket, {} requests one after the other | {:.3} | {:.3} | 0.3 |", socket.n, socket.p50, socket.p99);
    drop(daemon);
    match overhead::over_mqtt(&runtime, &options.models, &clip)? {
        Some(mqtt) => {
            println!("| MQTT through Mosquitto, {} requests | {:.3} | {:.3} | 3 |", mqtt.n, mqtt.p50, mqtt.p99);
        }
        None => println!("| MQTT | not measured: Mosquitto is not installed | | 3 |"),
    }

    for patience in [flood::Patience::None, flood::Patience::RetryAfter] {
        // Connections of the flood, and one for the health of it.
        let config = format!("log = \"info\"\n[http]\nmax_connections = {}\n", options.connections + 8);
        let daemon = Daemon::builder().models(&options.models).config(config).start();
        let (socket, pid) = (daemon.socket(), daemon.pid());
        let steady = runtime.block_on(flood::steady(&socket, &clip, Duration::from_secs(10)))?;
        let loaded = watch::resident_mib(pid)?;
        let watch = watch::Watch::start(&socket, pid);
        let flood = runtime.block_on(flood::flood(&socket, &clip, options.requests, options.connections, patience))?;
        let seen = watch.stop()?;
        println!(
            "\n{} requests over {} connections, {}:\n",
            options.requests,
            options.connections,
            patience.in_words()
        );
        println!("| figure | measured | goal |\n|---|---|---|");
        println!(
            "| answered / refused with a code / neither | {} / {} / {} | none in the last |",
            flood.answered, flood.refused, flood.lost
        );
        println!("| time for all of them, s | {:.1} | – |", flood.took.as_secs_f64());
        println!("| answers per second from a full queue | {steady:.1} | – |");
        let rate = flood.answered as f64 / flood.took.as_secs_f64();
        println!("| answers per second in the flood | {rate:.1} (×{:.2}) | ×0.9 |", rate / steady);
        println!(
            "| `/healthz` p50 / p99 / longest, ms | {:.2} / {:.2} / {:.2} | p99 10 |",
            seen.p50, seen.p99, seen.longest
        );
        println!(
            "| RSS before / highest, MiB | {loaded:.1} / {:.1} (×{:.2}) | ×1.5 |",
            seen.rss_mib,
            seen.rss_mib / loaded
        );
    }
    Ok(())
}

/// The value below which `share` of the sorted `values` lie.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1));
    values.get(at - 1).copied().unwrap_or(f64::NAN)
}
