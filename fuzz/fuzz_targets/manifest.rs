//! Any text as a package's manifest, read as the daemon reads it: from a directory.
#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::fuzz_target;
use linnet::store::{MANIFEST, read_manifest, verify};
use tempfile::TempDir;

thread_local! {
    static PACKAGE: OnceCell<TempDir> = const { OnceCell::new() };
}

fuzz_target!(|text: &[u8]| {
    PACKAGE.with(|package| {
        let dir = package.get_or_init(|| tempfile::tempdir().expect("a directory")).path();
        std::fs::write(dir.join(MANIFEST), text).expect("a file");
        if let Err(refused) = read_manifest(dir) {
            assert!(!refused.to_string().is_empty());
        }
        // No other file is there, so that no manifest can be right.
        assert!(verify(dir).is_err());
    });
});
