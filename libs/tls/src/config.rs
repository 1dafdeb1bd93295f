//! Which files. What is wrong with them is said when the configuration is checked, before anything listens.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::acceptor::server_config;
use crate::connector::{client_config, server_name};
use crate::pem::{out_of_time, text};

/// What a listener shows to those who connect to it, and whom it lets in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// The certificates, in PEM: the server's own first, then those between it and its authority.
    pub certificate: PathBuf,
    /// The key of the first certificate, in PEM and not encrypted.
    pub key: PathBuf,
    /// The authorities, in PEM, whose certificates clients must show (mTLS). Default: clients show none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

/// Whom a client trusts, and what it shows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTls {
    /// The authorities, in PEM, that the server's certificate must come from. Default: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The certificates to show, in PEM, the own one first. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The key of the first certificate, in PEM and not encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The name that the server's certificate must have. Default: the host of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

impl ServerTls {
    /// Returns what is wrong with the files, each with its field in this section, such as `server.tls`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        server_config(self).err().map(|error| format!("{section}: {}", text(&error))).into_iter().collect()
    }

    /// Returns what makes peers refuse the files, though they can be used.
    pub fn warnings(&self, section: &str) -> Vec<String> {
        let found = out_of_time([&self.certificate].into_iter().chain(&self.client_ca));
        found.into_iter().map(|warning| format!("{section}: {warning}")).collect()
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        [&self.certificate, &self.key].into_iter().chain(&self.client_ca).cloned().collect()
    }
}

impl ClientTls {
    /// Returns what is wrong with the values and the files, each with its field in this section.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(domain) = &self.domain
            && server_name(domain).is_none()
        {
            problems.push(format!("{section}.domain: `{domain}` is no name of a server"));
        }
        problems.extend(client_config(self).err().map(|error| format!("{section}: {}", text(&error))));
        problems
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        [&self.ca, &self.certificate, &self.key].into_iter().flatten().cloned().collect()
    }
}
