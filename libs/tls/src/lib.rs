//! TLS by files: certificates and keys are read from PEM files, and read again when these change.
//!
//! [`Acceptor`] is the server's side of a handshake, [`Connector`] the client's; each makes its handshakes with what the
//! files held when they were last right. A file that is broken, or a key that is another certificate's, changes nothing
//! and is logged. Connections that are up go on as they are. [`FileWatch`] notices the changes, of any files.
//!
//! Owns nothing but what it read. Refuses keys that are encrypted, and settings of ciphers and versions: rustls's own
//! defaults hold, TLS 1.2 and 1.3.

mod acceptor;
mod config;
mod connector;
mod pem;
mod reload;
mod watch;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use acceptor::Acceptor;
pub use config::{ClientTls, ServerTls};
pub use connector::Connector;
pub use pem::TlsError;
pub use tokio_rustls::{client, server};
pub use watch::FileWatch;

/// What does the arithmetic. Named wherever it is needed: several are linked, so that rustls knows no default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
