//! How much memory a loaded package needs.

use super::Contents;

/// Resident memory of this process, bytes; 0 where the system does not tell.
pub fn resident_bytes() -> u64 {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return 0 };
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// What loading and running took by `measured`, but at least what the weights must take as the engine holds them; MiB,
/// rounded up to the next four.
pub fn needed_mib(contents: &Contents<'_>, measured_bytes: u64) -> u64 {
    // Weights are held as floats whatever their file has, next to the language model.
    let held = 4 * contents.parameters() as u64 + contents.lm.as_ref().map_or(0, |lm| lm.len() as u64);
    measured_bytes.max(held).div_ceil(1 << 20).next_multiple_of(4)
}
