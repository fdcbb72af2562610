//! How much memory this process may still take.

use std::path::Path;

/// Memory of this machine, or of the control group that holds the process where that is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All of it, MiB.
    pub total_mib: u64,
    /// What can be taken without swapping, MiB.
    pub available_mib: u64,
}

/// Asks the system; `None` where it does not tell.
pub fn memory() -> Option<Memory> {
    let machine = parse_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    Some(within(machine, control_group()))
}

/// The most memory that this process has ever taken, MiB; `None` where the system does not tell.
pub fn peak_mib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib.div_ceil(1024))
}

/// `MemTotal` and `MemAvailable` of `/proc/meminfo`, which are in KiB.
fn parse_meminfo(text: &str) -> Option<Memory> {
    let kib = |key: &str| {
        text.lines().find_map(|line| {
            let (k, v) = line.split_once(':')?;
            (k == key).then(|| v.trim().trim_end_matches(" kB").parse::<u64>().ok())?
        })
    };
    Some(Memory { total_mib: kib("MemTotal")? >> 10, available_mib: kib("MemAvailable")? >> 10 })
}

/// Limit and use of the control group (version 2) of this process, bytes. Its ancestors may be tighter: all of them
/// are asked, and the one with the least left counts.
fn control_group() -> Option<(u64, u64)> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let root = Path::new("/sys/fs/cgroup");
    let number = |path: &Path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    root.join(path.trim_start_matches('/'))
        .ancestors()
        .take_while(|dir| dir.starts_with(root))
        .filter_map(|dir| Some((number(&dir.join("memory.max"))?, number(&dir.join("memory.current"))?)))
        .min_by_key(|(most, used)| most.saturating_sub(*used))
}

fn within(machine: Memory, group: Option<(u64, u64)>) -> Memory {
    let Some((most, used)) = group else { return machine };
    Memory {
        total_mib: machine.total_mib.min(most >> 20),
        available_mib: machine.available_mib.min(most.saturating_sub(used) >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_in_mebibytes() {
        let text = "MemTotal:        8053520 kB\nMemFree:          123456 kB\nMemAvailable:    4194304 kB\n";
        assert_eq!(parse_meminfo(text), Some(Memory { total_mib: 7864, available_mib: 4096 }));
        assert_eq!(parse_meminfo("MemTotal: many kB\n"), None);
        assert_eq!(parse_meminfo(""), None);
    }

    #[test]
    fn this_process_has_taken_some_memory() {
        assert!(peak_mib().is_some_and(|mib| mib > 0));
    }

    #[test]
    fn a_control_group_that_has_less_left_counts() {
        let machine = Memory { total_mib: 8000, available_mib: 4000 };
        assert_eq!(within(machine, None), machine);
        assert_eq!(within(machine, Some((64 << 20, 48 << 20))), Memory { total_mib: 64, available_mib: 16 });
        assert_eq!(within(machine, Some((64 << 20, 65 << 20))), Memory { total_mib: 64, available_mib: 0 });
        assert_eq!(within(machine, Some((1 << 50, 0))), machine);
    }
}
