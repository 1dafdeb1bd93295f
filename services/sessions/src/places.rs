//! Who runs a turn in this process, and who waits for it, in the order of arrival.
//!
//! Between processes the lease says who runs; this saves most of the asking, and keeps the order.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::future::{self, FutureExt};
use pointsman_proto::sessions::v1::{BeginTurn, MergedRequest};
use tokio::sync::{Mutex as FairMutex, OwnedMutexGuard, oneshot, watch};

use crate::merge::{Collection, Followers, Guest, Joined};
use crate::store::SessionKey;
use crate::turn::RunningTurn;

/// The sessions that somebody runs or waits for.
#[derive(Default)]
pub(crate) struct Places(Mutex<HashMap<SessionKey, Place>>);

struct Place {
    /// Fair: who asks first gets it first.
    seat: Arc<FairMutex<()>>,
    /// Who has the seat or waits for it.
    people: usize,
    /// How many have come.
    arrivals: u64,
    /// Who waits for it, or for somebody who takes them along.
    collection: Arc<Collection>,
    /// Told when whoever has the seat is to leave it.
    leave: watch::Sender<Option<Leave>>,
    /// What whoever has the seat runs.
    runs: Option<Running>,
    /// Whether whoever has the seat has done what it came for, and is about to leave it.
    is_being_left: bool,
    /// Who takes the seat over from whoever leaves it, before those who wait.
    heir: Option<Heir>,
}

/// Who gets a turn that is broken off.
pub(crate) type Heir = oneshot::Sender<Box<RunningTurn>>;

/// A turn that runs.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    /// How it began, with the messages of all who are answered, and as sensitive as what the model is told.
    pub(crate) begin: Arc<BeginTurn>,
    /// The uid of its session; empty: it is not known yet.
    pub(crate) uid: String,
    /// The other requests that it answers.
    pub(crate) merged: Vec<MergedRequest>,
    pub(crate) followers: Followers,
}

/// Why somebody is to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Another turn takes the place.
    Superseded,
    /// The turn was broken off.
    Interrupted,
    /// The session is no more.
    Erased,
    /// The run was cancelled.
    Cancelled,
}

/// Somebody who waits, or runs. On drop the next may run.
#[derive(Debug)]
pub(crate) struct Person {
    places: Arc<Places>,
    key: SessionKey,
    /// Its number among those who came.
    arrival: u64,
    collection: Arc<Collection>,
    seat: Option<OwnedMutexGuard<()>>,
}

/// The right to run a turn in this process.
#[derive(Debug)]
pub(crate) struct Seat {
    person: Person,
    leave: watch::Receiver<Option<Leave>>,
}

/// As many wait as may.
#[derive(Debug, PartialEq)]
pub(crate) struct Full;

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places").finish_non_exhaustive()
    }
}

impl Places {
    /// Comes to the place of a session, unless so many wait there already.
    pub(crate) fn come(self: &Arc<Self>, key: &SessionKey, most: usize) -> Result<Person, Full> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(key.clone()).or_insert_with(|| Place {
            seat: Arc::default(),
            people: 0,
            arrivals: 0,
            collection: Arc::default(),
            leave: watch::Sender::new(None),
            runs: None,
            is_being_left: false,
            heir: None,
        });
        if place.people - usize::from(place.is_being_left) > most {
            return Err(Full);
        }
        place.people += 1;
        place.arrivals += 1;
        let collection = Arc::clone(&place.collection);
        Ok(Person { places: Arc::clone(self), key: key.clone(), arrival: place.arrivals, collection, seat: None })
    }

    /// Asks whoever runs a turn of the session to leave it.
    pub(crate) fn ask_to_leave(&self, key: &SessionKey, why: Leave) {
        self.with(key, |place| place.leave.send_replace(Some(why)));
    }

    /// Asks whoever runs the turn of this request to leave it, and returns what it is, and where it comes. Those who are
    /// answered with it are handed over.
    pub(crate) fn interrupt(
        &self,
        key: &SessionKey,
        request_id: &str,
    ) -> Option<(Running, oneshot::Receiver<Box<RunningTurn>>)> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.get_mut(key)?;
        let running = place.runs.clone().filter(|running| running.begin.request_id == request_id)?;
        let followers = running.followers.handed_over();
        let (heir, turn) = oneshot::channel();
        place.heir = Some(heir);
        place.leave.send_replace(Some(Leave::Interrupted));
        Some((Running { followers, ..running }, turn))
    }

    /// Asks whoever runs the turn of this request to leave it, if somebody here does.
    pub(crate) fn ask_to_leave_run(&self, key: &SessionKey, request_id: &str, why: Leave) -> bool {
        let asked = self.with(key, |place| {
            let runs = place.runs.as_ref().is_some_and(|running| running.begin.request_id == request_id);
            if runs {
                place.leave.send_replace(Some(why));
            }
            runs
        });
        asked.unwrap_or_default()
    }

    /// How many have a seat or wait for it.
    #[cfg(test)]
    pub(crate) fn people(&self, key: &SessionKey) -> usize {
        self.with(key, |place| place.people).unwrap_or_default()
    }

    /// How many wait to be answered together.
    #[cfg(test)]
    pub(crate) fn waiting(&self, key: &SessionKey) -> usize {
        self.with(key, |place| place.collection.len()).unwrap_or_default()
    }

    fn with<T>(&self, key: &SessionKey, ask: impl FnOnce(&Place) -> T) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).map(ask)
    }
}

