//! TLS to the broker: rustls with ring, trust in the configured authorities only.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::MqttStartError;
use crate::config::transport::MqttSettings;

/// Loads authorities, client certificate and key. Called at start and on reload, so that a renewed certificate needs no
/// restart.
pub(super) fn client_config(settings: &MqttSettings) -> Result<ClientConfig, MqttStartError> {
    let refuse = |path: &Path, reason: String| MqttStartError::Tls { path: path.to_owned(), reason };
    let Some(ca_file) = &settings.ca_file else { return Err(MqttStartError::NoAuthorities(settings.url.clone())) };
    let mut roots = RootCertStore::empty();
    for authority in chain(ca_file)? {
        roots.add(authority).map_err(|e| refuse(ca_file, format!("an authority's certificate cannot be used: {e}")))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| refuse(ca_file, e.to_string()))?
        .with_root_certificates(roots);
    let mut config = match &settings.client_cert {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let key = PrivateKeyDer::from_pem_file(&files.key)
                .map_err(|e| refuse(&files.key, format!("the private key cannot be read: {e}")))?;
            builder
                .with_client_auth_cert(chain(&files.cert)?, key)
                .map_err(|e| refuse(&files.key, format!("certificate and key do not serve together: {e}")))?
        }
    };
    config.alpn_protocols = settings.alpn.iter().map(|p| p.clone().into_bytes()).collect();
    Ok(config)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, MqttStartError> {
    let refuse = |reason: String| MqttStartError::Tls { path: path.to_owned(), reason };
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| refuse(format!("the certificates cannot be read: {e}")))?;
    if chain.is_empty() { Err(refuse("the file holds no PEM certificate".into())) } else { Ok(chain) }
}
