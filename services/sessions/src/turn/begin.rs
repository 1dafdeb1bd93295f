//! The begin of a turn: its place, its lease, and what it is told.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pointsman_errors::{Error, Reason};
use pointsman_proto::fold::Fold;
use pointsman_proto::sessions::v1::{BeginTurn, SecondTurn, Session, Turn, TurnBegun, TurnCommitted};
use tokio::time::Instant;

use super::partial::Partial;
use super::{Begun, RunningTurn};
use crate::error::{self, of_store};
use crate::leases::Held;
use crate::places::{Leave, Person, Seat};
use crate::sessions::Sessions;
use crate::store::{Created, Opened, Opening, SessionKey, Taken, Window, micros, stamp};
use crate::tools;

/// The right to run a turn, and what came with it.
struct Right {
    seat: Seat,
    lease: Held,
    window: Option<Window>,
}

/// What asking for the right comes to.
enum Access {
    Right(Right),
    /// The turn was committed before, and runs no more.
    Committed(TurnCommitted),
}

/// Where somebody stands while another turn runs: that is in another process, or in this one.
enum Standing {
    Seated(Seat),
    Waiting(Person),
}

impl Standing {
    async fn sit(self) -> Seat {
        match self {
            Self::Seated(seat) => seat,
            Self::Waiting(person) => person.sit().await,
        }
    }
}

