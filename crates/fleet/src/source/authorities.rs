//! Whom a web server's certificate is judged by: the authorities in a file, or those that the platform trusts.
//!
//! An authority counts by its name and its key, as RFC 5280 (6.1.1 d) and rustls have it: that its own certificate has expired stops nothing. It is for
//! `linnet doctor` to say so. A device whose only source it verifies could be told of a new one by nobody, and what is believed is signed in any case.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::open_regular;

/// Largest file of authorities that is read, bytes; a platform's has a quarter of it.
const MAX_BYTES: u64 = 1 << 20;
/// Where systems keep the certificates that they trust.
const PLATFORM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// The key of a device's configuration that names a file of them.
const KEY: &str = "fleet.ca_file";

/// Says what is wrong with a file of authorities; one sentence without its path, or nothing.
pub fn fault_of_authorities(file: &Path) -> Option<String> {
    own(file).err()
}

/// Authorities, read.
pub(super) struct Authorities {
    roots: RootCertStore,
    /// The file, where a device's configuration names one.
    own: Option<PathBuf>,
}

impl Authorities {
    /// Those in `ca`; the platform's where none is named. A fault is one sentence.
    pub(super) fn read(ca: Option<&Path>) -> Result<Self, String> {
        let roots = match ca {
            Some(file) => own(file).map_err(|why| format!("{KEY} = {}: {why}", file.display()))?,
            None => platform()?,
        };
        Ok(Self { roots, own: ca.map(Path::to_owned) })
    }

    /// The file that they were read from, where a device's configuration names one.
    pub(super) fn own(&self) -> Option<&Path> {
        self.own.as_deref()
    }

    pub(super) fn connector(&self) -> Result<TlsConnector, String> {
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// What a handshake that failed came to, in a sentence that follows the server's name.
pub(super) fn in_words(e: &std::io::Error, host: &str, own: Option<&Path>) -> String {
    let Some(fault) = e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return match e.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => {
                "the server ended the TLS handshake; does it speak TLS on this port?".into()
            }
            _ => format!("no TLS connection: {e}"),
        };
    };
    let rustls::Error::InvalidCertificate(why) = fault else {
        return match fault {
            rustls::Error::InvalidMessage(_) => {
                "what answers does not speak TLS on this port; write http:// where none is meant".into()
            }
            other => format!("no TLS connection: {other}"),
        };
    };
    use CertificateError as E;
    match (why, own) {
        (E::UnknownIssuer | E::BadSignature, None) => format!(
            "its certificate comes from an authority that this machine does not trust; name a file with the certificate \
             of that authority (PEM) as {KEY}"
        ),
        (E::UnknownIssuer | E::BadSignature, Some(file)) => format!(
            "its certificate comes from no authority in {} ({KEY}); put the certificate of the one that signed it there",
            file.display()
        ),
        (E::Expired | E::ExpiredContext { .. }, _) => {
            "its certificate has expired by this device's clock; renew it on the server, or set the clock".into()
        }
        (E::NotValidYet | E::NotValidYetContext { .. }, _) => {
            "its certificate does not count yet by this device's clock; set the clock".into()
        }
        (E::NotValidForName | E::NotValidForNameContext { .. }, _) => format!(
            "its certificate is for another name than {host}; write the name of its certificate into fleet.sources, or give \
             the server one for this name"
        ),
        (why, _) => format!("its certificate cannot be used: {}", rustls::Error::InvalidCertificate(why.clone())),
    }
}

/// A device's own file: each certificate in it has to count, since somebody meant it.
fn own(file: &Path) -> Result<RootCertStore, String> {
    let unread = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound => "there is no such file; put the certificate of the authority there (PEM)".to_owned(),
        ErrorKind::PermissionDenied => {
            "this user may not read it; it holds no secret, so `chmod 644` it, and let its directory be entered"
                .to_owned()
        }
        _ => e.to_string(),
    };
    let Some(open) = open_regular(file).map_err(unread)? else {
        return Err("this is no regular file; name a file of certificates (PEM)".into());
    };
    let mut pem = Vec::new();
    open.take(MAX_BYTES + 1).read_to_end(&mut pem).map_err(unread)?;
    if pem.is_empty() {
        return Err("the file is empty; put the certificate of the authority there (PEM)".into());
    }
    if pem.len() as u64 > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes; name only the authorities that sign the sources"));
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate =
            certificate.map_err(|e| format!("the certificates cannot be read ({e}); they must be PEM"))?;
        roots
            .add(certificate)
            .map_err(|e| format!("certificate {} in it cannot be used ({e}); leave it out", roots.len() + 1))?;
    }
    if roots.is_empty() {
        return Err("the file holds no certificate that a server can be verified by; it must be PEM, with a line \
                    `-----BEGIN CERTIFICATE-----`"
            .into());
    }
    Ok(roots)
}

