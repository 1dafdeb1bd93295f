use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use pointsman_proto::sessions::v1::{Fence, MergedRequest, Session, Turn, TurnKind};

use super::reference::{Event, Kept, KeptTurn, Mark, Outcome, Seen};
use super::{Action, Request, SESSIONS, SHARED, Truth};
use crate::store::conformance::places::Database;
use crate::store::conformance::samples;
use crate::store::{
    Awaited, Commit, Committed, Created, Lease, LeaseStore, Memory, Opening, SessionKey, Taken, Window, stamp,
};

/// What writers share.
pub(super) struct World<'a> {
    database: &'a Database,
    leases: &'a dyn LeaseStore,
    keys: Vec<SessionKey>,
    /// The turns of every session that there ever was, by its stamp.
    seen: Mutex<HashMap<String, Vec<Mark>>>,
    /// Windows that were read in this round.
    windows: Mutex<Vec<Window>>,
}

impl<'a> World<'a> {
    pub(super) fn new(database: &'a Database, leases: &'a dyn LeaseStore, tenant: &str) -> Self {
        let keys = (0..SESSIONS).map(|number| samples::key(tenant, &format!("session-{number}"))).collect();
        Self { database, leases, keys, seen: Mutex::default(), windows: Mutex::default() }
    }

    /// What the store holds.
    pub(super) async fn truth(&self) -> Result<Truth, String> {
        let mut truth = Truth::new();
        for (number, key) in self.keys.iter().enumerate() {
            let Some(session) = self.database.sessions().get(key).await.unwrap() else { continue };
            let turns = self.database.all_turns(key).await;
            let revisions = samples::revisions(&turns);
            if !revisions.iter().copied().eq(1..=session.revision) {
                return Err(format!("{key:?} is at revision {}, and has the turns {revisions:?}", session.revision));
            }
            let kept =
                |turn: &Turn| KeptTurn { request: turn.request_id.clone(), mark: mark(turn), is_pinned: turn.pinned };
            let turns = turns.iter().map(kept).collect();
            let mut merged = BTreeMap::new();
            for shared in (0..SHARED).map(shared) {
                let found = self.database.opened(key, &shared).await.merged;
                merged.extend(found.map(|found| (shared, found.revision)));
            }
            truth.insert(number, Kept { uid: session.uid, epoch: session.epoch, turns, merged });
        }
        Ok(truth)
    }

    /// Whether every window that was read has turns that were committed, and those alone.
    pub(super) fn check_windows(&self, truth: &Truth) -> Result<(), String> {
        let mut seen = self.seen.lock().unwrap();
        for kept in truth.values() {
            let fence = Fence { uid: kept.uid.clone(), epoch: kept.epoch, revision: 0 };
            seen.insert(stamp_of(&fence), kept.turns.iter().map(|turn| turn.mark).collect());
        }
        for window in self.windows.lock().unwrap().drain(..) {
            let marks: Vec<_> = window.turns.iter().map(mark).collect();
            let real = seen.get(&window.uid).and_then(|all| all.get(..marks.len()));
            if real != Some(&marks) || !samples::revisions(&window.turns).into_iter().eq(1..=window.revision) {
                return Err(format!("remembered is {window:#?}, which never was; there was {real:?}"));
            }
        }
        Ok(())
    }

    /// Whether what is remembered is of sessions that are there.
    pub(super) async fn check_what_is_left(&self) -> Result<(), String> {
        for key in &self.keys {
            let lease = Lease { holder: "last", time: Duration::from_secs(1) };
            let taken = self.leases.take(key, &lease, true).await.unwrap();
            let session = self.database.sessions().get(key).await.unwrap();
            if let Taken::Yes(Some(window)) = taken
                && session.as_ref().is_none_or(|session| !window.uid.starts_with(&session.uid))
            {
                return Err(format!("of {key:?}, which is {session:?}, {window:?} is left"));
            }
        }
        Ok(())
    }
}

/// Somebody who commits turns, and is never sure where sessions stand.
pub(super) struct Writer {
    number: usize,
    marks: u64,
    known: [Known; SESSIONS],
    delayed: VecDeque<Sent>,
    last: Option<Sent>,
}

/// What a writer believes of a session.
#[derive(Default)]
struct Known {
    fence: Fence,
    turns: Vec<Turn>,
    /// What came with the lease.
    window: Option<Window>,
    /// Whether its last turn is its own, since it took the lease.
    has_committed: bool,
}

/// A commit on its way.
#[derive(Clone)]
struct Sent {
    session: usize,
    fence: Fence,
    turn: Turn,
    /// Another request that it answers.
    merged: Option<String>,
}

impl Writer {
    pub(super) fn new(number: usize) -> Self {
        Self { number, marks: 0, known: Default::default(), delayed: VecDeque::new(), last: None }
    }

