use std::collections::BTreeMap;

use pointsman_proto::sessions::v1::Fence;

use crate::store::Created;

/// What the store holds if it is right, and who has which lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Model {
    pub(super) sessions: BTreeMap<usize, Kept>,
    leases: BTreeMap<usize, Holding>,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kept {
    pub(super) uid: String,
    pub(super) epoch: u64,
    pub(super) turns: Vec<KeptTurn>,
    /// Requests that are answered in the turn of another, and the revision of that.
    pub(super) merged: BTreeMap<String, u64>,
}

/// A turn; its revision is its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct KeptTurn {
    pub(super) request: String,
    pub(super) mark: Mark,
    pub(super) is_pinned: bool,
}

/// Tells a turn from all others.
pub(super) type Mark = u64;

/// Who has a lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Holding {
    writer: usize,
    /// Whether it may have ended.
    is_short: bool,
}

/// What a writer did, and what it was told.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Opened {
        session: usize,
        request: String,
        seen: Option<Seen>,
        committed: Option<Mark>,
        /// The turn of another that answers it, and its revision.
        merged: Option<(String, u64)>,
    },
    Created {
        session: usize,
        uid: String,
        created: Created,
    },
    Committed {
        session: usize,
        fence: Fence,
        request: String,
        merged: Option<String>,
        mark: Mark,
        outcome: Outcome,
    },
    Superseded {
        session: usize,
    },
    Replaced {
        session: usize,
        fence: Fence,
        mark: Mark,
        is_done: bool,
    },
    Pinned {
        session: usize,
        revision: u64,
        found: Option<Mark>,
    },
    /// `None`: the turns were not there.
    Forked {
        from: Fence,
        to: usize,
        uid: String,
        created: Option<Created>,
    },
    Erased {
        session: usize,
        note: Option<(String, u64)>,
    },
    Taken {
        session: usize,
        writer: usize,
        by_force: bool,
        is_short: bool,
        is_taken: bool,
    },
    GivenBack {
        session: usize,
        writer: usize,
    },
}

/// A session as it was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) uid: String,
    pub(super) epoch: u64,
    pub(super) marks: Vec<Mark>,
}

/// What a commit was told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    Now,
    Before(Mark),
    Conflict,
}

impl Model {
    /// The model after this; `None`: it would not have happened so.
    pub(super) fn after(&self, event: &Event) -> Option<Self> {
        let mut next = self.clone();
        next.does(event).then_some(next)
    }

    fn does(&mut self, event: &Event) -> bool {
        match event {
            Event::Opened { session, request, seen, committed, merged } => {
                let kept = self.sessions.get(session);
                let told = kept.map(|kept| (kept.of(request), kept.answered_with(request))).unwrap_or_default();
                kept.map(Kept::seen) == *seen && told == (*committed, merged.clone())
            }
            Event::Created { session, uid, created } => {
                let made = Kept { uid: uid.clone(), epoch: 0, turns: Vec::new(), merged: BTreeMap::new() };
                self.keeps(*session, made) == *created
            }
            Event::Committed { session, fence, request, merged, mark, outcome } => {
                self.commits(*session, fence, (request, merged.as_ref(), *mark)) == *outcome
            }
            Event::Superseded { session } => {
                if let Some(kept) = self.sessions.get_mut(session) {
                    kept.epoch += 1;
                }
                true
            }
            Event::Replaced { session, fence, mark, is_done } => self.replaces(*session, fence, *mark) == *is_done,
            Event::Pinned { session, revision, found } => self.pins(*session, *revision) == *found,
            Event::Forked { from, to, uid, created } => self.forks(from, *to, uid, *created),
            Event::Erased { session, note } => {
                let gone = self.sessions.remove(session);
                gone.map(|kept| (kept.uid, kept.turns.len() as u64)) == *note
            }
            Event::Taken { session, writer, by_force, is_short, is_taken } => {
                let other = self.leases.get(session).filter(|holding| holding.writer != *writer);
                let (may, must) = match other {
                    None => (true, true),
                    Some(holding) => (*by_force || holding.is_short, *by_force),
                };
                if *is_taken {
                    self.leases.insert(*session, Holding { writer: *writer, is_short: *is_short });
                }
                if *is_taken { may } else { !must }
            }
            Event::GivenBack { session, writer } => {
                if self.leases.get(session).is_some_and(|holding| holding.writer == *writer) {
                    self.leases.remove(session);
                }
                true
            }
        }
    }

