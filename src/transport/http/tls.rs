//! TLS of the TCP listener: rustls with ring, TLS 1.2 and 1.3, HTTP/1.1 only.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use tokio_rustls::TlsAcceptor;

use super::HttpStartError;
use crate::config::transport::TlsFiles;

/// Loads chain and key. Called at start and on reload, so that a renewed certificate needs no restart.
pub(super) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, HttpStartError> {
    let refuse = |path: &Path, reason: String| HttpStartError::Tls { path: path.to_owned(), reason };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| refuse(&files.cert, format!("the certificate chain cannot be read: {e}")))?;
    let Some(own) = chain.first() else {
        return Err(refuse(&files.cert, "the file holds no PEM certificate".into()));
    };
    // Looked at beside the key below, what is wrong with it would be told of the key.
    ParsedCertificate::try_from(own)
        .map_err(|e| refuse(&files.cert, format!("its first certificate cannot be read: {e}")))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|e| refuse(&files.key, format!("the private key cannot be read: {e}")))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| refuse(&files.cert, e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| refuse(&files.key, format!("certificate and key do not serve together: {e}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
