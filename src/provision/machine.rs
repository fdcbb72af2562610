//! What is told of the machine: enough to see that two keys come from one, and nothing else.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::bounds::MAX_MACHINE_ID_BYTES;

/// What goes before the id, so that the digest is of no use to other programs (machine-id(5)).
const LABEL: &[u8] = b"linnet machine\0";

/// The digest of the id in `path`; `None` where the system has none.
pub(super) fn digest(path: &Path) -> Option<String> {
    let mut id = String::new();
    File::open(path).ok()?.take(MAX_MACHINE_ID_BYTES).read_to_string(&mut id).ok()?;
    let id = id.trim();
    let is_one = id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit());
    is_one.then(|| hex::encode(&Sha256::new().chain_update(LABEL).chain_update(id).finalize()[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_itself_is_never_told_and_what_is_none_gives_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("machine-id");
        let id = "0123456789abcdef0123456789abcdef";
        std::fs::write(&path, format!("{id}\n")).expect("written");
        let told = digest(&path).expect("a digest");
        assert!(told.len() == 32 && told != id, "{told}");
        for wrong in ["", "uninitialized\n", "0123", &"x".repeat(200)] {
            std::fs::write(&path, wrong).expect("written");
            assert_eq!(digest(&path), None, "{wrong}");
        }
        assert_eq!(digest(&dir.path().join("absent")), None);
    }
}