impl Sessions {
    /// Begins a turn. Waits for others of its session, if the session says so or if it must.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        key: SessionKey,
        begin: BeginTurn,
        waits: bool,
    ) -> Result<Begun, Error> {
        let from = Instant::now();
        let mut right = match self.access(&key, &begin, waits).await? {
            Access::Right(right) => right,
            Access::Committed(committed) => return Ok(Begun::Committed(Box::new(committed))),
        };
        right.seat.runs(&begin);
        let waited = from.elapsed();
        self.metrics.waited(waited);
        let mut turn = RunningTurn {
            sessions: Arc::clone(self),
            key,
            session: Session::default(),
            request_id: begin.request_id.clone(),
            digest: begin.request_digest,
            remembered: right.window.as_ref().map(|window| window.revision),
            history: Vec::new(),
            lease: Some(right.lease),
            listening: None,
            seat: right.seat,
            renewal: Instant::now() + self.config.lease / 3,
            partial: None,
            run: None,
        };
        let opened = self.opened(&turn.key, &begin, right.window.as_ref()).await?;
        let Opened { session: Some(session), bytes, committed, turns } = opened else {
            return Err(error::not_found(&turn.key));
        };
        if let Some(committed) = repeated(committed, &begin)? {
            return Ok(Begun::Committed(Box::new(committed)));
        }
        as_expected(&begin, session.revision)?;
        self.has_room(&session, bytes)?;
        let have_expired = micros(SystemTime::now()) > crate::store::sql::micros(session.tool_expire_time.as_ref());
        let prepended = tools::answered(&session.awaited_tool_call_ids, have_expired, &begin.messages);
        let prepended_messages = prepended.map_err(Error::invalid)?;
        if right.window.as_ref().is_none_or(|window| window.uid != stamp(&session)) {
            turn.remembered = None;
        }
        turn.history = history(&session, right.window, turns, self.config.history);
        turn.listening = Some(self.listeners.listen(&session.uid, &turn.key, &turn.request_id));
        turn.session = session;
        if begin.detach {
            turn.run = Some(self.begin_run(&turn.key, &begin).await?);
        }
        if turn.session.keep_partial_output {
            let input = prepended_messages.iter().chain(&begin.messages).cloned().collect();
            turn.partial = Some(Partial { input, channel: begin.channel, fold: Fold::default() });
        }
        let begun = TurnBegun {
            session: Some(turn.session.clone()),
            fence: Some(turn.fence()),
            omitted_turns: turn.session.revision.saturating_sub(turn.history.len() as u64),
            history: turn.history.clone(),
            prepended_messages,
            lease_wait: waited.try_into().ok(),
        };
        Ok(Begun::Running(Box::new(turn), Box::new(begun)))
    }

    /// Gets the right to run a turn: first among those of this process, then among the processes.
    async fn access(&self, key: &SessionKey, begin: &BeginTurn, waits: bool) -> Result<Access, Error> {
        let person = self.places.come(key, self.config.queue).map_err(|_| error::in_progress())?;
        let standing = match person.try_sit() {
            Ok(seat) => {
                let (taken, lease) = self.leases.take(key, false).await.map_err(|error| of_store(&error))?;
                if let Taken::Yes(window) = taken {
                    return Ok(Access::Right(Right { seat, lease, window }));
                }
                Standing::Seated(seat)
            }
            Err(person) => Standing::Waiting(person),
        };
        // Another turn runs. What is no new turn neither waits for it nor ends it.
        let opening = Opening { key, request_id: &begin.request_id, window: None, turns: 0 };
        let opened = self.stores.turns.open(&opening).await.map_err(|error| of_store(&error))?;
        if let Some(committed) = repeated(opened.committed, begin)? {
            return Ok(Access::Committed(committed));
        }
        // One that is being made by its first turn has said nothing yet.
        let session = opened.session.unwrap_or_default();
        let right = match session.second_turn() {
            SecondTurn::Reject if !waits => return Err(error::in_progress()),
            SecondTurn::Supersede if !waits => {
                // One that would be refused ends no other.
                as_expected(begin, session.revision)?;
                self.supersede(key, standing).await?
            }
            _ => {
                let seat = standing.sit().await;
                self.in_time(key, seat).await?
            }
        };
        Ok(Access::Right(right))
    }

    /// Waits until no other process runs a turn of the session.
    async fn in_time(&self, key: &SessionKey, seat: Seat) -> Result<Right, Error> {
        let mut pause = Duration::from_millis(5);
        loop {
            let (taken, lease) = self.leases.take(key, false).await.map_err(|error| of_store(&error))?;
            match taken {
                Taken::Yes(window) => return Ok(Right { seat, lease, window }),
                // It may be given back at any time: nobody would tell us.
                Taken::Held(left) => tokio::time::sleep(pause.min(left + Duration::from_millis(1))).await,
            }
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// Takes the place of whoever runs a turn: what that one would commit is refused from here on.
    async fn supersede(&self, key: &SessionKey, standing: Standing) -> Result<Right, Error> {
        self.stores.turns.supersede(key).await.map_err(|error| of_store(&error))?;
        // In another process it finds out when it renews its lease.
        if let Standing::Waiting(_) = &standing {
            self.places.ask_to_leave(key, Leave::Superseded);
        }
        let seat = standing.sit().await;
        let (taken, lease) = self.leases.take(key, true).await.map_err(|error| of_store(&error))?;
        match taken {
            Taken::Yes(window) => Ok(Right { seat, lease, window }),
            Taken::Held(_) => Err(error::in_progress()),
        }
    }

    /// Reads what there is of the session; makes it where there is nothing.
    async fn opened(&self, key: &SessionKey, begin: &BeginTurn, window: Option<&Window>) -> Result<Opened, Error> {
        let opening = Opening { key, request_id: &begin.request_id, window, turns: self.config.history };
        let opened = self.stores.turns.open(&opening).await.map_err(|error| of_store(&error))?;
        if opened.session.is_some() || begin.expected_revision.is_some_and(|revision| revision > 0) {
            return Ok(opened);
        }
        let session = self.new_session(key, Session::default());
        match self.stores.sessions.create(key, &session).await.map_err(|error| of_store(&error))? {
            Created::Yes => Ok(Opened { session: Some(session), ..Opened::default() }),
            Created::Exists => self.stores.turns.open(&opening).await.map_err(|error| of_store(&error)),
        }
    }

    fn has_room(&self, session: &Session, bytes: u64) -> Result<(), Error> {
        let limits = session.limits.unwrap_or_default();
        let most_turns = limits.max_turns.unwrap_or(self.config.max_turns);
        let most_bytes = limits.max_bytes.unwrap_or(self.config.max_size.bytes());
        let reached = match (session.revision >= most_turns, bytes >= most_bytes) {
            (true, _) => format!("{most_turns} turns"),
            (_, true) => format!("{most_bytes} bytes"),
            (false, false) => return Ok(()),
        };
        let message =
            format!("the session has reached its limit of {reached}; raise `limits`, or fork it at an earlier turn");
        Err(Error::new(Reason::SessionLimitReached, message))
    }
}

/// The turn of the same request, if it was committed before.
fn repeated(committed: Option<(Turn, u64)>, begin: &BeginTurn) -> Result<Option<TurnCommitted>, Error> {
    match committed {
        Some((_, digest)) if digest != begin.request_digest => Err(error::reused()),
        Some((turn, _)) => Ok(Some(TurnCommitted { turn: Some(turn), was_committed_before: true })),
        None => Ok(None),
    }
}

fn as_expected(begin: &BeginTurn, revision: u64) -> Result<(), Error> {
    match begin.expected_revision {
        Some(expected) if expected != revision => Err(error::other_revision(expected, revision)),
        _ => Ok(()),
    }
}

/// The turns that a request is told: those that were known and those that were not, as many as are wanted.
fn history(session: &Session, window: Option<Window>, new: Vec<Turn>, most: u64) -> Vec<Turn> {
    let known = window.filter(|window| window.uid == stamp(session));
    let mut turns = known.map_or_else(Vec::new, |window| window.turns);
    let last = turns.last().map_or(0, |turn| turn.revision);
    turns.extend(new.into_iter().filter(|turn| turn.revision > last));
    let from = session.revision.saturating_sub(most);
    turns.retain(|turn| turn.revision <= session.revision && (turn.revision > from || turn.pinned));
    turns
}

#[cfg(test)]
mod tests {
    use pointsman_proto::sessions::v1::{Session, Turn};

    use super::history;
    use crate::store::Window;

    fn turns(revisions: &[u64]) -> Vec<Turn> {
        revisions
            .iter()
            .map(|revision| Turn { revision: *revision, pinned: *revision == 2, ..Turn::default() })
            .collect()
    }

    #[test]
    fn what_is_remembered_is_completed_and_never_believed() {
        let session = Session { uid: "a".into(), revision: 6, ..Session::default() };
        let window = |uid: &str, revisions: &[u64]| {
            let turns = turns(revisions);
            Some(Window { uid: uid.into(), revision: turns.last().map_or(0, |turn| turn.revision), turns })
        };
        for (window, new, most, want) in [
            (None, vec![1, 2, 3, 4, 5, 6], 9, vec![1, 2, 3, 4, 5, 6]),
            (window("a.0", &[1, 2, 3, 4]), vec![5, 6], 9, vec![1, 2, 3, 4, 5, 6]),
            (window("a.0", &[1, 2, 3, 4, 5, 6]), vec![], 3, vec![2, 4, 5, 6]),
            // Of a session that was erased since, and of a commit that the truth does not know.
            (window("b.0", &[1, 2, 3]), vec![1, 2, 3, 4, 5, 6], 9, vec![1, 2, 3, 4, 5, 6]),
            (window("a.1", &[1, 2, 3]), vec![1, 2, 3, 4, 5, 6], 9, vec![1, 2, 3, 4, 5, 6]),
            (window("a.0", &[5, 6, 7]), vec![], 9, vec![5, 6]),
        ] {
            let told: Vec<_> = history(&session, window, turns(&new), most).iter().map(|turn| turn.revision).collect();
            assert_eq!(told, want);
        }
    }
}
