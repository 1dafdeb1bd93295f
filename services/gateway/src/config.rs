use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use pointsman_client::{ClientTls, check_address};
use pointsman_types::{ByteSize, is_tenant_name};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

pub use crate::frame_log::Config as FrameLogConfig;

/// The section `gateway`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The instances that requests may be sent to. Their targets are asked of them.
    pub instances: Vec<InstanceConfig>,
    /// The keys that callers may use. Default: none, and then every caller is the tenant `local`, which is
    /// allowed on loopback only.
    pub keys: Vec<KeyConfig>,
    /// The file with the policy; read again when it changes. Default: none, and then callers name models and
    /// targets of the fleet.
    pub policy: Option<PathBuf>,
    /// The zone that this gateway runs in, such as `eu-west`: instances there are preferred. Default: none.
    pub zone: String,
    /// The folder where usage records are kept until a ledger has read them. Default: none, and they are
    /// counted and dropped.
    pub data_dir: Option<PathBuf>,
    /// How much the usage records may take of it; at least 32 MiB. Full: new requests are refused. Default 1 GiB.
    pub usage_limit: ByteSize,
    /// The other gateways that share named requests with this one: the same list at each of them, but for
    /// itself. A name is its `server.instance`, an endpoint its `server.mesh_listen`. Default: none.
    pub peers: Vec<InstanceConfig>,
    /// The session store, by its name and its `server.listen`. Default: none, and requests with a session are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<InstanceConfig>,
    /// The frames of named requests.
    pub frame_log: FrameLogConfig,
    /// How instances and peers are called.
    pub client: pointsman_client::Config,
}

/// Something to call, and its name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceConfig {
    /// What it is called, in traces and logs. Unique in its list.
    pub name: String,
    /// Where it listens: `http://HOST:PORT` or `https://HOST:PORT`.
    pub endpoint: String,
    /// Whom to trust there, and what to show of oneself. Default: with `https` the system's authorities, and nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
}

/// One key, as `pointsman key new` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// The part between `pm_` and the secret.
    pub id: String,
    /// SHA-256 of the whole key, in hexadecimal digits.
    pub sha256: String,
    /// Who is billed and isolated.
    pub tenant: String,
    /// What the key may be used for. Default: everything.
    #[serde(default = "Scope::all")]
    pub scopes: Vec<Scope>,
    /// How much of this gateway the key may use. Default: as much as there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsConfig>,
}

/// What a key may use of one gateway. Each gateway counts for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Requests in a second, on average; as many may come at once. Default: no limit; 1 to 1,000,000.
    #[serde(deserialize_with = "whole_number")]
    pub requests_per_second: Option<u32>,
    /// Requests that are answered at the same time. Default: no limit; at least 1.
    #[serde(deserialize_with = "whole_number")]
    pub concurrent: Option<u32>,
}

/// Reads a number as text, to say what else to write.
fn whole_number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    let number =
        text.parse().map_err(|_| D::Error::custom(format!("`{text}` cannot be read: write a whole number, from 1")));
    number.map(Some)
}

/// Something that a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Generate.
    Generate,
    /// List models and describe targets.
    Describe,
    /// Keep conversations: sessions, and requests that are turns of one.
    Sessions,
}

impl Scope {
    /// Returns every scope there is.
    pub fn all() -> Vec<Self> {
        vec![Self::Generate, Self::Describe, Self::Sessions]
    }

    /// Returns the scope's name, as it is written in a configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Describe => "describe",
            Self::Sessions => "sessions",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            instances: Vec::new(),
            keys: Vec::new(),
            policy: None,
            zone: String::new(),
            data_dir: None,
            usage_limit: ByteSize::mebibytes(1024),
            peers: Vec::new(),
            sessions: None,
            frame_log: FrameLogConfig::default(),
            client: pointsman_client::Config::default(),
        }
    }
}