fn platform() -> Result<RootCertStore, String> {
    let file = PLATFORM.iter().map(PathBuf::from).find(|file| file.is_file()).ok_or_else(|| {
        format!(
            "this machine has no certificates to verify a server by (looked for {}); install ca-certificates, or name a \
             file of certificates as {KEY}",
            PLATFORM.join(", ")
        )
    })?;
    let refuse = |why: String| format!("{}: {why}", file.display());
    let certificates = CertificateDer::pem_file_iter(&file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| refuse(format!("the certificates cannot be read: {e}")))?;
    let mut roots = RootCertStore::empty();
    // It may hold one that rustls does not take; the others still verify.
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(refuse("the file holds no certificate that a server can be verified by".into()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHORITY: &str = include_str!("../../../../tests/goldens/fleet/tls/ca.pem");

    #[test]
    fn a_file_that_no_server_can_be_verified_by_is_refused_in_one_sentence_with_the_way_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let said = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).expect("written");
            fault_of_authorities(&path).unwrap_or_default()
        };
        assert_eq!(said("good.pem", AUTHORITY.as_bytes()), "");
        assert_eq!(said("two.pem", format!("# ours\n{AUTHORITY}\n{AUTHORITY}").as_bytes()), "");
        let broken = AUTHORITY.replacen("MII", "M!I", 1);
        let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (name, content, says) in [
            ("empty.pem", "", "is empty; put"),
            ("words.pem", "whatever this is", "BEGIN CERTIFICATE"),
            ("broken.pem", broken.as_str(), "must be PEM"),
            ("other.pem", no_certificate, "leave it out"),
            // The first one alone would do; but somebody meant the second, too.
            ("half.pem", &format!("{AUTHORITY}{no_certificate}"), "certificate 2 in it cannot be used"),
            ("large.pem", &" ".repeat(2 << 20), "larger than 1048576 bytes"),
        ] {
            let said = said(name, content.as_bytes());
            assert!(said.contains(says) && !said.contains(name), "{name}: {said}");
        }
        let two = Authorities::read(Some(&dir.path().join("two.pem"))).expect("they can be read");
        assert_eq!(two.roots.len(), 2, "and none of the platform's");
        let said = |path: &Path| fault_of_authorities(path).unwrap_or_default();
        assert!(said(&dir.path().join("none.pem")).contains("no such file"));
        assert!(said(dir.path()).contains("no regular file"));
        let refused = Authorities::read(Some(&dir.path().join("none.pem"))).err().unwrap_or_default();
        assert!(refused.starts_with("fleet.ca_file = ") && refused.contains("none.pem: there is no such"), "{refused}");
    }

    #[test]
    fn a_handshake_that_fails_is_told_with_the_key_that_mends_it() {
        let of = |why: CertificateError, own: Option<&str>| {
            let e = std::io::Error::new(ErrorKind::InvalidData, rustls::Error::InvalidCertificate(why));
            in_words(&e, "updates.example", own.map(Path::new))
        };
        for (said, says) in [
            (of(CertificateError::UnknownIssuer, None), "as fleet.ca_file"),
            (of(CertificateError::UnknownIssuer, Some("/etc/ca.pem")), "in /etc/ca.pem (fleet.ca_file)"),
            (of(CertificateError::Expired, None), "has expired"),
            (of(CertificateError::NotValidYet, None), "set the clock"),
            (of(CertificateError::NotValidForName, None), "than updates.example"),
            (of(CertificateError::Revoked, None), "cannot be used"),
            (in_words(&ErrorKind::UnexpectedEof.into(), "h", None), "does it speak TLS"),
        ] {
            assert!(said.contains(says), "{says}: {said}");
        }
    }
}
