//! The fuzz targets on their seeds and on some thousand damaged copies, always the same ones: what a stable compiler can
//! do without libFuzzer. `docs/fuzzing.md` says how to let it run for longer.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "../fuzz/src/lib.rs"]
mod targets;

/// Damaged copies for each target, unless `LINNET_FUZZ_COPIES` says how many.
const COPIES: usize = 2_000;
/// Largest input that is tried, bytes.
const MAX_BYTES: usize = 1 << 16;

/// Marsaglia's xorshift64*: the same numbers on every machine.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The seeds of a target: its folder, and files of the tree that are what it reads.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folders = match target {
        "audio" => vec!["tests/goldens/audio"],
        "config" => vec!["fuzz/seeds/config", "config"],
        _ => vec![],
    };
    let own = format!("fuzz/seeds/{target}");
    let mut files: Vec<PathBuf> = folders
        .into_iter()
        .chain(std::iter::once(own.as_str()))
        .flat_map(|folder| fs::read_dir(root().join(folder)).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files.dedup();
    let read = |path: &Path| fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    files.iter().map(|path| read(path)).filter(|seed| seed.len() <= MAX_BYTES).collect()
}

/// Damages a seed in one to four places.
fn damage(seed: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len() + 1);
        let length = numbers.below(64).min(bytes.len() - at);
        match numbers.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..at + length)),
            2 => {
                let copy = bytes[at..at + length].to_vec();
                bytes.splice(at..at, copy);
            }
            3 => {
                let from = numbers.below(other.len() + 1);
                let piece = &other[from..(from + 64).min(other.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            4 => {
                // The ends of numbers are where lengths lie.
                let extreme = [0x00, 0x01, 0x7f, 0x80, 0xff][numbers.below(5)];
                bytes[at..at + length.min(4)].fill(extreme);
            }
            5 => bytes.insert(at, numbers.next() as u8),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << numbers.below(8);
                }
            }
        }
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

#[test]
fn every_target_withstands_its_seeds_and_damaged_copies_of_them() {
    let copies = std::env::var("LINNET_FUZZ_COPIES").ok().map_or(COPIES, |copies| copies.parse().expect("a number"));
    let only = std::env::var("LINNET_FUZZ_TARGET").ok();
    for (name, target) in
        targets::TARGETS.into_iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name))
    {
        let seeds = seeds(name);
        assert!(seeds.len() >= 3, "{name} has {} seeds", seeds.len());
        let mut numbers = Numbers(0x6c69_6e6e_6574);
        let copies = (0..copies).map(|_| {
            let (seed, other) = (numbers.below(seeds.len()), numbers.below(seeds.len()));
            damage(&seeds[seed], &seeds[other], &mut numbers)
        });
        for input in seeds.iter().cloned().chain(copies) {
            if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                let path = std::env::temp_dir().join(format!("linnet-fuzz-{name}"));
                fs::write(&path, &input).expect("writes");
                panic!("{name} does not withstand the {} bytes in {}", input.len(), path.display());
            }
        }
    }
}

#[test]
fn every_target_has_its_program() {
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).expect("reads");
    for (name, _) in targets::TARGETS {
        let program = root().join(format!("fuzz/fuzz_targets/{name}.rs"));
        let text = fs::read_to_string(&program).unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        assert!(text.contains(&format!("linnet_fuzz::{name}(data)")), "{}", program.display());
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml does not name {name}");
    }
}
