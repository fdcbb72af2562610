//! The bearer token of TCP: only its digest is kept, and comparing takes the same time however much of it is right.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::bounds::MAX_TOKEN_BYTES;

/// A bearer token, kept as its SHA-256 so that neither a log line nor a core dump holds it.
#[derive(Clone)]
pub struct Token {
    digest: [u8; 32],
}

/// Why a token's file is refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("{path}: the bearer token cannot be read: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is read and breaks a rule.
    #[error("{path}: {reason}", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// One sentence.
        reason: &'static str,
    },
}

impl Token {
    /// Reads the token from `path`: one line of visible ASCII, white space around it cut off, not empty.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::Read { path: path.to_owned(), source };
        let unusable = |reason| TokenError::Unusable { path: path.to_owned(), reason };
        let mut text = Vec::new();
        File::open(path).and_then(|f| f.take(MAX_TOKEN_BYTES + 1).read_to_end(&mut text)).map_err(failed)?;
        if text.len() as u64 > MAX_TOKEN_BYTES {
            return Err(unusable("the bearer token is longer than 4096 bytes"));
        }
        let token = text.trim_ascii();
        if token.is_empty() {
            return Err(unusable("the bearer token is empty; write one, for example with `openssl rand -hex 32`"));
        }
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err(unusable("the bearer token must be one line of visible ASCII without blanks"));
        }
        Ok(Self::of(token))
    }

    fn of(token: &[u8]) -> Self {
        Self { digest: Sha256::digest(token).into() }
    }

    /// Whether the value of an `Authorization` header carries this token.
    pub fn admits(&self, authorization: &[u8]) -> bool {
        let Some((scheme, rest)) = authorization.split_at_checked(b"bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && Self::of(rest.trim_ascii()).digest.ct_eq(&self.digest).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8]) -> Result<Token, TokenError> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("token");
        std::fs::write(&path, content).expect("a file");
        Token::read(&path)
    }

    #[test]
    fn white_space_around_a_token_does_not_count() {
        let token = read(b"  s3cret\r\n").expect("a token");
        assert!(token.admits(b"Bearer s3cret"));
        assert!(token.admits(b"bearer  s3cret "));
    }

    #[test]
    fn anything_but_the_token_is_refused() {
        let token = read(b"s3cret").expect("a token");
        for wrong in [&b""[..], b"Bearer", b"Bearer ", b"Bearer s3cre", b"Bearer s3crets", b"Basic s3cret", b"s3cret"] {
            assert!(!token.admits(wrong), "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn an_unusable_token_file_is_refused_by_name() {
        for (content, says) in [(&b""[..], "empty"), (b" \n", "empty"), (b"two words", "blanks"), (b"\xffx", "ASCII")] {
            let message = read(content).expect_err("a refusal").to_string();
            assert!(message.contains(says) && message.contains("token"), "{message}");
        }
        assert!(read(&[b'x'; 5000]).expect_err("a refusal").to_string().contains("4096"));
        let missing = Token::read(Path::new("/nonexistent/token")).expect_err("a refusal").to_string();
        assert!(missing.starts_with("/nonexistent/token: "), "{missing}");
    }

    #[test]
    fn a_token_does_not_show_itself() {
        let token = read(b"s3cret").expect("a token");
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
