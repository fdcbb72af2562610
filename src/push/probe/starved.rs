//! Whether the child failed for want of memory. Some allocations that fail end the process, which its parent sees; others are a panic or an
//! error of the model's load, and look like a fault of the model.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// A panic came for want of memory.
static STARVED: AtomicBool = AtomicBool::new(false);

/// What libraries say whose allocation failed.
const SPEAKS_OF_MEMORY: [&str; 5] =
    ["failed to allocate", "memory allocation", "out of memory", "Cannot allocate memory", "data.is_null()"];

/// The part of the limit that is used up when the rest is too little for anything: the last sixteenth.
const REST: u64 = 16;

/// Says where each panic was, and notices those for want of memory, of which there are `memory_mib` (0 for no limit). The hook asks for
/// none itself, and prints no backtrace, which would.
pub(super) fn notice_panics(memory_mib: u64) {
    std::panic::set_hook(Box::new(move |info| {
        if speaks_of_memory(info.payload_as_str().unwrap_or_default()) || is_used_up(memory_mib) {
            STARVED.store(true, Ordering::Relaxed);
        }
        let mut err = std::io::stderr().lock();
        // Nobody may be listening.
        let _ = match info.location() {
            Some(place) => writeln!(err, "panicked at {place}"),
            None => writeln!(err, "panicked"),
        };
    }));
}

/// Whether a model that failed with `reason` failed for want of memory.
pub(super) fn is_starved(reason: &str) -> bool {
    STARVED.load(Ordering::Relaxed) || speaks_of_memory(reason)
}

fn speaks_of_memory(text: &str) -> bool {
    SPEAKS_OF_MEMORY.iter().any(|words| text.contains(words))
}

/// Whether what counts against the limit has nearly reached it.
fn is_used_up(memory_mib: u64) -> bool {
    let mut text = [0; 2048];
    let read = File::open("/proc/self/status").and_then(|mut file| file.read(&mut text));
    let Some(text) = read.ok().and_then(|read| std::str::from_utf8(&text[..read]).ok()) else { return false };
    memory_mib > 0 && data_kib(text).is_some_and(|kib| nears(kib, memory_mib << 10))
}

/// `VmData` of `/proc/self/status`, KiB.
fn data_kib(status: &str) -> Option<u64> {
    let data = status.lines().find_map(|line| line.strip_prefix("VmData:"))?;
    data.trim().trim_end_matches(" kB").parse().ok()
}

fn nears(used: u64, most: u64) -> bool {
    used >= most - most / REST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_failed_allocation_are_known() {
        assert!(speaks_of_memory("failed to allocate Layout { size: 4096, align: 128 }"));
        assert!(speaks_of_memory("mmap: Cannot allocate memory (os error 12)"));
        assert!(!speaks_of_memory("its graph is damaged"));
    }

    #[test]
    fn what_counts_against_the_limit_is_told_by_the_system() {
        assert_eq!(data_kib("VmPeak:\t  9 kB\nVmData:\t   16332 kB\nVmStk:\t 132 kB\n"), Some(16_332));
        assert_eq!(data_kib("VmPeak:\t  9 kB\n"), None);
        assert!(nears(15, 16) && nears(20, 16) && !nears(14, 16));
        assert!(is_used_up(1) && !is_used_up(1 << 20) && !is_used_up(0), "this process takes more than a mebibyte");
    }
}
