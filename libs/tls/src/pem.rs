//! Certificates and keys as they lie in files.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error as Rustls, InconsistentKeys, RootCertStore};
use thiserror::Error;

use crate::provider;

/// Files that no handshake can be made with.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is no PEM.
    #[error("{} is no whole PEM file", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PemError,
    },
    /// A file of certificates has none.
    #[error("{} has no certificate in it (`-----BEGIN CERTIFICATE-----`)", .0.display())]
    NoCertificate(PathBuf),
    /// A file of a key has none.
    #[error("{} has no private key in it, or an encrypted one (`-----BEGIN PRIVATE KEY-----` is looked for)", .0.display())]
    NoKey(PathBuf),
    /// The key is another certificate's.
    #[error("the key in {} is not that of the first certificate in {}", .key.display(), .certificate.display())]
    Mismatch {
        /// The file of the certificates.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// A certificate or a key is of no use.
    #[error("what is in {} cannot be used", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Rustls,
    },
    /// A certificate has no key, or a key no certificate.
    #[error("a certificate and its key are of use together only")]
    Half,
    /// The system has no authorities.
    #[error("this system has no certificates of authorities; name a file with `ca`")]
    NoSystemRoots,
    /// What was read does not make a configuration.
    #[error("the certificates cannot be used")]
    Config(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// An error with its sources, on one line.
pub(crate) fn text(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

/// Reads certificates. Their times are not looked at: clocks differ, and an old one is better than none.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|source| TlsError::Pem { path: path.to_owned(), source })?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(certificates)
}

/// Reads certificates and the key of the first of them.
pub(crate) fn certified_key(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(certificate)?;
    // So that what is wrong with it is not said of the key.
    ParsedCertificate::try_from(&chain[0])
        .map_err(|source| TlsError::Unusable { path: certificate.to_owned(), source })?;
    let parsed = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|source| match source {
        PemError::NoItemsFound => TlsError::NoKey(key.to_owned()),
        source => TlsError::Pem { path: key.to_owned(), source },
    })?;
    CertifiedKey::from_der(chain, parsed, &provider()).map_err(|source| match source {
        Rustls::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() }
        }
        source => TlsError::Unusable { path: key.to_owned(), source },
    })
}

/// Reads the certificates of authorities.
pub(crate) fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| TlsError::Unusable { path: path.to_owned(), source })?;
    }
    Ok(roots)
}

/// Says which of these files has a certificate that is not valid yet, or not any more.
pub(crate) fn out_of_time<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Vec<String> {
    let mut found = Vec::new();
    for path in files {
        let wrong = certificates(path).into_iter().flatten().filter_map(|certificate| wrong_time(&certificate));
        found.extend(wrong.map(|what| format!("a certificate in {} {what}: peers will refuse it", path.display())));
    }
    found
}

/// Returns what is wrong with the time of a certificate. The check of a chain looks at times before it looks for an
/// authority: so it does here, without one.
fn wrong_time(certificate: &CertificateDer<'_>) -> Option<&'static str> {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let algorithms = provider().signature_verification_algorithms.all;
    let checked = rustls::client::verify_server_cert_signed_by_trust_anchor(
        &parsed,
        &RootCertStore::empty(),
        &[],
        UnixTime::now(),
        algorithms,
    );
    match checked {
        Err(Rustls::InvalidCertificate(Expired | ExpiredContext { .. })) => Some("has expired"),
        Err(Rustls::InvalidCertificate(NotValidYet | NotValidYetContext { .. })) => Some("is not valid yet"),
        _ => None,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
