use std::collections::HashSet;
use std::net::SocketAddr;

use pointsman_client::check_address;
use serde::{Deserialize, Serialize};

/// The section `gateway`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The instances that requests may be sent to. Their targets are asked of them.
    pub instances: Vec<InstanceConfig>,
    /// The keys that callers may use. Default: none, and then every caller is the tenant `local`, which is
    /// allowed on loopback only.
    pub keys: Vec<KeyConfig>,
}

/// One instance: a worker.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceConfig {
    /// What this gateway calls it, in traces and logs. Unique here.
    pub name: String,
    /// Where it listens: `http://HOST:PORT`.
    pub endpoint: String,
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
}

/// Something that a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Generate.
    Generate,
    /// List models and describe targets.
    Describe,
}

impl Scope {
    /// Returns every scope there is.
    pub fn all() -> Vec<Self> {
        vec![Self::Generate, Self::Describe]
    }

    /// Returns the scope's name, as it is written in a configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Describe => "describe",
        }
    }
}

impl Config {
    /// Returns what is wrong with these values, each with its field.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut names = HashSet::new();
        for (index, instance) in self.instances.iter().enumerate() {
            if instance.name.is_empty() || !names.insert(&instance.name) {
                problems.push(format!("gateway.instances[{index}].name: must be there, and unlike the others"));
            }
            if let Err(error) = check_address(&instance.endpoint) {
                problems.push(format!("gateway.instances[{index}].endpoint: {error}"));
            }
        }
        let mut ids = HashSet::new();
        for (index, key) in self.keys.iter().enumerate() {
            if key.id.is_empty() || key.id.contains('_') || !ids.insert(&key.id) {
                problems.push(format!("gateway.keys[{index}].id: must be there, without `_`, and unlike the others"));
            }
            if !hex::decode(&key.sha256).is_ok_and(|digest| digest.len() == 32) {
                problems.push(format!("gateway.keys[{index}].sha256: must be 64 hexadecimal digits"));
            }
            if key.tenant.is_empty() {
                problems.push(format!("gateway.keys[{index}].tenant: must be there"));
            }
        }
        problems
    }

    /// Returns why this gateway must not listen there, if it must not.
    pub fn exposure_problem(&self, listen: SocketAddr, plaintext: bool) -> Option<String> {
        if listen.ip().is_loopback() {
            None
        } else if self.keys.is_empty() {
            Some(format!(
                "server.listen: {listen} is not loopback, and gateway.keys is empty: anybody could use it. Make a key with `pointsman key new`"
            ))
        } else if !plaintext {
            Some(format!(
                "server.listen: {listen} is not loopback, and keys would travel without TLS. Listen on loopback behind a TLS proxy, or accept it with `server.plaintext: true`"
            ))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, KeyConfig, Scope};

    #[test]
    fn a_gateway_is_exposed_only_on_purpose() {
        let key = KeyConfig { id: "a".into(), sha256: "00".repeat(32), tenant: "t".into(), scopes: Scope::all() };
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
