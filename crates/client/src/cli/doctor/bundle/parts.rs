//! What is in a support file, each part with its bound.

use std::fmt::Write;

use super::journal;
use crate::Local;
use crate::cli::doctor::report::Report;
use crate::cli::doctor::settings::Checked;
use crate::cli::doctor::{Seen, programs, service};
use crate::cli::models;

/// Largest part, bytes: all of them together are below 5 MiB.
const MAX_PART_BYTES: usize = 512 << 10;
/// Largest answer of `linnetd --version`, bytes.
const MAX_VERSION_BYTES: u64 = 1 << 10;
/// What the kernel tells, by file. `/proc/cpuinfo` is told apart, without serial numbers.
const OF_KERNEL: [&str; 8] = [
    "/etc/os-release",
    "/proc/version",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/pressure/memory",
    "/proc/pressure/cpu",
    "/proc/pressure/io",
];

/// One file of the support file.
pub(super) struct Part {
    pub(super) name: &'static str,
    /// For the list that is printed.
    pub(super) what: &'static str,
    pub(super) text: String,
}

pub(super) async fn gather(local: &Local, seen: &Seen, report: &Report) -> Vec<Part> {
    let part = |name, what, text| Part { name, what, text: bounded(text) };
    vec![
        part(
            "versions.txt",
            "versions of linnet, of the linnetd beside it, and of the running one",
            versions(seen).await,
        ),
        part("doctor.json", "what this command found", pretty(report)),
        part("status.json", "/v1/status: models, limits, counts, the MQTT link", status(seen)),
        part(
            "metrics.txt",
            "/metrics: counts and times of requests, none of their content",
            metrics(local, seen).await,
        ),
        part("config.txt", "the configuration, secrets by the paths of their files", config(seen)),
        part("service.txt", "systemd's view of the unit, without its environment", unit(seen)),
        part("journal.txt", "linnetd's last records at info level and above", journal::look().await),
        part("cpu.txt", "the processor, and the kernels that are chosen on it", cpu(seen)),
        part("system.txt", "operating system, kernel, load and memory", system()),
    ]
}

/// The end goes: of everything but the journal the beginning tells more, and of that no more is asked for.
fn bounded(mut text: String) -> String {
    if text.len() <= MAX_PART_BYTES {
        return text;
    }
    let mut end = MAX_PART_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str("\n[cut off here]\n");
    text
}

fn pretty(report: &Report) -> String {
    serde_json::to_string_pretty(report).map_or_else(|e| e.to_string(), |text| text + "\n")
}

async fn versions(seen: &Seen) -> String {
    let mut command = models::program();
    command.arg("--version");
    let beside = match programs::ask(command, MAX_VERSION_BYTES).await {
        Ok(said) => said.stdout.trim().to_owned(),
        Err(why) => format!("linnetd: {why}"),
    };
    let running = seen.told.status().map_or("none answers", |status| status.version.as_str());
    format!("linnet {}\nbeside it: {beside}\nrunning: {running}\n", env!("CARGO_PKG_VERSION"))
}

fn status(seen: &Seen) -> String {
    match (seen.told.value(), seen.told.body()) {
        (Some(value), _) => serde_json::to_string_pretty(value).map_or_else(|e| e.to_string(), |text| text + "\n"),
        (None, Some(body)) => String::from_utf8_lossy(body).into_owned(),
        (None, None) => "not there: no linnetd answers\n".into(),
    }
}

async fn metrics(local: &Local, seen: &Seen) -> String {
    if !seen.socket.answers() {
        return "not there: no linnetd answers\n".into();
    }
    match local.get("/metrics", MAX_PART_BYTES).await {
        Ok(got) if got.status == 200 => String::from_utf8_lossy(&got.body).into_owned(),
        Ok(got) => format!("not there: HTTP status {}\n", got.status),
        Err(e) => format!("not there: {e}\n"),
    }
}

fn config(seen: &Seen) -> String {
    let mut text = match &seen.settings.file {
        Some(path) => format!("# {}\n", path.display()),
        None => "# no file; the defaults count\n".into(),
    };
    match &seen.checked {
        Checked::Faults(said) => {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# linnetd refuses it:");
            for line in said.lines() {
                let _ = writeln!(text, "#   {line}");
            }
        }
        Checked::Unreadable(why) | Checked::NotAsked(why) => {
            let _ = writeln!(text, "# not checked: {why}");
        }
        Checked::NoFile | Checked::Right => {}
    }
    match &seen.settings.page {
        Some(page) => text.push_str(page),
        None => text.push_str(&seen.settings.without_comments(seen.checked == Checked::Right)),
    }
    text
}

fn unit(seen: &Seen) -> String {
    match &seen.service {
        None => "not there: systemd does not run here\n".into(),
        Some(properties) => {
            let lines = properties.iter().map(|(name, value)| format!("{name}={value}\n"));
            format!("# {}\n{}", service::UNIT, lines.collect::<String>())
        }
    }
}

fn cpu(seen: &Seen) -> String {
    let page = match &seen.cpu {
        Ok(page) => page.clone(),
        Err(why) => format!("linnetd explain-cpu: {why}\n"),
    };
    format!("{page}\n# /proc/cpuinfo, one processor\n{}", of_cpuinfo(&read("/proc/cpuinfo")))
}

/// The first processor, and the lines on the whole machine that some kernels add at the end; a board's serial number is nobody's business.
fn of_cpuinfo(text: &str) -> String {
    let blocks: Vec<&str> = text.split("\n\n").filter(|block| !block.trim().is_empty()).collect();
    let first = blocks.first().copied().unwrap_or_default();
    let last = blocks.last().copied().filter(|block| !block.contains("processor")).unwrap_or_default();
    let lines = first.lines().chain(last.lines()).filter(|line| !line.to_ascii_lowercase().starts_with("serial"));
    lines.map(|line| format!("{line}\n")).collect()
}

fn system() -> String {
    let uname = rustix::system::uname();
    let word = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let mut text = format!("# uname\n{} {} {}\n", word(uname.sysname()), word(uname.release()), word(uname.machine()));
    for path in OF_KERNEL {
        let _ = write!(text, "\n# {path}\n{}", read(path));
    }
    text
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| format!("not there: {e}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_too_large_is_cut_off_and_says_so() {
        let text = bounded("ä".repeat(MAX_PART_BYTES));
        assert!(text.len() < MAX_PART_BYTES + 20 && text.ends_with("ä\n[cut off here]\n"));
        assert_eq!(bounded("short".into()), "short");
    }

    #[test]
    fn one_processor_stands_for_all_and_no_serial_number_is_told() {
        let text = "processor\t: 0\nFeatures\t: fp\n\nprocessor\t: 1\nFeatures\t: fp\n\nHardware\t: BCM\nSerial\t\t: 00ff\nModel\t\t: Pi 4\n";
        assert_eq!(of_cpuinfo(text), "processor\t: 0\nFeatures\t: fp\nHardware\t: BCM\nModel\t\t: Pi 4\n");
        assert_eq!(of_cpuinfo("processor\t: 0\n\nprocessor\t: 1\n\n"), "processor\t: 0\n");
        assert_eq!(of_cpuinfo(""), "");
    }
}
