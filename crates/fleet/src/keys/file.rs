//! Keys in files.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pkcs8::der::{Decode, SecretDocument};
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef};
use rand::TryRngCore;
use ring::signature::{Ed25519KeyPair, KeyPair};
use tough::schema::key::{Ed25519Key, Ed25519Scheme, Key};
use zeroize::Zeroizing;

use super::{AskPassphrase, KeyError, Signer};

/// Largest key file that is read, bytes.
pub const MAX_KEY_BYTES: u64 = 16 << 10;
/// PKCS#8 (RFC 5958 version 1) around the 32 bytes of an Ed25519 key (RFC 8410), as OpenSSL writes it.
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const PLAIN_LABEL: &str = "PRIVATE KEY";
const ENCRYPTED_LABEL: &str = "ENCRYPTED PRIVATE KEY";

/// An Ed25519 key out of a file.
pub struct FileKey {
    pair: Ed25519KeyPair,
    public: Key,
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl FileKey {
    /// Reads the file; asks for its passphrase where it has one.
    pub fn open(path: &Path, ask: &AskPassphrase<'_>) -> Result<Self, KeyError> {
        let unread = |source| KeyError::Read { path: path.to_owned(), source };
        let form = |reason: String| KeyError::Form { path: path.to_owned(), reason };
        let metadata = std::fs::metadata(path).map_err(unread)?;
        if metadata.mode() & 0o077 != 0 {
            return Err(KeyError::Open { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
        }
        if metadata.len() > MAX_KEY_BYTES {
            return Err(form(format!("it has {} bytes, a key has a few hundred", metadata.len())));
        }
        Self::from_pem(path, std::fs::read(path).map_err(unread)?, ask)
    }

    /// The key that `pem`, the content of the file `path`, holds.
    pub fn from_pem(path: &Path, pem: Vec<u8>, ask: &AskPassphrase<'_>) -> Result<Self, KeyError> {
        let form = |reason: String| KeyError::Form { path: path.to_owned(), reason };
        let pem = Zeroizing::new(pem);
        let pem = std::str::from_utf8(&pem).map_err(|_| form("it is no text".into()))?;
        let (label, document) = SecretDocument::from_pem(pem).map_err(|e| form(e.to_string()))?;
        let document = match label {
            PLAIN_LABEL => document,
            ENCRYPTED_LABEL => {
                let refused = |reason: String| KeyError::Passphrase { path: path.to_owned(), reason };
                let encrypted =
                    EncryptedPrivateKeyInfoRef::from_der(document.as_bytes()).map_err(|e| form(e.to_string()))?;
                let passphrase = ask(path).map_err(|e| refused(e.to_string()))?;
                encrypted
                    .decrypt(passphrase.as_bytes())
                    .map_err(|_| refused("the one that was given is wrong".into()))?
            }
            other => return Err(form(format!("it is labelled `{other}`"))),
        };
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document.as_bytes()).map_err(|e| form(e.to_string()))?;
        let public = Key::Ed25519 {
            keyval: Ed25519Key { public: pair.public_key().as_ref().to_vec().into(), _extra: Default::default() },
            scheme: Ed25519Scheme::Ed25519,
            _extra: Default::default(),
        };
        Ok(Self { pair, public })
    }

    /// The key itself, for what is signed beside metadata.
    pub fn pair(&self) -> &Ed25519KeyPair {
        &self.pair
    }
}

impl Signer for FileKey {
    fn public(&self) -> &Key {
        &self.public
    }

    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.pair.sign(bytes).as_ref().to_vec())
    }
}

