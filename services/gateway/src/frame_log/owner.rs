//! Which gateway keeps the frames of a request: all of them know, without asking.

use std::sync::Arc;

use pointsman_client::Channel;
use pointsman_policy::pick::{first_by_rank, instance_hash};
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;

use super::Name;

/// The gateways that share requests: this one and its peers.
#[derive(Clone, Debug)]
pub(crate) struct Owners {
    own: Arc<str>,
    peers: Arc<[Peer]>,
}

/// Another gateway.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    name: Arc<str>,
    channel: Channel,
}

impl Peer {
    pub(crate) fn new(name: &str, channel: Channel) -> Self {
        Self { name: name.into(), channel }
    }

    /// Its configured name.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// A client of it.
    pub(crate) fn client(&self) -> InferenceServiceClient<Channel> {
        InferenceServiceClient::new(self.channel.clone())
    }
}

impl Owners {
    pub(crate) fn new(own: &str, peers: Vec<Peer>) -> Self {
        Self { own: own.into(), peers: peers.into() }
    }

    /// Returns this gateway's name among them.
    pub(crate) fn own(&self) -> &str {
        &self.own
    }

    /// Returns the peer that owns a request; `None` if this gateway does. One that is away owns its requests
    /// still: another that took its place would generate again what it has generated.
    pub(crate) fn peer_of(&self, name: &Name) -> Option<&Peer> {
        if self.peers.is_empty() {
            return None;
        }
        let key = format!("{}\n{}", name.tenant, name.request_id);
        let names = std::iter::once(&*self.own).chain(self.peers.iter().map(|peer| &*peer.name));
        let owner = first_by_rank(&key, names.map(instance_hash))?;
        owner.checked_sub(1).and_then(|index| self.peers.get(index))
    }

    /// Finds a gateway by its name: this one is `Ok(None)`, one that is not known `Err`.
    pub(crate) fn find(&self, name: &str) -> Result<Option<&Peer>, ()> {
        if *name == *self.own {
            return Ok(None);
        }
        self.peers.iter().find(|peer| *peer.name == *name).map(Some).ok_or(())
    }
}
