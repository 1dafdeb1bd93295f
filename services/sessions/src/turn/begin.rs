//! The begin of a turn: its place, its lease, and what it is told.

mod merging;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pointsman_errors::{Error, Reason};
use pointsman_proto::fold::Fold;
use pointsman_proto::sessions::v1::{BeginTurn, RunState, SecondTurn, Session, Turn, TurnCommitted};
use pointsman_types::counted;
use tokio::time::Instant;

use super::partial::Partial;
use super::{Begun, RunningTurn};
use crate::error::{self, of_store};
use crate::leases::Held;
use crate::merge::{self, Followers, Guest, Joined, Stand, Together};
use crate::places::{Leave, Person, Running, Seat};
use crate::run;
use crate::sessions::Sessions;
use crate::store::{Created, Merged, Opened, Opening, SessionKey, StoreError, Taken, Window, micros, stamp};

/// How somebody comes to a session.
#[derive(Debug)]
pub(crate) enum Coming {
    /// To be answered, perhaps with others whose callers may be answered in the same zones; none: everywhere.
    Ask(Vec<String>),
    /// To add what nobody answers.
    Add,
    /// To end what a turn has begun that leaves, in the session of this uid, which is not made: waits, whatever the session
    /// says. Empty: it is not known.
    BreakOff(String),
}

/// The right to run a turn, and what came with it.
struct Right {
    seat: Seat,
    lease: Held,
    window: Option<Window>,
    /// With whom it may be answered.
    joined: Option<Joined>,
}

/// What asking for the right comes to.
enum Access {
    Right(Right),
    /// The turn was committed before, and runs no more.
    Committed(TurnCommitted),
    /// Perhaps that by now: it is to be asked again.
    Again,
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

    fn person(&self) -> &Person {
        match self {
            Self::Seated(seat) => seat.person(),
            Self::Waiting(person) => person,
        }
    }
}

