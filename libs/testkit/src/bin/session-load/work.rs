//! Which turn of which session is next.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;

use crate::Arguments;
use crate::turn::{Sample, Store};

/// What is done with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Turns,
    Reads,
}

/// What is done, and when it is measured.
pub(crate) struct Work {
    kind: Kind,
    store: Store,
    prefix: String,
    turns: u64,
    /// How many are there; `None`: none yet.
    sessions: Option<u64>,
    /// Begins the names of requests: no other run has it.
    run: u128,
    /// From here on it is measured.
    pub(crate) from: Instant,
    pub(crate) end: Instant,
}

impl Work {
    pub(crate) fn new(kind: Kind, store: Store, arguments: &Arguments) -> Self {
        let from = Instant::now() + Duration::from_secs(arguments.warm);
        Self {
            kind,
            store,
            prefix: arguments.prefix.clone(),
            turns: arguments.turns.max(1),
            sessions: arguments.sessions.filter(|sessions| *sessions > 0),
            run: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos(),
            from,
            end: from + Duration::from_secs(arguments.seconds),
        }
    }

    /// Does the next step of a place among so many, each of which has one conversation after the other.
    pub(crate) async fn run(&self, place: (u64, u64), step: u64, intended: Instant) -> Result<Sample> {
        let number = step * place.1 + place.0;
        let session = match (self.kind, self.sessions) {
            (Kind::Turns, None) => self.conversation(place.0, step),
            (Kind::Turns, Some(sessions)) => format!("sessions/{}-{}", self.prefix, 1 + number % sessions),
            (Kind::Reads, sessions) => {
                format!("sessions/{}-{}", self.prefix, 1 + scattered(number, sessions.unwrap_or(1)))
            }
        };
        let request_id = format!("{:x}-{number:019}", self.run);
        match self.kind {
            Kind::Turns => self.store.turn(number, (session, request_id), intended).await,
            Kind::Reads => self.store.read(number, (session, request_id), intended).await,
        }
    }

    /// The places begin at different turns of their conversations, so that at any time as many are at their first one as
    /// at their last.
    fn conversation(&self, place: u64, step: u64) -> String {
        format!("sessions/{}-{place}-{}", self.prefix, (step + place % self.turns) / self.turns)
    }
}

/// A number below `most`, without an order that a cache could use (the finalizer of SplitMix64).
fn scattered(number: u64, most: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % most
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::scattered;

    #[test]
    fn reads_go_everywhere_and_nowhere_else() {
        let read: HashSet<u64> = (0..1000).map(|number| scattered(number, 10)).collect();
        assert_eq!(read, (0..10).collect());
    }
}
