//! A mesh in memory, for tests of commands: it keeps sessions as the contract says, in small pages, and answers
//! `You said: …`.

mod inference;
mod service;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use pointsman_client::{Config, in_process};
use pointsman_proto::inference::v1::inference_service_server::InferenceServiceServer;
use pointsman_proto::inference::v1::{GenerateRequest, Message, Part, Role, part};
use pointsman_proto::sessions::v1::session_service_server::SessionServiceServer;
use pointsman_proto::sessions::v1::{ChannelBinding, Erasure, Run, Session, SessionState, Turn, TurnKind};
use prost_types::Timestamp;
use tonic::Status;
use tonic::service::Routes;

use super::Mesh;
use super::sessions::Sessions;
use crate::arguments::ClientOptions;

/// So many sessions, turns or erasures are in a page at most.
pub(crate) const PAGE: usize = 2;

#[derive(Clone, Default)]
pub(crate) struct FakeMesh(Arc<Mutex<State>>);

/// What the mesh keeps.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) sessions: BTreeMap<String, (Session, Vec<Turn>)>,
    pub(crate) bindings: Vec<ChannelBinding>,
    pub(crate) erasures: Vec<Erasure>,
    pub(crate) runs: Vec<Run>,
    /// Every generation that was asked for.
    pub(crate) asked: Vec<GenerateRequest>,
    /// What happens to the next generation. Default: it is answered.
    pub(crate) next: Vec<Fault>,
    /// Happens once, after a page of turns was read.
    pub(crate) after_page: Option<fn(&mut State)>,
    /// Whether the store is gone: nothing can be asked of it.
    pub(crate) down: bool,
    made: u64,
}

/// What happens to a generation that is not just answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails after the first words, and leaves nothing behind.
    Fails,
    /// It ends after the first words, as if it were whole, and leaves nothing behind.
    EndsEarly,
    /// It is committed, and its end does not arrive.
    LosesItsEnd,
    /// It fails like the first, and the store with it.
    TakesTheStoreAlong,
    /// Another caller's turn is committed just before it, and a turn of the history is left out.
    ComesSecond,
}

impl FakeMesh {
    pub(crate) fn mesh(&self) -> Mesh {
        let mut routes = Routes::new(SessionServiceServer::new(self.clone()));
        routes = routes.add_service(InferenceServiceServer::new(self.clone()));
        let options = ClientOptions { address: "http://mesh".into(), ca: None, key: Some("pm_1".into()) };
        Mesh::over(in_process(routes, &Config::default()), &options)
    }

    pub(crate) fn sessions(&self) -> Sessions {
        Sessions::of(&self.mesh())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A mesh with a session `demo` of so many turns.
    pub(crate) fn with_turns(count: usize) -> Self {
        let fake = Self::default();
        let mut state = fake.state();
        state.create("sessions/demo", Session::default()).unwrap();
        for number in 1..=count {
            state.commit("sessions/demo", said(&format!("question {number}"), &format!("answer {number}"))).unwrap();
        }
        drop(state);
        fake
    }
}

/// A turn of a model.
pub(crate) fn said(question: &str, answer: &str) -> Turn {
    Turn {
        kind: TurnKind::Generated.into(),
        input: vec![message(Role::User, question)],
        output: Some(message(Role::Assistant, answer)),
        model: "pip".into(),
        ..Turn::default()
    }
}

pub(crate) fn message(role: Role, text: &str) -> Message {
    let part = Part { kind: Some(part::Kind::Text(text.into())) };
    Message { role: role.into(), parts: vec![part], ..Message::default() }
}

impl State {
    pub(crate) fn create(&mut self, name: &str, session: Session) -> Result<Session, Status> {
        if self.sessions.contains_key(name) {
            return Err(Status::already_exists(format!("{name} is there")));
        }
        self.made += 1;
        let (uid, etag, time) = (format!("uid-{}", self.made), self.made.to_string(), self.now());
        let state = SessionState::Idle.into();
        let session = Session { name: name.into(), uid, etag, state, create_time: time, update_time: time, ..session };
        self.sessions.insert(name.into(), (session.clone(), Vec::new()));
        Ok(session)
    }

    pub(crate) fn commit(&mut self, name: &str, turn: Turn) -> Result<Turn, Status> {
        self.made += 1;
        let now = self.now();
        let (session, turns) = self.found(name)?;
        session.revision += 1;
        session.update_time = now;
        let turn = Turn { revision: session.revision, create_time: now, ..turn };
        turns.push(turn.clone());
        Ok(turn)
    }

    pub(crate) fn erase(&mut self, name: &str) -> Result<Erasure, Status> {
        let (session, turns) = self.sessions.remove(name).ok_or_else(|| missing(name))?;
        self.made += 1;
        let erasure = Erasure {
            session: name.into(),
            uid: session.uid,
            key: "k7".into(),
            cause: 1,
            turn_count: turns.len() as u64,
            erase_time: self.now(),
        };
        self.erasures.insert(0, erasure.clone());
        Ok(erasure)
    }

    fn found(&mut self, name: &str) -> Result<&mut (Session, Vec<Turn>), Status> {
        if self.down {
            return Err(Status::unavailable("the store is down"));
        }
        self.sessions.get_mut(name).ok_or_else(|| missing(name))
    }

    /// Time goes on with each change, by a second.
    fn now(&self) -> Option<Timestamp> {
        Some(Timestamp { seconds: i64::try_from(self.made).unwrap(), nanos: 0 })
    }
}

fn missing(name: &str) -> Status {
    Status::not_found(format!("there is no {name}"))
}