impl Sessions {
    /// Begins a turn. Waits for others of its session, if the session says so or if it must.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        key: SessionKey,
        begin: BeginTurn,
        coming: Coming,
    ) -> Result<Begun, Error> {
        let from = Instant::now();
        let right = loop {
            match self.access(&key, &begin, &coming, from).await? {
                Access::Right(right) => break right,
                Access::Committed(committed) => return Ok(Begun::Committed(Box::new(committed))),
                Access::Again => {}
            }
        };
        let mut waited = from.elapsed();
        let Right { seat, lease, window, mut joined } = right;
        // What is remembered may be less than is wanted by now.
        let window = window.filter(|window| are_all_there(&window.turns, window.revision, self.config.history));
        let mut turn = self.seated(key, &begin, (seat, lease), window.as_ref());
        let turns = loop {
            let opened = self.opened(&turn.key, (&begin, &coming), window.as_ref()).await?;
            if let Some(committed) = repeated(&opened, &begin)? {
                return Ok(Begun::Committed(Box::new(committed)));
            }
            let Opened { session: Some(session), bytes, turns, .. } = opened else {
                return Err(error::not_there_to_go_on(&turn.key, begin.expected_revision));
            };
            if let Coming::BreakOff(uid) = &coming
                && !uid.is_empty()
                && *uid != session.uid
            {
                return Err(error::not_found(&turn.key));
            }
            as_expected(&begin, session.revision)?;
            self.has_room(&session, bytes)?;
            turn.session = session;
            joined = turn.joins(joined, &begin, &coming, from);
            let Some(until) = joined.as_ref().and_then(|joined| joined.begins(merge::window(&turn.session))) else {
                break turns;
            };
            if until <= Instant::now() {
                break turns;
            }
            let since = Instant::now();
            turn.collects(until).await?;
            waited += since.elapsed();
        };
        self.metrics.waited(waited);
        let session = &turn.session;
        if window.as_ref().is_none_or(|window| window.uid != stamp(session)) {
            turn.remembered = None;
        }
        turn.history = history(session, window, turns, self.config.history)?;
        turn.listening = Some(self.listeners.listen(&session.uid, &turn.key, &turn.request_id));
        let have_expired = micros(SystemTime::now()) > crate::store::sql::micros_of(session.tool_expire_time.as_ref());
        let stand = Stand { session, history: &turn.history, have_expired };
        let alone = Together::alone(&stand, &begin)?;
        if session.keep_partial_output {
            let input = alone.before.iter().chain(&begin.messages).cloned().collect();
            let (channel, data_class) = (begin.channel.clone(), alone.data_class);
            turn.partial = Some(Partial { input, channel, data_class, fold: Fold::default() });
        }
        // Before others are taken along: they are not to suffer from a request that cannot begin.
        if begin.detach {
            turn.run = Some(self.begin_run(&turn.key, &begin).await?);
        }
        let together = match joined {
            Some(joined) => joined.take(&stand)?,
            None => alone,
        };
        let begun = turn.answers(&begin, together, waited);
        Ok(Begun::Running(Box::new(turn), Box::new(begun)))
    }

    /// A turn that has its place, and knows nothing of its session yet.
    fn seated(
        self: &Arc<Self>,
        key: SessionKey,
        begin: &BeginTurn,
        (mut seat, lease): (Seat, Held),
        window: Option<&Window>,
    ) -> RunningTurn {
        let (uid, merged, followers) = (String::new(), Vec::new(), Followers::default());
        seat.runs(Running { begin: Arc::new(begin.clone()), uid, merged, followers });
        RunningTurn {
            sessions: Arc::clone(self),
            key,
            session: Session::default(),
            request_id: begin.request_id.clone(),
            digest: begin.request_digest,
            merged: Vec::new(),
            followers: Followers::default(),
            remembered: window.map(|window| window.revision),
            history: Vec::new(),
            lease: Some(lease),
            listening: None,
            seat,
            renewal: Instant::now() + self.config.lease / 3,
            partial: None,
            run: None,
            handed_over: None,
        }
    }

    /// Gets the right to run a turn: first among those of this process, then among the processes.
    async fn access(
        &self,
        key: &SessionKey,
        begin: &BeginTurn,
        coming: &Coming,
        since: Instant,
    ) -> Result<Access, Error> {
        let person = self.places.come(key, self.config.queue).map_err(|_| error::in_progress())?;
        let standing = match person.sit_if_free().await {
            Ok(seat) => {
                let (taken, lease) = self.leases.take(key, false).await.map_err(|error| of_store(&error))?;
                if let Taken::Yes(window) = taken {
                    return Ok(Access::Right(Right { seat, lease, window, joined: None }));
                }
                Standing::Seated(seat)
            }
            Err(person) => Standing::Waiting(person),
        };
        // Another turn runs. What is no new turn neither waits for it nor ends it.
        let opening = Opening { key, request_id: &begin.request_id, window: None, turns: 0 };
        let opened = self.stores.turns.open(&opening).await.map_err(|error| of_store(&error))?;
        if let Some(committed) = repeated(&opened, begin)? {
            return Ok(Access::Committed(committed));
        }
        // One that is being made by its first turn has said nothing yet.
        let session = opened.session.unwrap_or_default();
        let known = if begin.detach { self.known_run(key, begin).await? } else { None };
        if let Some(run) = known
            && (run.state() != RunState::Running || session.second_turn() == SecondTurn::Supersede)
        {
            return Err(run::ended(&run));
        }
        let right = match (session.second_turn(), coming) {
            (SecondTurn::Reject, Coming::Ask(_) | Coming::Add) => {
                return Err(match standing {
                    // In another process, which may have committed it by now: its lease comes back a little later.
                    Standing::Seated(_) => error::in_progress(),
                    Standing::Waiting(_) => error::rejected(),
                });
            }
            (SecondTurn::Supersede, Coming::Ask(_) | Coming::Add) => {
                // One that would be refused ends no other.
                as_expected(begin, session.revision)?;
                self.supersede(key, standing).await?
            }
            (SecondTurn::Merge, Coming::Ask(zones)) => {
                let guest = Guest::new(begin, zones, since, &session);
                return self.taken_along(key, standing, guest).await;
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
                Taken::Yes(window) => return Ok(Right { seat, lease, window, joined: None }),
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
            Taken::Yes(window) => Ok(Right { seat, lease, window, joined: None }),
            Taken::Held(_) => Err(error::in_progress()),
        }
    }

    /// Reads what there is of the session; makes it where there is nothing.
    async fn opened(
        &self,
        key: &SessionKey,
        (begin, coming): (&BeginTurn, &Coming),
        window: Option<&Window>,
    ) -> Result<Opened, Error> {
        let opening = Opening { key, request_id: &begin.request_id, window, turns: self.config.history };
        let opened = self.stores.turns.open(&opening).await.map_err(|error| of_store(&error))?;
        let is_expected = matches!(coming, Coming::BreakOff(_)) || begin.expected_revision.is_some_and(|it| it > 0);
        if opened.session.is_some() || is_expected {
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
            (true, _) => counted(most_turns, "turn"),
            (_, true) => counted(most_bytes, "byte"),
            (false, false) => return Ok(()),
        };
        let message =
            format!("the session has reached its limit of {reached}; raise `limits`, or fork it at an earlier turn");
        Err(Error::new(Reason::SessionLimitReached, message))
    }
}

