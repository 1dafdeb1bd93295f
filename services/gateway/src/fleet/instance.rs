//! One live process that serves targets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pointsman_client::Channel;
use pointsman_policy::pick::{self, instance_hash};
use pointsman_proto::inference::v1::Load;
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;

use super::breaker::Breaker;

/// An instance, and what this gateway has seen of it.
#[derive(Debug)]
pub(crate) struct Instance {
    /// Its configured name.
    pub(crate) name: Arc<str>,
    /// How it is spoken to.
    pub(crate) channel: Channel,
    pub(crate) breaker: Breaker,
    pub(super) hash: u64,
    load: KnownLoad,
}

/// What the instance said last, and what was sent to it since.
#[derive(Debug, Default)]
struct KnownLoad {
    tokens: AtomicU64,
    slots: AtomicU32,
    sent_tokens: AtomicU64,
    /// How often it said something.
    reports: AtomicU64,
}

impl Instance {
    pub(super) fn new(name: &str, channel: Channel) -> Self {
        Self {
            name: name.into(),
            channel,
            breaker: Breaker::default(),
            hash: instance_hash(name),
            load: KnownLoad::default(),
        }
    }

    /// A client of it.
    pub(crate) fn client(&self) -> InferenceServiceClient<Channel> {
        InferenceServiceClient::new(self.channel.clone())
    }

    /// Notes how busy it says it is. What was sent to it before is in that, or will be in the next.
    pub(crate) fn says(&self, load: &Load) {
        self.load.tokens.store(load.running_tokens.saturating_add(load.queued_tokens), Ordering::Relaxed);
        self.load.slots.store(load.slots, Ordering::Relaxed);
        self.load.reports.fetch_add(1, Ordering::Relaxed);
        self.load.sent_tokens.store(0, Ordering::Relaxed);
    }

    pub(super) fn load(&self) -> pick::Load {
        let said = self.load.tokens.load(Ordering::Relaxed);
        let sent = self.load.sent_tokens.load(Ordering::Relaxed);
        pick::Load { tokens: said.saturating_add(sent), slots: self.load.slots.load(Ordering::Relaxed) }
    }
}

/// A request in flight to an instance, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Picked {
    instance: Arc<Instance>,
    tokens: u64,
    /// The instance's reports when it was sent.
    report: u64,
}

impl Picked {
    /// Counts a request of about so many tokens.
    pub(super) fn new(instance: &Arc<Instance>, tokens: u64) -> Self {
        instance.load.sent_tokens.fetch_add(tokens, Ordering::Relaxed);
        let report = instance.load.reports.load(Ordering::Relaxed);
        Self { instance: Arc::clone(instance), tokens, report }
    }
}

impl std::ops::Deref for Picked {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.instance
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        // After a report, what it says counts, and this is no longer in the sum. A report that comes in
        // between costs a little truth until the next one.
        if self.load.reports.load(Ordering::Relaxed) == self.report {
            let less = |sent: u64| Some(sent.saturating_sub(self.tokens));
            let _ = self.load.sent_tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }
}
