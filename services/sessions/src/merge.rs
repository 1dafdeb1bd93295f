//! Requests that come for one session within a window, or while another turn of it runs, and are answered together.
//!
//! Who waits for a place stands in its [`Collection`]. Whoever gets the place takes the others along: from then on they wait
//! for what becomes of that one turn ([`Followers`]), and for nothing else.

mod together;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pointsman_errors::Error;
use pointsman_proto::sessions::v1::{BeginTurn, MergedRequest, Session, Turn};
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::together::{Gathering, Verdict};
pub(crate) use self::together::{Stand, Together};
use crate::error;

/// How long messages are collected, where the session does not say.
const WINDOW: Duration = Duration::from_secs(1);

/// How long a session collects messages.
pub(crate) fn window(session: &Session) -> Duration {
    let own = session.merge_window.and_then(|window| Duration::try_from(window).ok());
    own.unwrap_or(WINDOW)
}

/// Those who wait at one place to be answered together.
#[derive(Debug, Default)]
pub(crate) struct Collection(Mutex<Vec<Waiting>>);

#[derive(Debug)]
struct Waiting {
    guest: Guest,
    told: oneshot::Sender<Fate>,
}

/// One who may be answered with others.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    /// Its number in the order of arrival.
    pub(crate) arrival: u64,
    pub(crate) since: Instant,
    pub(crate) begin: BeginTurn,
    /// Where its caller may be answered, in order; none: everywhere.
    pub(crate) zones: Vec<String>,
    /// The session, and its revision, up to which its request is known not to be committed.
    pub(crate) seen: (String, u64),
}

/// What becomes of one who waits.
#[derive(Debug)]
pub(crate) enum Fate {
    /// Another answers for it; this tells how that ends.
    Taken(oneshot::Receiver<Error>),
    /// It cannot be answered where the session stands.
    Refused(Error),
    /// It may have been committed meanwhile.
    Again,
}

/// A place in a collection. On drop it is left.
#[derive(Debug)]
pub(crate) struct Joined {
    collection: Arc<Collection>,
    arrival: u64,
    fate: oneshot::Receiver<Fate>,
}

impl Guest {
    /// One of a session as it stands, whose request was not committed up to there.
    pub(crate) fn new(begin: &BeginTurn, zones: &[String], since: Instant, session: &Session) -> Self {
        let seen = (session.uid.clone(), session.revision);
        Self { arrival: 0, since, begin: begin.clone(), zones: zones.to_vec(), seen }
    }
}

impl Collection {
    pub(crate) fn join(self: &Arc<Self>, guest: Guest) -> Joined {
        let (told, fate) = oneshot::channel();
        let arrival = guest.arrival;
        self.waiting().push(Waiting { guest, told });
        Joined { collection: Arc::clone(self), arrival, fate }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.waiting().len()
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Joined {
    /// Waits until another takes this one along, or says why not.
    pub(crate) async fn fate(&mut self) -> Fate {
        // A collection ends with those who are in it.
        (&mut self.fate).await.unwrap_or(Fate::Again)
    }

    /// When whoever has the place may begin: so long after the first of those who wait has come.
    pub(crate) fn begins(&self, window: Duration) -> Option<Instant> {
        self.collection.waiting().iter().map(|waiting| waiting.guest.since).min().map(|first| first + window)
    }

    /// Takes along whoever can be answered with this one, which has the place. Fails if this one cannot be answered; then the
    /// others wait on.
    pub(crate) fn take(self, stand: &Stand<'_>) -> Result<Together, Error> {
        let mut waiting = self.collection.waiting();
        waiting.sort_by_key(|waiting| waiting.guest.arrival);
        let own = waiting.iter().find(|waiting| waiting.guest.arrival == self.arrival);
        let Some(own) = own.map(|own| own.guest.clone()) else { return Err(error::conflict()) };
        let mut gathering = Gathering::new(stand, &own)?;
        let others = std::mem::take(&mut *waiting).into_iter().filter(|waiting| waiting.guest.arrival != own.arrival);
        for Waiting { guest, told } in others {
            match gathering.judge(&guest) {
                _ if told.is_closed() => {}
                Verdict::Stays => waiting.push(Waiting { guest, told }),
                Verdict::Told(fate) => drop(told.send(fate)),
                Verdict::Joins(cancelled) => gathering.add(guest, told, cancelled),
            }
        }
        drop(waiting);
        Ok(gathering.done())
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.collection.waiting().retain(|waiting| waiting.guest.arrival != self.arrival);
    }
}

/// Those whose messages a turn answers beside its own request's. Who is left without a word knows that nothing is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Followers(Arc<Mutex<Vec<Follower>>>);

#[derive(Debug)]
struct Follower {
    request_id: String,
    told: oneshot::Sender<Error>,
}

impl Followers {
    /// They follow another turn from now on.
    pub(crate) fn handed_over(&self) -> Self {
        Self(Arc::new(Mutex::new(self.take())))
    }

    /// And these, too.
    pub(crate) fn join(&self, others: &Self) {
        others.take().into_iter().for_each(|follower| self.add(follower));
    }

    /// The turn is durable.
    pub(crate) fn committed(&self, turn: &Turn) {
        for follower in self.take() {
            // Another process may have committed the request without them.
            if turn.merged_request_ids.contains(&follower.request_id) {
                let _ = follower.told.send(error::merged(&turn.request_id, turn.revision));
            }
        }
    }

    /// The turn ended like this.
    pub(crate) fn failed(&self, error: &Error) {
        for follower in self.take() {
            let _ = follower.told.send(error.clone());
        }
    }

    fn add(&self, follower: Follower) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(follower);
    }

    fn take(&self) -> Vec<Follower> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Waits for what becomes of the turn that one was taken along by.
pub(crate) async fn told(fate: oneshot::Receiver<Error>) -> Error {
    fate.await.unwrap_or_else(|_| error::not_answered())
}

/// The names of requests.
pub(crate) fn names(merged: &[MergedRequest]) -> Vec<String> {
    merged.iter().map(|request| request.request_id.clone()).collect()
}

#[cfg(test)]
mod tests;