impl Person {
    /// Joins those who may be answered together, in the order in which they came here.
    pub(crate) fn join(&self, guest: Guest) -> Joined {
        self.collection.join(Guest { arrival: self.arrival, ..guest })
    }

    /// Sits down if nobody else does, or only somebody who is about to leave.
    pub(crate) async fn sit_if_free(mut self) -> Result<Seat, Self> {
        let queued = self.places.with(&self.key, |place| {
            (place.is_being_left && place.people == 2).then(|| {
                let mut seat = Box::pin(Arc::clone(&place.seat).lock_owned());
                // Asked for it once, under the lock: nobody comes between.
                match seat.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(guard) => future::ready(guard).left_future(),
                    Poll::Pending => seat.right_future(),
                }
            })
        });
        match queued.flatten() {
            Some(seat) => {
                self.seat = Some(seat.await);
                Ok(self.seated())
            }
            None => self.try_sit(),
        }
    }

    fn try_sit(mut self) -> Result<Seat, Self> {
        let seat = self.places.with(&self.key, |place| Arc::clone(&place.seat));
        match seat.and_then(|seat| seat.try_lock_owned().ok()) {
            Some(guard) => {
                self.seat = Some(guard);
                Ok(self.seated())
            }
            None => Err(self),
        }
    }

    /// Waits for the seat.
    pub(crate) async fn sit(mut self) -> Seat {
        if let Some(seat) = self.places.with(&self.key, |place| Arc::clone(&place.seat)) {
            self.seat = Some(seat.lock_owned().await);
        }
        self.seated()
    }

    fn seated(self) -> Seat {
        // Whatever was asked of the one before is not asked of this one.
        let leave = self.places.with(&self.key, |place| {
            place.leave.send_replace(None);
            place.leave.subscribe()
        });
        let leave = leave.unwrap_or_else(|| watch::Sender::new(None).subscribe());
        Seat { person: self, leave }
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let mut places = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that nobody comes between.
        let had_the_seat = self.seat.take().is_some();
        if let Some(place) = places.get_mut(&self.key) {
            if had_the_seat {
                (place.runs, place.is_being_left, place.heir) = (None, false, None);
            }
            place.people -= 1;
            if place.people == 0 {
                places.remove(&self.key);
            }
        }
    }
}

impl Seat {
    /// Whoever has it.
    pub(crate) fn person(&self) -> &Person {
        &self.person
    }

    /// Says what is run here.
    pub(crate) fn runs(&mut self, running: Running) {
        let mut places = self.person.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get_mut(&self.person.key) {
            place.runs = Some(running);
        }
    }

    /// Says that all is done here but to leave.
    pub(crate) fn is_about_to_leave(&self) {
        let mut places = self.person.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get_mut(&self.person.key) {
            place.is_being_left = true;
        }
    }

    /// Waits until somebody wants this one to leave.
    pub(crate) async fn asked_to_leave(&mut self) -> Leave {
        match self.leave.wait_for(Option::is_some).await.map(|leave| *leave) {
            Ok(Some(leave)) => leave,
            _ => std::future::pending().await,
        }
    }

