//! What requests notice of an update: twenty a second through activations and ways back of the real `linnetd`.
//!
//! ```text
//! cargo bench --bench live-swap                     three rounds, about a minute and a half
//! cargo bench --bench live-swap -- --rounds N
//! ```
//!
//! Each round pushes a generation with another model and another configuration, waits until it is confirmed, and has the operator go back to
//! what was before. It prints a Markdown table (`docs/benchmarks.md`). Leave the machine alone while it runs: client and daemon share it.

#[path = "../../tests/harness/mod.rs"]
mod harness;
#[path = "../../tests/push/operator.rs"]
#[allow(dead_code)] // The tests use the rest.
mod operator;

mod load;

use std::time::Duration;

use harness::{Daemon, eventually};
use load::{Answer, Load};
use operator::{Operator, status};

const HELP: &str =
    "What requests notice of an update: twenty a second through activations and ways back of the real linnetd.

  cargo bench --bench live-swap -- [--rounds N]

  --rounds N   generations that are pushed and taken back (default 3)";

/// Requests before the first update, and after the last.
const QUIET: Duration = Duration::from_secs(15);

/// On both sides of a switch: what waits while models are exchanged came at most so long before, and waits at most so long.
const AROUND: Duration = Duration::from_millis(500);

/// How much slower the 99th percentile may be outside of the switches.
const MOST_SLOWER: f64 = 2.0;
/// Longest wait for an update.
const PATIENCE: Duration = Duration::from_secs(120);

fn rounds() -> Result<Option<u32>, String> {
    let mut words = std::env::args().skip(1);
    let mut rounds = 3;
    while let Some(word) = words.next() {
        match word.as_str() {
            "-h" | "--help" => return Ok(None),
            "--rounds" => {
                let value = words.next().ok_or("--rounds needs a value; see --help")?;
                rounds = value.parse().ok().filter(|n| *n > 0).ok_or(format!("{value:?} is no number above 0"))?;
            }
            // What `cargo bench` itself adds.
            "--bench" => {}
            other => return Err(format!("{other:?} is not an option; see --help")),
        }
    }
    Ok(Some(rounds))
}

fn main() -> Result<(), String> {
    let Some(rounds) = rounds()? else {
        println!("{HELP}");
        return Ok(());
    };
    let operator = Operator::new();
    let daemon = operator.device().config(config(&operator)).start();
    let load = Load::start(&daemon.socket());
    std::thread::sleep(QUIET);

    // Instants at which another generation began to serve, as the status tells it.
    let (mut switches, mut updating) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let package = operator.package("pushed", &format!("{}.0.0", round + 1));
        let began = load.elapsed();
        let number = operator.push("[limits]\nmax_upload_mib = 7\n[defaults]\ndetect = \"pushed\"\n", &[package]);
        switches.push(confirmed(&daemon, &load, number)?);
        let back = match round {
            0 => operator.push("", &[]),
            _ => {
                let back = operator.publish_again(2);
                operator.open(back);
                back
            }
        };
        switches.push(confirmed(&daemon, &load, back)?);
        updating.push((began, load.elapsed()));
        std::thread::sleep(Duration::from_secs(1));
    }
    let before = (Duration::ZERO, updating.first().map_or(Duration::ZERO, |first| first.0));
    let after = load.elapsed();
    std::thread::sleep(QUIET);
    let answers = load.stop()?;

    let is_around = |answer: &Answer| {
        switches.iter().any(|at| answer.at + answer.took + AROUND >= *at && answer.at <= *at + AROUND)
    };
    let within = |answer: &Answer, span: (Duration, Duration)| answer.at >= span.0 && answer.at < span.1;
    let during = |answer: &Answer| updating.iter().any(|span| within(answer, *span));
    let figures = |wanted: &dyn Fn(&Answer) -> bool| {
        let mut ms: Vec<f64> = answers.iter().filter(|a| wanted(a)).map(|a| a.took.as_secs_f64() * 1e3).collect();
        (ms.len(), percentile(&mut ms, 0.5), percentile(&mut ms, 0.99), percentile(&mut ms, 1.0))
    };
    let rows = [
        ("before the first update", figures(&|a| within(a, before))),
        ("during updates, outside of the switches", figures(&|a| during(a) && !is_around(a))),
        ("within half a second of a switch", figures(&|a| is_around(a))),
        ("after the last", figures(&|a| a.at >= after)),
    ];
    let normal = rows[0].1.2;
    let slower = rows[1].1.2.max(rows[3].1.2) / normal;
    println!("| requests, 20 a second | how many | p50, ms | p99, ms | longest, ms | p99, of that before |");
    println!("|---|---|---|---|---|---|");
    for (name, (n, p50, p99, longest)) in rows {
        println!("| {name} | {n} | {p50:.2} | {p99:.2} | {longest:.2} | × {:.2} |", p99 / normal);
    }
    let lost = answers.iter().filter(|answer| answer.status != 200).count();
    println!("\n{} requests, {} switches, {lost} lost", answers.len(), switches.len());
    if lost > 0 {
        return Err(format!("{lost} requests were lost"));
    }
    match slower > MOST_SLOWER {
        true => Err(format!(
            "outside of the switches p99 is × {slower:.2} of that before; at most × {MOST_SLOWER} is the goal"
        )),
        false => Ok(()),
    }
}

/// The device: with the model in memory from the start, and trials of some seconds.
fn config(operator: &Operator) -> String {
    let text = operator.device_config(&operator.repository().display().to_string());
    format!("preload = [\"all\"]\n{}", text.replace("trial_secs = 1", "trial_secs = 4"))
}

/// Waits until `number` is confirmed; when it began to serve, by the load's clock.
fn confirmed(daemon: &Daemon, load: &Load, number: u64) -> Result<Duration, String> {
    daemon.signal("HUP");
    let until = load.elapsed() + PATIENCE;
    let mut began = None;
    eventually(&format!("generation {number} is confirmed"), || {
        let serving = status(daemon)["generation"].clone();
        if serving["generation"] == number && began.is_none() {
            began = Some(load.elapsed());
        }
        let is_over = load.elapsed() > until;
        // A look at a status is a request, too: seldom enough not to be one's own load.
        std::thread::sleep(Duration::from_millis(20));
        (is_over || serving == serde_json::json!({ "generation": number, "confirmed": true })).then_some(())
    });
    began
        .filter(|_| load.elapsed() <= until)
        .ok_or_else(|| format!("generation {number} is not confirmed:\n{}", daemon.log()))
}

/// The value below which `share` of the `values` lie.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1));
    values.get(at - 1).copied().unwrap_or(f64::NAN)
}