/// A new Ed25519 key as the text of a file, under `passphrase` where there is one (PBES2: scrypt and AES-256). `path` is for messages.
pub fn new_pem(path: &Path, passphrase: Option<&str>) -> Result<Zeroizing<String>, KeyError> {
    let mut der = Zeroizing::new([0; PKCS8_HEAD.len() + 32]);
    der[..PKCS8_HEAD.len()].copy_from_slice(&PKCS8_HEAD);
    rand::rngs::OsRng.try_fill_bytes(&mut der[PKCS8_HEAD.len()..]).map_err(|e| KeyError::Random(e.to_string()))?;
    let form = |reason: String| KeyError::Form { path: path.to_owned(), reason };
    let pem = match passphrase {
        None => {
            let document = SecretDocument::try_from(der.as_slice()).map_err(|e| form(e.to_string()))?;
            document.to_pem(PLAIN_LABEL, LineEnding::LF)
        }
        Some(passphrase) => {
            let info = PrivateKeyInfoRef::try_from(der.as_slice()).map_err(|e| form(e.to_string()))?;
            let encrypted = info.encrypt(passphrase.as_bytes()).map_err(|e| form(e.to_string()))?;
            encrypted.to_pem(ENCRYPTED_LABEL, LineEnding::LF)
        }
    };
    pem.map_err(|e| form(e.to_string()))
}

/// Makes a key ([`new_pem`]) in a new file with mode 0600, which is there whole or not at all: half a key would stand in the way of the next try.
pub fn generate(path: &Path, passphrase: Option<&str>) -> Result<(), KeyError> {
    let exists = || KeyError::Exists { path: path.to_owned() };
    if path.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let pem = new_pem(path, passphrase)?;
    let unwritten = |source: std::io::Error| match source.kind() {
        ErrorKind::AlreadyExists => exists(),
        _ => KeyError::Write { path: path.to_owned(), source },
    };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::Builder::new().prefix(".new-key-").tempfile_in(dir).map_err(unwritten)?;
    new.write_all(pem.as_bytes()).and_then(|()| new.as_file().sync_all()).map_err(unwritten)?;
    new.persist_noclobber(path).map_err(|e| unwritten(e.error))?;
    // A key whose name is lost with the power is a fleet without a key.
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(unwritten)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn none(_: &Path) -> std::io::Result<Zeroizing<String>> {
        panic!("nobody is asked for a passphrase that is not needed")
    }

    fn verifies(key: &FileKey, message: &[u8], signature: &[u8]) -> bool {
        let public = key.pair.public_key().as_ref();
        ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public).verify(message, signature).is_ok()
    }

    #[test]
    fn a_generated_key_signs_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("root.pem");
        generate(&path, None).expect("made");
        assert_eq!(path.metadata().expect("there").mode() & 0o7777, 0o600);
        let key = FileKey::open(&path, &none).expect("opens");
        let signature = key.sign(b"words").expect("signs");
        assert!(verifies(&key, b"words", &signature) && !verifies(&key, b"other", &signature));

        assert!(matches!(generate(&path, None), Err(KeyError::Exists { .. })), "never overwritten");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("changed");
        let e = FileKey::open(&path, &none).expect_err("others may read it").to_string();
        assert!(e.contains("0640") && e.contains("chmod 600"), "{e}");
    }

    #[test]
    fn a_key_under_a_passphrase_opens_by_it_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("root.pem");
        generate(&path, Some("a long walk home")).expect("made");
        let text = std::fs::read_to_string(&path).expect("PEM");
        assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{text}");
        let right = |_: &Path| Ok(Zeroizing::new("a long walk home".to_owned()));
        let key = FileKey::open(&path, &right).expect("opens");
        assert!(verifies(&key, b"x", &key.sign(b"x").expect("signs")));
        let wrong = |_: &Path| Ok(Zeroizing::new("a short one".to_owned()));
        assert!(matches!(FileKey::open(&path, &wrong), Err(KeyError::Passphrase { .. })));
    }

    #[test]
    fn what_is_no_key_is_named_with_what_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        for content in ["", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n", &"x".repeat(20_000)] {
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, content).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("changed");
            let e = FileKey::open(&path, &none).expect_err("no key").to_string();
            assert!(e.contains("Ed25519"), "{e}");
        }
        let e = FileKey::open(&dir.path().join("absent"), &none).expect_err("absent").to_string();
        assert!(e.contains("absent") && e.contains("plugged in"), "{e}");
    }
}