impl Config {
    /// Returns what is wrong with these values, each with its field.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        problems.extend(address_problems("gateway.instances", &self.instances));
        problems.extend(address_problems("gateway.peers", &self.peers));
        let sessions = self.sessions.as_slice().iter();
        problems.extend(sessions.flat_map(|one| endpoint_problems("gateway.sessions", one)));
        let mut ids = HashSet::new();
        for (index, key) in self.keys.iter().enumerate() {
            if key.id.is_empty() || key.id.contains('_') || !ids.insert(&key.id) {
                problems.push(format!("gateway.keys[{index}].id: must be there, without `_`, and unlike the others"));
            }
            if !hex::decode(&key.sha256).is_ok_and(|digest| digest.len() == 32) {
                problems.push(format!("gateway.keys[{index}].sha256: must be 64 hexadecimal digits"));
            }
            let limits = key.limits.unwrap_or_default();
            if limits.requests_per_second.is_some_and(|limit| !(1..=1_000_000).contains(&limit)) {
                problems.push(format!("gateway.keys[{index}].limits.requests_per_second: must be 1 to 1,000,000"));
            }
            if limits.concurrent == Some(0) {
                problems.push(format!(
                    "gateway.keys[{index}].limits.concurrent: must be at least 1; remove the key to refuse it"
                ));
            }
            if !is_tenant_name(&key.tenant) {
                problems
                    .push(format!("gateway.keys[{index}].tenant: must be 1 to 63 letters, digits, `-`, `_` or `.`"));
            }
        }
        problems.extend(self.client.problems("gateway.client"));
        if self.usage_limit < ByteSize::mebibytes(32) {
            problems.push("gateway.usage_limit: must be at least 32MiB".to_owned());
        }
        if let Some(Err(mistakes)) = self.policy.as_deref().map(crate::policy::read) {
            problems.extend(mistakes.iter().map(|mistake| format!("gateway.policy: {mistake}")));
        }
        problems
    }

    /// Returns why this gateway must not listen there, if it must not. `secret`: others cannot read what callers send.
    pub fn exposure_problem(&self, listen: SocketAddr, secret: bool) -> Option<String> {
        if listen.ip().is_loopback() {
            None
        } else if self.keys.is_empty() {
            Some(format!(
                "server.listen: {listen} is not loopback, and gateway.keys is empty: anybody could use it. Make a key with `pointsman key new`"
            ))
        } else if !secret {
            Some(format!(
                "server.listen: {listen} is not loopback, and keys would travel without TLS. Give it a certificate with `server.tls`, listen on loopback behind a TLS proxy, or accept it with `server.plaintext: true`"
            ))
        } else {
            None
        }
    }
}

fn address_problems(section: &str, named: &[InstanceConfig]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut names = HashSet::new();
    for (index, one) in named.iter().enumerate() {
        if one.name.is_empty() || !names.insert(&one.name) {
            problems.push(format!("{section}[{index}].name: must be there, and unlike the others"));
        }
        problems.extend(endpoint_problems(&format!("{section}[{index}]"), one));
    }
    problems
}

fn endpoint_problems(section: &str, one: &InstanceConfig) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(error) = check_address(&one.endpoint, one.tls.as_ref()) {
        problems.push(format!("{section}.endpoint: {error}"));
    }
    // With `https` and nothing else the system's authorities are needed, which a small image may lack.
    let tls = one.tls.clone().or_else(|| one.endpoint.starts_with("https:").then(ClientTls::default));
    problems.extend(tls.iter().flat_map(|tls| tls.problems(&format!("{section}.tls"))));
    problems
}

#[cfg(test)]
mod tests {
    use super::{Config, KeyConfig, Scope};

    #[test]
    fn a_gateway_is_exposed_only_on_purpose() {
        let key = KeyConfig {
            id: "a".into(),
            sha256: "00".repeat(32),
            tenant: "t".into(),
            scopes: Scope::all(),
            limits: None,
        };
        let (open, keyed) = (Config::default(), Config { keys: vec![key], ..Config::default() });
        for (config, address, plaintext, allowed) in [
            (&open, "127.0.0.1:1", false, true),
            (&open, "[::1]:1", false, true),
            (&open, "0.0.0.0:1", true, false),
            (&keyed, "0.0.0.0:1", false, false),
            (&keyed, "0.0.0.0:1", true, true),
            (&keyed, "127.0.0.1:1", false, true),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(config.exposure_problem(address, plaintext).is_none(), allowed, "{address} {plaintext}");
        }
    }
}