    fn keeps(&mut self, session: usize, made: Kept) -> Created {
        if self.sessions.contains_key(&session) {
            return Created::Exists;
        }
        self.sessions.insert(session, made);
        Created::Yes
    }

    fn commits(
        &mut self,
        session: usize,
        fence: &Fence,
        (request, merged, mark): (&str, Option<&String>, Mark),
    ) -> Outcome {
        let Some(kept) = self.sessions.get_mut(&session).filter(|kept| kept.uid == fence.uid) else {
            return Outcome::Conflict;
        };
        if let Some(before) = kept.of(request) {
            return Outcome::Before(before);
        }
        if kept.place() != (fence.uid.as_str(), fence.epoch, fence.revision) {
            return Outcome::Conflict;
        }
        if merged.is_some_and(|merged| kept.merged.contains_key(merged)) {
            return Outcome::Conflict;
        }
        kept.merged.extend(merged.map(|merged| (merged.clone(), fence.revision + 1)));
        kept.turns.push(KeptTurn { request: request.to_owned(), mark, is_pinned: false });
        Outcome::Now
    }

    fn replaces(&mut self, session: usize, fence: &Fence, mark: Mark) -> bool {
        let place = (fence.uid.as_str(), fence.epoch, fence.revision);
        let Some(kept) = self.sessions.get_mut(&session).filter(|kept| kept.place() == place) else { return false };
        let Some(last) = kept.turns.last_mut() else { return false };
        last.mark = mark;
        kept.epoch += 1;
        true
    }

    fn pins(&mut self, session: usize, revision: u64) -> Option<Mark> {
        let index = usize::try_from(revision.checked_sub(1)?).ok()?;
        let turn = self.sessions.get_mut(&session)?.turns.get_mut(index)?;
        turn.is_pinned = true;
        Some(turn.mark)
    }

    fn forks(&mut self, from: &Fence, to: usize, uid: &str, created: Option<Created>) -> bool {
        let is_it = |kept: &&Kept| (&kept.uid, kept.epoch) == (&from.uid, from.epoch);
        let has_it = |kept: &&Kept| is_it(kept) && kept.turns.len() as u64 >= from.revision;
        let source = self.sessions.values().find(has_it).map(|kept| kept.up_to(from.revision));
        match (created, source) {
            (None, source) => source.is_none(),
            (Some(Created::Yes), None) if from.revision > 0 => false,
            (Some(created), source) => {
                let (turns, merged) = source.unwrap_or_default();
                self.keeps(to, Kept { uid: uid.to_owned(), epoch: 0, turns, merged }) == created
            }
        }
    }
}

impl Kept {
    fn place(&self) -> (&str, u64, u64) {
        (&self.uid, self.epoch, self.turns.len() as u64)
    }

    fn seen(&self) -> Seen {
        let marks = self.turns.iter().map(|turn| turn.mark).collect();
        Seen { uid: self.uid.clone(), epoch: self.epoch, marks }
    }

    fn up_to(&self, revision: u64) -> (Vec<KeptTurn>, BTreeMap<String, u64>) {
        let merged = self.merged.iter().filter(|(_, with)| **with <= revision);
        let merged = merged.map(|(request, with)| (request.clone(), *with)).collect();
        (self.turns[..revision as usize].to_vec(), merged)
    }

    fn answered_with(&self, request: &str) -> Option<(String, u64)> {
        let revision = *self.merged.get(request)?;
        Some((self.turns[revision as usize - 1].request.clone(), revision))
    }

    fn of(&self, request: &str) -> Option<Mark> {
        self.turns.iter().find(|turn| turn.request == request).map(|turn| turn.mark)
    }
}
