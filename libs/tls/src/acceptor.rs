use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::ServerTls;
use crate::pem::{TlsError, certified_key, roots};
use crate::provider;
use crate::reload::Reloaded;

/// The server's side of handshakes, with the certificates of its files. Cheap to clone.
#[derive(Clone)]
pub struct Acceptor(Reloaded<ServerConfig>);

impl Acceptor {
    /// Reads the files; it blocks. `name` is their section of the configuration, for logs.
    pub fn new(name: &str, tls: &ServerTls) -> Result<Self, TlsError> {
        let (own, section) = (tls.clone(), name.to_owned());
        let load = move || {
            let config = server_config(&own)?;
            own.warnings(&section).iter().for_each(|warning| tracing::warn!("{warning}"));
            Ok(config)
        };
        Ok(Self(Reloaded::new(name, tls.files(), load)?))
    }

    /// Makes a handshake with a client, with HTTP/2 and HTTP/1.1 to choose from. The caller bounds its time.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> std::io::Result<TlsStream<S>> {
        TlsAcceptor::from(self.0.get()).accept(stream).await
    }

    /// Looks at the files for ever.
    pub async fn follow(self) {
        self.0.follow().await;
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

/// Reads the files.
pub(crate) fn server_config(tls: &ServerTls) -> Result<ServerConfig, TlsError> {
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Config(error.into()))?;
    let builder = match &tls.client_ca {
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| TlsError::Config(error.into()))?)
        }
        None => builder.with_no_client_auth(),
    };
    let key = certified_key(&tls.certificate, &tls.key)?;
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if tls.client_ca.is_some() {
        // A session that is taken up again shows no certificate, and it may have expired since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}
