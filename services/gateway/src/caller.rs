//! Who asks.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::MeshContext;
use pointsman_types::{LOCAL_TENANT, Origin};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::{KeyConfig, Scope};
use crate::limits::Limiter;

/// The authenticated sender of a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Who is billed and isolated.
    pub(crate) tenant: Arc<str>,
    /// The id of the key that was used; empty if none was needed.
    pub(crate) key: Arc<str>,
    scopes: Arc<[Scope]>,
    /// How many gateways the request has passed before this one.
    pub(crate) hops: u32,
    /// The zones that whoever sent the request allows. Empty: all.
    pub(crate) allowed_zones: Arc<[Box<str>]>,
    /// What the key may use. `None`: no key, or a peer that has looked already.
    pub(crate) limiter: Option<Arc<Limiter>>,
    /// Whether a gateway sent the request here because this one keeps its frames.
    pub(crate) keep_frames: bool,
    /// What a request that is taken up must have been. 0: not known.
    pub(crate) request_digest: u64,
}

impl Caller {
    /// Fails if the caller's key does not have the scope.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), Error> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        let message = format!("the key does not have the scope `{}`; use one that has it", scope.name());
        Err(Error::new(Reason::ScopeMissing, message))
    }
}

/// The keys there are.
#[derive(Debug)]
pub(crate) struct Callers {
    by_id: HashMap<String, KnownKey>,
    /// Everybody, where no key is needed.
    local: Caller,
}

#[derive(Debug)]
struct KnownKey {
    digest: Vec<u8>,
    caller: Caller,
}

/// Gateways that a request may pass.
const HOP_LIMIT: u32 = 4;

impl Callers {
    /// Reads the configured keys; they were checked before.
    pub(crate) fn new(keys: &[KeyConfig]) -> Self {
        let known = |key: &KeyConfig| KnownKey {
            digest: hex::decode(&key.sha256).unwrap_or_default(),
            caller: Caller {
                tenant: key.tenant.as_str().into(),
                key: key.id.as_str().into(),
                scopes: key.scopes.as_slice().into(),
                hops: 0,
                allowed_zones: Arc::default(),
                limiter: key.limits.map(|limits| Arc::new(Limiter::new(limits))),
                keep_frames: false,
                request_digest: 0,
            },
        };
        let local = Caller {
            tenant: LOCAL_TENANT.into(),
            key: "".into(),
            scopes: Scope::all().into(),
            hops: 0,
            allowed_zones: Arc::default(),
            limiter: None,
            keep_frames: false,
            request_digest: 0,
        };
        Self { by_id: keys.iter().map(|key| (key.id.clone(), known(key))).collect(), local }
    }

    /// Finds out who sent these headers. A peer of the mesh says it, and is believed; the guard has refused
    /// a context from anybody else.
    pub(crate) fn authenticate(
        &self,
        headers: &HeaderMap,
        origin: Origin,
        context: Option<MeshContext>,
    ) -> Result<Caller, Error> {
        if let Some(context) = context.filter(|_| origin.is_trusted()) {
            if context.hops >= HOP_LIMIT {
                let message = format!("the request has passed {HOP_LIMIT} gateways: do they send it in a circle?");
                return Err(Error::new(Reason::InvalidRequest, message));
            }
            return Ok(Caller {
                tenant: context.tenant.into(),
                key: context.key.into(),
                scopes: Scope::all().into(),
                hops: context.hops + 1,
                allowed_zones: context.allowed_zones.into_iter().map(String::into_boxed_str).collect(),
                limiter: None,
                keep_frames: context.keep_frames,
                request_digest: context.request_digest,
            });
        }
        if self.by_id.is_empty() {
            return Ok(self.local.clone());
        }
        let invalid = || Error::new(Reason::KeyInvalid, "send a known key as `Authorization: Bearer pm_…`");
        let key = bearer(headers).ok_or_else(invalid)?;
        let known = id_of(key).and_then(|id| self.by_id.get(id)).ok_or_else(invalid)?;
        let digest = Sha256::digest(key.as_bytes());
        if !bool::from(digest.as_slice().ct_eq(&known.digest)) {
            return Err(invalid());
        }
        Ok(known.caller.clone())
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// `pm_{id}_{secret}`
fn id_of(key: &str) -> Option<&str> {
    key.strip_prefix("pm_")?.split_once('_').map(|(id, _)| id)
}

/// A key as it is given to a caller, and as it is configured.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The key. Shown once; kept nowhere.
    pub key: String,
    /// What goes into `gateway.keys`.
    pub config: KeyConfig,
}

/// Makes a key from random bytes: 32 for its secret, 4 for its id.
pub fn new_key(tenant: &str, secret: [u8; 32], id: [u8; 4]) -> NewKey {
    let id = hex::encode(id);
    let key = format!("pm_{id}_{}", hex::encode(secret));
    let sha256 = hex::encode(Sha256::digest(key.as_bytes()));
    NewKey { config: KeyConfig { id, sha256, tenant: tenant.to_owned(), scopes: Scope::all(), limits: None }, key }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use pointsman_errors::Reason;
    use pointsman_proto::inference::v1::MeshContext;
    use pointsman_types::Origin;

    use super::{Callers, new_key};
    use crate::config::Scope;

    fn headers(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert("authorization", authorization.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_whole_known_keys_are_let_in() {
        let new = new_key("acme", [7; 32], [1; 4]);
        let callers = Callers::new(std::slice::from_ref(&new.config));
        let ask = |text: &str| callers.authenticate(&headers(text), Origin::Public, None);
        assert_eq!(ask(&format!("Bearer {}", new.key)).unwrap().tenant.as_ref(), "acme");
        assert_eq!(ask(&format!("bearer {}", new.key)).unwrap().key.as_ref(), "01010101");
        let (short, other) = (&new.key[..new.key.len() - 1], new_key("acme", [8; 32], [1; 4]).key);
        for text in [
            "",
            "Bearer",
            "Bearer x",
            "Bearer pm_01010101_",
            &new.key,
            &format!("Bearer {short}"),
            &format!("Bearer {other}"),
        ] {
            assert_eq!(ask(text).unwrap_err().reason(), Reason::KeyInvalid, "{text:?}");
        }
    }

    #[test]
    fn scopes_bind() {
        let mut new = new_key("acme", [7; 32], [1; 4]);
        new.config.scopes = vec![Scope::Describe];
        let callers = Callers::new(&[new.config]);
        let caller = callers.authenticate(&headers(&format!("Bearer {}", new.key)), Origin::Public, None).unwrap();
        assert!(caller.require(Scope::Describe).is_ok());
        assert_eq!(caller.require(Scope::Generate).unwrap_err().reason(), Reason::ScopeMissing);
    }

    #[test]
    fn only_peers_are_believed() {
        let context = || Some(MeshContext { tenant: "acme".into(), hops: 1, ..MeshContext::default() });
        let open = Callers::new(&[]);
        let tenant = |origin| open.authenticate(&headers(""), origin, context()).unwrap().tenant;
        assert_eq!((&*tenant(Origin::Mesh), &*tenant(Origin::Public)), ("acme", "local"));
        let circling = Some(MeshContext { tenant: "acme".into(), hops: 4, ..MeshContext::default() });
        assert!(open.authenticate(&headers(""), Origin::Mesh, circling).is_err());
    }
}