/// The turn of the same request, if it was committed before.
fn repeated(opened: &Opened, begin: &BeginTurn) -> Result<Option<TurnCommitted>, Error> {
    match (&opened.committed, &opened.merged) {
        (Some((_, digest)), _) | (None, Some(Merged { digest, .. })) if *digest != begin.request_digest => {
            Err(error::reused())
        }
        (Some((turn, _)), _) => Ok(Some(TurnCommitted { turn: Some(turn.clone()), was_committed_before: true })),
        (None, Some(merged)) => Err(error::merged(&merged.turn, merged.revision)),
        (None, None) => Ok(None),
    }
}

/// Refuses what believes the session elsewhere.
pub(crate) fn as_expected(begin: &BeginTurn, revision: u64) -> Result<(), Error> {
    match begin.expected_revision {
        Some(expected) if expected != revision => Err(error::other_revision(expected, revision)),
        _ => Ok(()),
    }
}

/// The turns that a request is told: those that were known and those that were not, as many as are wanted. Fails where one
/// of them is not there: nobody goes on over a hole.
fn history(session: &Session, window: Option<Window>, new: Vec<Turn>, most: u64) -> Result<Vec<Turn>, Error> {
    let known = window.filter(|window| window.uid == stamp(session));
    let mut turns = known.map_or_else(Vec::new, |window| window.turns);
    let last = turns.last().map_or(0, |turn| turn.revision);
    turns.extend(new.into_iter().filter(|turn| turn.revision > last));
    let from = session.revision.saturating_sub(most);
    turns.retain(|turn| turn.revision <= session.revision && (turn.revision > from || turn.pinned));
    if are_all_there(&turns, session.revision, most) {
        return Ok(turns);
    }
    let missing = format!("{} has {} turns, and some of the last {most} are missing", session.name, session.revision);
    Err(of_store(&StoreError::Unreadable(missing)))
}

/// Whether these turns are the youngest up to a revision, as many as are wanted, perhaps after older ones.
fn are_all_there(turns: &[Turn], revision: u64, most: u64) -> bool {
    let from = revision.saturating_sub(most);
    let young = turns.iter().map(|turn| turn.revision).filter(|revision| *revision > from);
    young.eq(from + 1..=revision)
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
            (window("a.0", &[5, 6, 7]), vec![], 2, vec![5, 6]),
        ] {
            let told = history(&session, window, turns(&new), most).unwrap();
            assert_eq!(told.iter().map(|turn| turn.revision).collect::<Vec<_>>(), want);
        }
        for hole in [vec![1, 2, 4, 5, 6], vec![1, 2, 3, 4, 5], vec![2, 3, 4, 5, 6]] {
            assert!(history(&session, None, turns(&hole), 9).is_err(), "{hole:?}");
        }
    }
}
