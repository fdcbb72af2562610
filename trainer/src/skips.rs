//! Tests whose tools are absent are skipped so that nobody can overlook it.

use std::io::Write;

/// Whether a program can be found; if not, says that `test` is skipped, or panics where skips are forbidden.
pub(crate) fn has_program(program: &str, test: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
        return true;
    }
    skip(test, &format!("{program} is not installed"));
    false
}

/// Says that `test` is skipped because of what is missing, or panics where skips are forbidden.
pub(crate) fn skip(test: &str, missing: &str) {
    let line = format!("SKIPPED: {test}: {missing}");
    assert!(std::env::var("LINNET_TEST_REQUIRE").as_deref() != Ok("all"), "{line}");
    eprintln!("{line}");
    if let Some(file) = std::env::var_os("LINNET_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
        let _ = file.and_then(|mut file| writeln!(file, "{line}"));
    }
}