    /// Does something, and tells in order what.
    pub(super) async fn act(&mut self, world: &World<'_>, session: usize, action: Action) -> Vec<Event> {
        let key = &world.keys[session];
        match action {
            Action::Turn { is_short, request, is_whole } => {
                let mut events = vec![self.take(world, session, (false, is_short)).await];
                events.extend(self.open(world, session).await);
                let sent = self.turn(session, request);
                events.push(self.send(world, sent).await);
                events.push(self.give_back(world, session, is_whole).await);
                events
            }
            Action::Take { by_force, is_short } => vec![self.take(world, session, (by_force, is_short)).await],
            Action::Open => self.open(world, session).await,
            Action::Commit { request } => {
                let sent = self.turn(session, request);
                vec![self.send(world, sent).await]
            }
            Action::Append => {
                let mut sent = self.turn(session, Request::Own);
                sent.turn.set_kind(TurnKind::Appended);
                vec![self.send(world, sent).await]
            }
            Action::Delay => {
                let sent = self.turn(session, Request::Own);
                self.delayed.push_back(sent);
                Vec::new()
            }
            Action::SendLate => match self.delayed.pop_front() {
                Some(sent) => vec![self.send(world, sent).await],
                None => Vec::new(),
            },
            Action::SendAgain => match self.last.clone() {
                Some(sent) => vec![self.send(world, sent).await],
                None => Vec::new(),
            },
            Action::Supersede => {
                world.database.turns().supersede(key).await.unwrap();
                vec![Event::Superseded { session }]
            }
            Action::Replace => self.replace(world, session).await.into_iter().collect(),
            Action::Pin { revision } => {
                let turn = world.database.turns().pin(key, revision, true).await.unwrap();
                world.leases.forget(key).await.unwrap();
                vec![Event::Pinned { session, revision, found: turn.as_ref().map(mark) }]
            }
            Action::Fork { to, at } => vec![self.fork(world, session, (to, at)).await],
            Action::Erase => vec![self.erase(world, session, None).await],
            // By whose clock it is never over, or always.
            Action::Expire { is_over: false } => {
                let erased = world.database.erasures().erase(key, &samples::erasure(key, 1), Some(0)).await.unwrap();
                assert_eq!(erased, None);
                Vec::new()
            }
            Action::Expire { is_over: true } => vec![self.erase(world, session, Some(i64::MAX)).await],
            Action::GiveBack { is_whole } => vec![self.give_back(world, session, is_whole).await],
        }
    }

    async fn erase(&self, world: &World<'_>, session: usize, expired_by: Option<i64>) -> Event {
        let key = &world.keys[session];
        let note = world.database.erasures().erase(key, &samples::erasure(key, 1), expired_by).await.unwrap();
        world.leases.forget(key).await.unwrap();
        Event::Erased { session, note: note.map(|note| (note.uid, note.turn_count)) }
    }

    async fn take(&mut self, world: &World<'_>, session: usize, (by_force, is_short): (bool, bool)) -> Event {
        let time = if is_short { Duration::from_millis(1) } else { Duration::from_secs(600) };
        let holder = self.number.to_string();
        let lease = Lease { holder: &holder, time };
        let taken = world.leases.take(&world.keys[session], &lease, by_force).await.unwrap();
        let is_taken = matches!(taken, Taken::Yes(_));
        if let Taken::Yes(window) = taken {
            world.windows.lock().unwrap().extend(window.clone());
            self.known[session].window = window;
            self.known[session].has_committed = false;
        }
        Event::Taken { session, writer: self.number, by_force, is_short, is_taken }
    }

    async fn open(&mut self, world: &World<'_>, session: usize) -> Vec<Event> {
        let (key, request) = (&world.keys[session], shared(self.number as u8 % SHARED));
        let window = self.known[session].window.take();
        let opening = Opening { key, request_id: &request, window: window.as_ref(), turns: u64::MAX };
        let opened = world.database.turns().open(&opening).await.unwrap();
        let committed = opened.committed.as_ref().map(|(turn, digest)| {
            assert_eq!(*digest, digest_of(turn));
            mark(turn)
        });
        let merged = opened.merged.map(|merged| {
            assert_eq!(merged.digest, MERGED);
            (merged.turn, merged.revision)
        });
        let Some(now) = opened.session else {
            let made = samples::session(key);
            let created = world.database.sessions().create(key, &made).await.unwrap();
            if created == Created::Yes {
                self.known[session] = Known { fence: samples::fence(&made), ..Known::default() };
            }
            let first = Event::Opened { session, request, seen: None, committed, merged };
            return vec![first, Event::Created { session, uid: made.uid, created }];
        };
        let known = window.filter(|window| window.uid == stamp(&now));
        let mut turns = known.map_or_else(Vec::new, |window| window.turns);
        turns.extend(opened.turns);
        let marks = turns.iter().map(mark).collect();
        let seen = Some(Seen { uid: now.uid.clone(), epoch: now.epoch, marks });
        self.known[session] = Known { fence: samples::fence(&now), turns, ..Known::default() };
        vec![Event::Opened { session, request, seen, committed, merged }]
    }

