//! One model of true width: how far it is from its reference, what memory it takes and how long a step is. `.ci/goldens-full` runs
//! this, and ONNX Runtime in turns with it.
//!
//! `LINNET_FULL` names the model's directory, `LINNET_FULL_DTYPE` one of its runs. A line of JSON tells memory and fidelity; then each
//! line that comes in is answered with the seconds of each case.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::json as read_json;
use super::runs::{Loaded, Outcome, Times};

/// Requests after which memory is looked at.
const REQUESTS: usize = 10;
/// Workers that run them.
const WORKERS: usize = 2;

/// A line of `/proc/self/status`, bytes.
fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or_default() << 10
}

fn tell(value: &Value) {
    // The harness writes to the same line.
    println!("\nlinnet-full: {value}");
}

fn secs(times: &Times) -> Value {
    json!({
        "reading": times.reading.as_secs_f64(),
        "steps": times.steps.iter().map(Duration::as_secs_f64).collect::<Vec<_>>(),
    })
}

/// Runs cases on two workers at once, without looking at the answers.
fn requests(loaded: &Loaded, cases: &[Value]) -> Result<(), String> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                scope.spawn(move || {
                    let mut own = loaded.open()?;
                    let mut ignored = Outcome::ignored();
                    for case in cases.iter().cycle().skip(worker).take(REQUESTS / WORKERS) {
                        own.case(case, true, &mut ignored)?;
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked".to_owned())?)
    })
}

fn measure(dir: PathBuf, dtype: &str) -> Result<(), String> {
    // As the daemon does it.
    linnet_kernels::allocator::keep_small();
    let golden = read_json(&dir.join("golden.json"));
    let config = dir.join("config.json");
    let config = if config.is_file() { read_json(&config) } else { Value::Null };
    let run = golden["runs"].as_array().and_then(|runs| runs.iter().find(|run| run["dtype"] == dtype));
    let run = run.ok_or_else(|| format!("no run of {dtype}"))?;
    let cases = run["cases"].as_array().cloned().unwrap_or_default();
    let loaded = Loaded::load(&dir, &golden, run, &config).ok_or("a kind that is tested elsewhere")??;
    linnet_kernels::allocator::give_back();
    let (peak, loaded_rss) = (status("VmHWM"), status("VmRSS"));
    requests(&loaded, &cases)?;
    let rss = status("VmRSS");
    let mut outcome = Outcome::default();
    let mut worker = loaded.open()?;
    for case in &cases {
        worker.case(case, super::runs::in_one_piece(dtype), &mut outcome)?;
    }
    tell(&json!({
        "peak": peak,
        "loaded": loaded_rss,
        "rss": rss,
        "steps": outcome.steps,
        "equal": outcome.equal,
        "worst": outcome.worst,
        "within": outcome.within(dtype).err().unwrap_or_else(|| "yes".into()),
    }));
    for _ in std::io::stdin().lines().map_while(Result::ok) {
        let mut ignored = Outcome::ignored();
        let times: Result<Vec<_>, _> = cases.iter().map(|case| worker.case(case, true, &mut ignored)).collect();
        tell(&json!({ "cases": times?.iter().map(secs).collect::<Vec<_>>() }));
    }
    Ok(())
}

#[test]
#[ignore = "needs a model of true width: .ci/goldens-full"]
fn one_model_beside_onnx_runtime() {
    let dir = std::env::var_os("LINNET_FULL").expect("LINNET_FULL names a directory");
    let dtype = std::env::var("LINNET_FULL_DTYPE").unwrap_or_else(|_| "f32".into());
    if let Err(reason) = measure(dir.into(), &dtype) {
        tell(&json!({ "failed": reason }));
    }
}
