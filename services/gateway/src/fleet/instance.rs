//! One live process that serves targets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use pointsman_client::Channel;
use pointsman_policy::pick::{self, instance_hash};
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;
use pointsman_proto::inference::v1::{Load, Priority};

use super::breaker::{Breaker, Entry};
use super::cooling::Cooling;

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
    /// Requests that run and wait there, and how many may before each priority is shed.
    requests: AtomicU32,
    queue_places: AtomicU32,
    sent_tokens: AtomicU64,
    sent_requests: AtomicU32,
    /// How often it said something.
    reports: AtomicU64,
}

/// How much of an instance's queue requests of a priority may fill; the rest is for those above.
fn queue_share(priority: Priority) -> f64 {
    match priority {
        Priority::Bulk => 0.5,
        Priority::Unspecified | Priority::Default => 0.9,
        Priority::Interactive | Priority::System => 1.0,
    }
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
        self.load.requests.store(load.running_requests.saturating_add(load.queued_requests), Ordering::Relaxed);
        self.load.queue_places.store(load.queue_places, Ordering::Relaxed);
        self.load.reports.fetch_add(1, Ordering::Relaxed);
        self.load.sent_tokens.store(0, Ordering::Relaxed);
        self.load.sent_requests.store(0, Ordering::Relaxed);
    }

    /// Whether there is room for a request of this priority, as far as is known. Of what is full for everybody
    /// the instance itself is the judge.
    pub(super) fn has_room(&self, priority: Priority) -> bool {
        let (share, slots) = (queue_share(priority), self.load.slots.load(Ordering::Relaxed));
        if share >= 1.0 || slots == 0 {
            return true;
        }
        let there = self.load.requests.load(Ordering::Relaxed);
        let busy = there.saturating_add(self.load.sent_requests.load(Ordering::Relaxed));
        let places = self.load.queue_places.load(Ordering::Relaxed);
        busy >= slots.saturating_add(places) || f64::from(busy) < f64::from(slots) + share * f64::from(places)
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
    /// The cool-down of the target that was picked for.
    pub(crate) cooling: Arc<Cooling>,
    tokens: u64,
    /// The instance's reports when it was sent.
    report: u64,
    entry: Entry,
}

impl Picked {
    /// Counts a request of about so many tokens that the breaker has let through.
    pub(super) fn new(instance: &Arc<Instance>, cooling: &Arc<Cooling>, tokens: u64, entry: Entry) -> Self {
        instance.load.sent_tokens.fetch_add(tokens, Ordering::Relaxed);
        instance.load.sent_requests.fetch_add(1, Ordering::Relaxed);
        let report = instance.load.reports.load(Ordering::Relaxed);
        Self { instance: Arc::clone(instance), cooling: Arc::clone(cooling), tokens, report, entry }
    }

    /// The instance did its work. Returns whether its breaker was open.
    pub(crate) fn succeeded(&self) -> bool {
        self.breaker.succeeded()
    }

    /// The instance failed. Returns for how long its breaker is open now, if this opened it.
    pub(crate) fn failed(&self, now: u64) -> Option<Duration> {
        self.breaker.failed(now, self.entry)
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
        self.breaker.left(self.entry);
        // After a report, what it says counts, and this is no longer in the sum. A report that comes in
        // between costs a little truth until the next one.
        if self.load.reports.load(Ordering::Relaxed) == self.report {
            let less = |sent: u64| Some(sent.saturating_sub(self.tokens));
            let _ = self.load.sent_tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            let less = |sent: u32| Some(sent.saturating_sub(1));
            let _ = self.load.sent_requests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }
}
