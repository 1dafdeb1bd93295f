//! The requests that a process is answering, for those who operate it: what they are, and how to end one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use pointsman_proto::operations::v1::{ListRequestsResponse, RequestInFlight, RequestPhase};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How many requests are listed at most.
const LIST_LIMIT: usize = 1000;

/// The requests of a process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<Mutex<InFlight>>);

#[derive(Debug, Default)]
struct InFlight {
    /// By arrival.
    entries: BTreeMap<u64, Arc<Entry>>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    about: About,
    accept_time: SystemTime,
    phase: AtomicU8,
    pieces: AtomicU64,
    tokens: AtomicU64,
    /// Pieces of which nobody said how many tokens they have.
    uncounted: AtomicU64,
    /// The target and instance that were asked last.
    asked: Mutex<Option<(Arc<str>, Arc<str>)>>,
    cancel: CancellationToken,
}

/// What is known of a request when it arrives.
#[derive(Clone, Debug)]
pub struct About {
    /// Its name.
    pub request_id: Arc<str>,
    /// Its trace, if it has one.
    pub trace_id: Option<Arc<str>>,
    /// Who is billed for it.
    pub tenant: Arc<str>,
    /// The model as the caller named it.
    pub model: Arc<str>,
}

/// A request that is being answered, for as long as this lives.
#[derive(Debug)]
pub struct Answering {
    entry: Arc<Entry>,
    number: u64,
    requests: Requests,
}

impl Requests {
    /// Adds a request.
    pub fn enter(&self, about: About) -> Answering {
        let entry = Arc::new(Entry {
            about,
            accept_time: SystemTime::now(),
            phase: AtomicU8::new(RequestPhase::Queued as u8),
            pieces: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            uncounted: AtomicU64::new(0),
            asked: Mutex::new(None),
            cancel: CancellationToken::new(),
        });
        let mut in_flight = self.lock();
        let number = in_flight.next;
        in_flight.next += 1;
        in_flight.entries.insert(number, Arc::clone(&entry));
        Answering { entry, number, requests: self.clone() }
    }

    /// Lists the oldest.
    pub(crate) fn list(&self, process: String) -> ListRequestsResponse {
        let in_flight = self.lock();
        let entries: Vec<Arc<Entry>> = in_flight.entries.values().take(LIST_LIMIT).cloned().collect();
        let left_out = u32::try_from(in_flight.entries.len().saturating_sub(LIST_LIMIT)).unwrap_or(u32::MAX);
        // Every request takes this lock twice: nothing slow under it.
        drop(in_flight);
        let requests = entries.iter().map(|entry| entry.describe()).collect();
        ListRequestsResponse { process, requests, left_out }
    }

    /// Ends the requests of this id. Returns whether there was one.
    pub(crate) fn cancel(&self, id: &str) -> bool {
        let in_flight = self.lock();
        let named = |entry: &&Arc<Entry>| *entry.about.request_id == *id || entry.about.trace_id.as_deref() == Some(id);
        let entries: Vec<Arc<Entry>> = in_flight.entries.values().filter(named).cloned().collect();
        drop(in_flight);
        entries.iter().for_each(|entry| entry.cancel.cancel());
        !entries.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, InFlight> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answering {
    /// Notes that an instance was asked.
    pub fn asked(&self, target: &Arc<str>, instance: &Arc<str>) {
        let asked = Some((Arc::clone(target), Arc::clone(instance)));
        *self.entry.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        self.entry.phase.store(RequestPhase::Waiting as u8, Ordering::Relaxed);
    }

    /// Notes that a piece of the answer came, and how many tokens it has, if that is known.
    pub fn piece(&self, tokens: Option<u32>) {
        match tokens {
            Some(tokens) => self.entry.tokens.fetch_add(tokens.into(), Ordering::Relaxed),
            None => self.entry.uncounted.fetch_add(1, Ordering::Relaxed),
        };
        if self.entry.pieces.fetch_add(1, Ordering::Relaxed) == 0 {
            self.entry.phase.store(RequestPhase::Answering as u8, Ordering::Relaxed);
        }
    }

    /// Returns how many pieces came so far.
    pub fn pieces(&self) -> u64 {
        self.entry.pieces.load(Ordering::Relaxed)
    }

    /// Returns a future that waits until an operator ends the request.
    pub fn cancelled(&self) -> WaitForCancellationFutureOwned {
        self.entry.cancel.clone().cancelled_owned()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.requests.lock().entries.remove(&self.number);
    }
}

impl Entry {
    fn describe(&self) -> RequestInFlight {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (target, instance) = asked.map_or_else(Default::default, |(t, i)| (t.to_string(), i.to_string()));
        RequestInFlight {
            request_id: self.about.request_id.to_string(),
            trace_id: self.about.trace_id.as_deref().unwrap_or_default().to_owned(),
            accept_time: Some(self.accept_time.into()),
            phase: self.phase.load(Ordering::Relaxed).into(),
            tenant: self.about.tenant.to_string(),
            model: self.about.model.to_string(),
            target,
            instance,
            pieces: self.pieces.load(Ordering::Relaxed),
            output_tokens: (self.uncounted.load(Ordering::Relaxed) == 0).then(|| self.tokens.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::{About, Requests};

    fn about(id: &str) -> About {
        About { request_id: id.into(), trace_id: None, tenant: "t".into(), model: "m".into() }
    }

    #[test]
    fn requests_are_listed_while_they_live() {
        let requests = Requests::default();
        let (first, second) = (requests.enter(about("a")), requests.enter(about("b")));
        second.asked(&"models/m/versions/1".into(), &"w1".into());
        second.piece(Some(2));
        second.piece(Some(0));
        let list = requests.list("gateway".into()).requests;
        let shown: Vec<_> =
            list.iter().map(|one| (one.request_id.as_str(), one.phase, one.pieces, one.output_tokens)).collect();
        assert_eq!(shown, [("a", 1, 0, Some(0)), ("b", 3, 2, Some(2))]);
        second.piece(None);
        assert_eq!(requests.list(String::new()).requests[1].output_tokens, None);
        drop(first);
        assert_eq!(requests.list(String::new()).requests.len(), 1);
    }

    #[test]
    fn a_request_is_ended_by_its_id() {
        let requests = Requests::default();
        let (one, other) = (requests.enter(about("a")), requests.enter(about("b")));
        assert!(requests.cancel("a") && !requests.cancel("c"));
        assert!(one.cancelled().now_or_never().is_some());
        assert!(other.cancelled().now_or_never().is_none());
    }
}