    /// Says more of what is run here.
    pub(crate) fn changes(&self, change: impl FnOnce(&mut Running)) {
        let mut places = self.person.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.get_mut(&self.person.key).and_then(|place| place.runs.as_mut()).map(change);
    }

    /// What is run here.
    pub(crate) fn running(&self) -> Option<Running> {
        self.person.places.with(&self.person.key, |place| place.runs.clone()).flatten()
    }

    /// Who is to have it next, if it was broken off.
    pub(crate) fn heir(&self) -> Option<Heir> {
        let mut places = self.person.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.get_mut(&self.person.key)?.heir.take()
    }

    /// Why this one is to leave, if somebody wants it to.
    pub(crate) fn leave(&self) -> Option<Leave> {
        *self.leave.borrow()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pointsman_proto::sessions::v1::BeginTurn;

    use super::{Full, Leave, Places, Running};
    use crate::merge::Followers;
    use crate::store::SessionKey;

    fn key(id: &str) -> SessionKey {
        SessionKey { tenant: "t".into(), id: id.into() }
    }

    #[tokio::test]
    async fn who_comes_first_sits_first_and_nobody_is_left_behind() {
        let places = Arc::new(Places::default());
        let first = places.come(&key("a"), 2).unwrap().try_sit().unwrap();
        let second = places.come(&key("a"), 2).unwrap().try_sit().unwrap_err();
        let third = places.come(&key("a"), 2).unwrap();
        assert_eq!(places.come(&key("a"), 2).unwrap_err(), Full);
        assert!(places.come(&key("b"), 2).unwrap().try_sit().is_ok());
        let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
        let waits = |person: super::Person, name: u8, sender: tokio::sync::mpsc::UnboundedSender<u8>| async move {
            let _seat = person.sit().await;
            sender.send(name).unwrap();
        };
        let mut second = Box::pin(waits(second, 2, sender.clone()));
        assert!(futures::poll!(&mut second).is_pending());
        let third = tokio::spawn(waits(third, 3, sender));
        drop(first);
        second.await;
        third.await.unwrap();
        assert_eq!((order.recv().await, order.recv().await), (Some(2), Some(3)));
        assert!(places.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_finds_only_somebody_about_to_leave_waits_for_that() {
        let places = Arc::new(Places::default());
        let first = places.come(&key("a"), 3).unwrap().sit_if_free().await.unwrap();
        let early = places.come(&key("a"), 3).unwrap().sit_if_free().await.unwrap_err();
        first.is_about_to_leave();
        // Somebody waits already.
        drop(places.come(&key("a"), 3).unwrap().sit_if_free().await.unwrap_err());
        drop(early);
        let mut next = Box::pin(places.come(&key("a"), 3).unwrap().sit_if_free());
        assert!(futures::poll!(&mut next).is_pending());
        drop(first);
        let next = next.await.unwrap();
        // It has only begun.
        drop(places.come(&key("a"), 3).unwrap().sit_if_free().await.unwrap_err());
        drop(next);
    }

    #[tokio::test]
    async fn only_the_one_who_sits_is_asked_to_leave() {
        let places = Arc::new(Places::default());
        let mut first = places.come(&key("a"), 2).unwrap().try_sit().unwrap();
        let second = places.come(&key("a"), 2).unwrap();
        assert!(places.interrupt(&key("a"), "one").is_none());
        let begin = Arc::new(BeginTurn { request_id: "one".into(), ..BeginTurn::default() });
        first.runs(Running { begin, uid: String::new(), merged: Vec::new(), followers: Followers::default() });
        assert!(places.interrupt(&key("a"), "two").is_none());
        assert_eq!(places.interrupt(&key("a"), "one").unwrap().0.begin.request_id, "one");
        assert!(first.heir().is_some() && first.heir().is_none());
        // Whoever breaks it off gets it as it stands when it leaves.
        let uid = "known by now".to_owned();
        first.changes(|running| running.uid.clone_from(&uid));
        assert_eq!(first.running().unwrap().uid, uid);
        assert_eq!(first.asked_to_leave().await, Leave::Interrupted);
        places.ask_to_leave(&key("a"), Leave::Superseded);
        assert_eq!(first.leave(), Some(Leave::Superseded));
        drop(first);
        let second = second.sit().await;
        assert_eq!(second.leave(), None);
        assert!(places.interrupt(&key("a"), "one").is_none());
    }
}