    /// A new turn, where the session is believed to stand.
    fn turn(&mut self, session: usize, request: Request) -> Sent {
        let mark = self.mark();
        let own = format!("own-{mark}");
        let (request_id, merged) = match request {
            Request::Own => (own, None),
            Request::Shared(number) => (shared(number), None),
            Request::With(number) => (own, Some(shared(number))),
        };
        let fence = self.known[session].fence.clone();
        let turn = samples::turn(fence.revision + 1);
        let turn = Turn { request_id, model: mark.to_string(), target: mark.to_string(), ..turn };
        Sent { session, fence, turn, merged }
    }

    fn mark(&mut self) -> Mark {
        self.marks += 1;
        self.marks * super::WRITERS as u64 + self.number as u64
    }

    async fn send(&mut self, world: &World<'_>, sent: Sent) -> Event {
        let Sent { session, fence, turn, merged } = &sent;
        let digest = digest_of(turn);
        let request = |request_id: &String| MergedRequest { request_id: request_id.clone(), request_digest: MERGED };
        let merged: Vec<_> = merged.iter().map(request).collect();
        let commit = Commit { digest, merged: &merged, ..samples::commit(&world.keys[*session], fence, turn) };
        let outcome = match world.database.turns().commit(&commit).await.unwrap() {
            Committed::Now => {
                let mut seen = world.seen.lock().unwrap();
                let marks = seen.entry(stamp_of(fence)).or_default();
                let index = fence.revision as usize;
                marks.resize(marks.len().max(index + 1), 0);
                marks[index] = mark(turn);
                self.knows(&sent);
                Outcome::Now
            }
            Committed::Before(before, digest) => {
                assert_eq!(digest, digest_of(&before));
                Outcome::Before(mark(&before))
            }
            Committed::Conflict => Outcome::Conflict,
        };
        let Sent { session, fence, turn, merged } = sent.clone();
        let (mark, request) = (mark(&turn), turn.request_id);
        let event = Event::Committed { session, fence, request, merged, mark, outcome };
        self.last = Some(sent);
        event
    }

    /// Goes on from a commit of its own, if it stands where that began.
    fn knows(&mut self, sent: &Sent) {
        let known = &mut self.known[sent.session];
        if known.fence == sent.fence {
            known.fence.revision += 1;
            known.turns.push(sent.turn.clone());
            known.has_committed = true;
        }
    }

    /// Puts another turn in the place of the last that it knows.
    async fn replace(&mut self, world: &World<'_>, session: usize) -> Option<Event> {
        let mark = self.mark();
        let known = &self.known[session];
        let last = known.turns.last().filter(|turn| turn.revision == known.fence.revision)?;
        let other = Turn { model: mark.to_string(), output: None, ..last.clone() };
        let (key, fence) = (&world.keys[session], known.fence.clone());
        let is_done = world.database.turns().replace_last(key, &fence, &other, Awaited::default()).await.unwrap();
        world.leases.forget(key).await.unwrap();
        Some(Event::Replaced { session, fence, mark, is_done })
    }

    async fn fork(&mut self, world: &World<'_>, session: usize, (to, at): (usize, u64)) -> Event {
        let known = &self.known[session].fence;
        let from = Fence { revision: at.min(known.revision), ..known.clone() };
        let key = &world.keys[to];
        let forked = Session { revision: from.revision, forked_at_revision: from.revision, ..samples::session(key) };
        let created = world.database.sessions().fork(&from, key, &forked).await.unwrap();
        Event::Forked { from, to, uid: forked.uid, created }
    }

    async fn give_back(&mut self, world: &World<'_>, session: usize, is_whole: bool) -> Event {
        let known = &mut self.known[session];
        let holder = self.number.to_string();
        let whole = Window { uid: stamp_of(&known.fence), revision: known.fence.revision, turns: known.turns.clone() };
        let memory = match known.turns.last().filter(|_| known.has_committed) {
            None => Memory::Unchanged,
            Some(_) if is_whole => Memory::Whole(&whole),
            Some(turn) => Memory::Added(&whole.uid, turn),
        };
        world.leases.give_back(&world.keys[session], &holder, memory).await.unwrap();
        known.has_committed = false;
        Event::GivenBack { session, writer: self.number }
    }
}

/// What the digest of a request is that is answered with another.
const MERGED: u64 = u64::MAX - 1;

fn shared(number: u8) -> String {
    format!("shared-{number}")
}

fn mark(turn: &Turn) -> Mark {
    turn.model.parse().unwrap()
}

/// Half of them are above what a database's integers hold. A turn that is replaced keeps that of the first.
fn digest_of(turn: &Turn) -> u64 {
    turn.target.parse::<u64>().unwrap().wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn stamp_of(fence: &Fence) -> String {
    stamp(&Session { uid: fence.uid.clone(), epoch: fence.epoch, ..Session::default() })
}
