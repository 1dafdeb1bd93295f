use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::ClientTls;
use crate::pem::{TlsError, certified_key, out_of_time, roots};
use crate::provider;
use crate::reload::Reloaded;

/// The client's side of handshakes, with the certificates of its files. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    config: Reloaded<ClientConfig>,
    domain: Option<ServerName<'static>>,
}

impl Connector {
    /// Reads the files; it blocks. `name` says whose they are, for logs.
    pub fn new(name: &str, tls: &ClientTls) -> std::result::Result<Self, TlsError> {
        let own = tls.clone();
        let load = move || {
            let config = client_config(&own)?;
            let warnings = out_of_time(own.ca.iter().chain(&own.certificate));
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            Ok(config)
        };
        let domain = tls.domain.as_deref().and_then(server_name);
        Ok(Self { config: Reloaded::new(name, tls.files(), load)?, domain })
    }

    /// Makes a handshake for HTTP/2 with the server of this host, with the certificates that the files hold now.
    /// The caller bounds its time.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(&self, host: &str, stream: S) -> Result<TlsStream<S>> {
        let name = self.domain.clone().or_else(|| server_name(host));
        let name =
            name.ok_or_else(|| Error::new(ErrorKind::InvalidInput, format!("`{host}` is no name of a server")))?;
        let stream = TlsConnector::from(self.config.fresh().await).connect(name, stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(Error::new(ErrorKind::InvalidData, "the server does not speak HTTP/2 over TLS"));
        }
        Ok(stream)
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

/// Reads a host as it stands in a URI, or a name of a certificate.
pub(crate) fn server_name(host: &str) -> Option<ServerName<'static>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).ok()
}

/// Reads the files.
pub(crate) fn client_config(tls: &ClientTls) -> std::result::Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Config(error.into()))?;
    let roots = match &tls.ca {
        Some(path) => roots(path)?,
        None => system_roots()?,
    };
    let builder = builder.with_root_certificates(roots);
    let mut config = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            let key: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(certified_key(certificate, key)?));
            builder.with_client_cert_resolver(key)
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(TlsError::Half),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn system_roots() -> std::result::Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // Some of a system's certificates may be too odd to be read.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoSystemRoots) } else { Ok(roots) }
}
