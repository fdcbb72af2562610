//! The machine: its processor by `linnetd explain-cpu`, its memory, and its journal.

use std::path::Path;

use linnet_proto::status::{ModelState, Status};

use super::finding::{Finding, Trouble};
use super::programs;
use crate::cli::models;

/// Largest page of `explain-cpu`, bytes.
const MAX_PAGE_BYTES: u64 = 64 << 10;
/// Memory below which a small model hardly loads, MiB.
const LITTLE_MIB: u64 = 96;

/// The page of `linnetd explain-cpu`, or why there is none.
pub(super) async fn look_at_cpu() -> Result<String, String> {
    let said = programs::ask(models::command("explain-cpu"), MAX_PAGE_BYTES).await?;
    if said.succeeded() { Ok(said.stdout) } else { Err(said.stderr) }
}

pub(super) fn judge_cpu(page: Result<&str, &str>) -> Finding {
    const CHECK: &str = "cpu";
    let page = match page {
        Ok(page) => page,
        Err(why) => {
            let way_out = "install linnetd beside linnet, or in PATH";
            return Finding::skipped(CHECK, format!("the processor was not looked at: {why}"), way_out);
        }
    };
    let row = |name: &str| page.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default();
    let (processor, architecture, features) = (row("processor"), row("architecture"), row("features"));
    let has = |feature: &str| features.split_whitespace().any(|own| own == feature);
    if architecture == "x86_64" && !(has("avx2") && has("fma")) {
        return Finding::warning(
            CHECK,
            format!("{processor}: without AVX2 and FMA, so that models run several times slower"),
            "choose small models in int8; in a virtual machine pass the host's processor through",
        );
    }
    Finding::ok(CHECK, format!("{processor}, {} threads, with {features}", row("threads")))
}

/// What `/proc/meminfo` tells, MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) total_mib: u64,
    pub(super) available_mib: u64,
}

pub(super) fn memory(meminfo: &str) -> Option<Memory> {
    let mib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib >> 10)
    };
    Some(Memory { total_mib: mib("MemTotal")?, available_mib: mib("MemAvailable")? })
}

/// `limit_mib` is `memory_limit_mib`: 0 or none for no limit.
pub(super) fn judge_memory(memory: Option<Memory>, limit_mib: Option<u64>, status: Option<&Status>) -> Finding {
    const CHECK: &str = "memory";
    let Some(memory) = memory else {
        return Finding::skipped(CHECK, "the kernel does not tell how much memory is available", "");
    };
    let loaded = status.map_or(0, |status| {
        status.models.iter().filter(|model| model.state == ModelState::Ready).map(|model| model.memory_mib).sum()
    });
    let limit = limit_mib.filter(|limit| *limit > 0);
    let Memory { total_mib, available_mib } = memory;
    let free = format!("{available_mib} of {total_mib} MiB are available");
    if let Some(limit) = limit.filter(|limit| *limit > total_mib) {
        return Finding::wrong(
            CHECK,
            Trouble::Config,
            format!("memory_limit_mib = {limit}, and this machine has {total_mib} MiB"),
            "lower memory_limit_mib to what the machine can spare",
        );
    }
    // What models may still take besides those that are loaded.
    if let Some(limit) = limit.filter(|limit| limit.saturating_sub(loaded) > available_mib) {
        return Finding::warning(
            CHECK,
            format!("{free}, and models may take {} MiB more by memory_limit_mib = {limit}", limit - loaded),
            "lower memory_limit_mib, or end what else takes memory",
        );
    }
    if available_mib < LITTLE_MIB {
        let way_out = "end what else takes memory, set memory_limit_mib, or serve fewer models";
        return Finding::warning(CHECK, format!("only {free}"), way_out);
    }
    match limit {
        Some(limit) => Finding::ok(CHECK, format!("{free}; models may take {limit} MiB, and take {loaded}")),
        None => Finding::ok(CHECK, format!("{free}; models take {loaded} MiB, without a limit")),
    }
}

/// What is known of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Journal {
    /// Whether systemd started this machine.
    pub(super) systemd: bool,
    /// Whether journald listens.
    pub(super) listens: bool,
    /// Whether its files outlive a restart of the machine.
    pub(super) persistent: bool,
}

pub(super) fn look_at_journal() -> Journal {
    let there = |path: &str| Path::new(path).exists();
    Journal {
        systemd: there("/run/systemd/system"),
        listens: there("/run/systemd/journal/socket"),
        persistent: there("/var/log/journal"),
    }
}

pub(super) fn judge_journal(journal: Journal) -> Finding {
    const CHECK: &str = "journal";
    match journal {
        Journal { listens: true, persistent: true, .. } => Finding::ok(CHECK, "journald keeps what linnetd logs"),
        Journal { listens: true, persistent: false, .. } => {
            Finding::ok(CHECK, "journald keeps what linnetd logs until the machine restarts (no /var/log/journal)")
        }
        Journal { systemd: true, .. } => Finding::warning(
            CHECK,
            "systemd runs, but journald does not listen: what linnetd logs is lost",
            "`systemctl start systemd-journald.socket`",
        ),
        Journal { .. } => Finding::skipped(CHECK, "there is no journald; linnetd logs to its standard error", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::super::daemon::tests::{model, status};
    use super::super::finding::Verdict::{self, Ok as Fine, Skipped, Warning, Wrong};
    use super::*;

    #[test]
    fn a_processor_is_judged_by_what_the_kernels_need() {
        let page = |architecture: &str, features: &str| {
            format!(
                "processor     X\narchitecture  {architecture}\nfeatures      {features}\nthreads       4\nkernels\n"
            )
        };
        for (architecture, features, verdict) in [
            ("x86_64", "avx2 fma f16c", Fine),
            ("x86_64", "avx2", Warning),
            ("x86_64", "none that matter here", Warning),
            ("aarch64", "none that matter here", Fine),
        ] {
            assert_eq!(judge_cpu(Ok(&page(architecture, features))).verdict, verdict, "{architecture} {features}");
        }
        assert_eq!(judge_cpu(Err("linnetd: not found")).verdict, Skipped);
    }

    #[test]
    fn memory_is_judged_against_what_models_may_still_take() {
        let text = "MemTotal:        1024000 kB\nMemFree:  1 kB\nMemAvailable:     512000 kB\n";
        assert_eq!(memory(text), Some(Memory { total_mib: 1000, available_mib: 500 }));
        assert_eq!(memory("MemTotal: 1 kB\n"), None);
        let mut loaded = status();
        loaded.models = vec![model("a", ModelState::Ready), model("b", ModelState::Unloaded)];
        let table: [(u64, Option<u64>, Verdict, &str); 8] = [
            (500, None, Fine, "without a limit"),
            (500, Some(0), Fine, "without a limit"),
            (500, Some(540), Fine, "may take 540 MiB, and take 40"),
            (500, Some(541), Warning, "501 MiB more"),
            (95, None, Warning, "only 95"),
            (96, None, Fine, "96 of 1000"),
            (500, Some(1001), Wrong, "this machine has 1000"),
            (500, Some(10), Fine, "may take 10"),
        ];
        for (available_mib, limit, verdict, words) in table {
            let finding = judge_memory(Some(Memory { total_mib: 1000, available_mib }), limit, Some(&loaded));
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.sentence.contains(words), "{words}: {finding:?}");
        }
        assert_eq!(judge_memory(None, None, None).verdict, Skipped);
    }

    #[test]
    fn a_journal_is_missed_only_where_there_should_be_one() {
        for (systemd, listens, persistent, verdict) in [
            (true, true, true, Fine),
            (true, true, false, Fine),
            (true, false, true, Warning),
            (false, false, false, Skipped),
        ] {
            assert_eq!(judge_journal(Journal { systemd, listens, persistent }).verdict, verdict);
        }
    }
}
