//! A conversation that the mesh keeps.

use anyhow::{Error, Result, bail};
use pointsman_proto::sessions::v1::{CreateSessionRequest, Session, SessionState, Turn};
use pointsman_types::counted;

use super::answer::Answer;
use super::console::Console;
use crate::arguments::program;
use crate::arguments::sessions::SessionName;
use crate::client::Mesh;
use crate::client::sessions::Sessions;
use crate::commands::sessions::draw;

/// A session, as far as it was seen.
pub(super) struct Stored {
    sessions: Sessions,
    name: SessionName,
    /// As it was seen last; none if it is new.
    session: Option<Session>,
    /// The turn that was the last one then.
    last: Option<Turn>,
    /// The revision that was seen last.
    revision: u64,
    /// Whether it is known what came of the last exchange.
    known: bool,
}

impl Stored {
    /// Looks at the session. Standing instructions must be those that it has, if it is not new.
    pub(super) async fn open(mesh: &Mesh, name: &SessionName, system: Option<&str>) -> Result<Self> {
        let mut sessions = Sessions::of(mesh);
        let session = sessions.find(name).await?;
        if let (Some(session), Some(system)) = (&session, system)
            && session.system_prompt != system
        {
            let has = if session.system_prompt.is_empty() { "no" } else { "another" };
            let (id, program) = (name.id(), program());
            bail!(
                "{name} is there with {has} system prompt: leave --system out, or change it with `{program} sessions set {id} --system TEXT`"
            );
        }
        let revision = session.as_ref().map_or(0, |session| session.revision);
        let last = match revision.checked_sub(1) {
            Some(before) => sessions.turns_after(name, before).next().await?.unwrap_or_default().into_iter().next(),
            None => None,
        };
        Ok(Self { sessions, name: name.clone(), session, last, revision, known: true })
    }

    pub(super) fn name(&self) -> String {
        self.name.to_string()
    }

    /// The model that made the last turn.
    pub(super) fn model(&self) -> Option<&str> {
        self.last.as_ref().map(|turn| turn.model.as_str())
    }

    /// Whether the conversation may go on: what came of the last exchange is known.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// Says where the conversation stands. One that is new gets its standing instructions.
    pub(super) async fn begin(&mut self, system: Option<&str>, console: &mut Console) -> Result<()> {
        let Some(session) = &self.session else {
            if let Some(system) = system {
                let session = Session { system_prompt: system.to_owned(), ..Session::default() };
                let request = CreateSessionRequest { session: Some(session), session_id: self.name.id().to_owned() };
                self.sessions.call(request, async |client, request| client.create_session(request).await).await?;
            }
            return console.open(&format!("{} is new.", self.name));
        };
        let turns = counted(session.revision, "turn");
        match &self.last {
            Some(last) => {
                let short = draw::short(last);
                console.open(&format!("{} has {turns}. The last:\n{}", self.name, short.trim_end()))?;
            }
            None => console.open(&format!("{} has {turns}.", self.name))?,
        }
        if session.state() == SessionState::AwaitingTools {
            let calls = session.awaited_tool_call_ids.join(", ");
            console.open(&format!("It awaits the results of {calls}: what you say cancels these calls."))?;
        }
        Ok(())
    }

    /// Takes note of an answer, and says what of the conversation is not as it looks here.
    pub(super) fn answered(&mut self, answer: &Answer, revision: u64, console: &mut Console) -> Result<()> {
        let between = revision.saturating_sub(self.revision + 1);
        self.revision = revision;
        if between > 0 {
            let (turns, program, id) = (counted(between, "turn"), program(), self.name.id());
            console.remark(&format!("({turns} of others came before this one: `{program} sessions show {id}`)"))?;
        }
        match answer.turn.as_ref().map_or(0, |turn| turn.left_out_turns) {
            0 => Ok(()),
            left_out => {
                let turns = counted(left_out, "older turn");
                console.remark(&format!("({turns} left out: the model has no room for them)"))
            }
        }
    }

    /// Asks the store what came of a turn whose answer broke off, and says so of the error.
    pub(super) async fn failed(&mut self, request_id: &str, error: Error, console: &mut Console) -> Result<Error> {
        let kept = self.kept(request_id).await;
        self.known = kept.is_ok();
        let name = &self.name;
        Ok(match kept {
            Ok(None) => error.context(format!("nothing of this exchange is in {name}")),
            Ok(Some(turn)) => {
                console.remark(draw::turn(&turn).trim_end())?;
                error.context(format!("the answer broke off here; {name} has it as turn {}", turn.revision))
            }
            Err(unknown) => error.context(format!("whether {name} has this exchange is not known ({unknown:#})")),
        })
    }

    /// Finds the turn of a request among those that came since.
    async fn kept(&mut self, request_id: &str) -> Result<Option<Turn>> {
        let Some(session) = self.sessions.find(&self.name).await? else { return Ok(None) };
        // One that was erased meanwhile and begun anew has turns of its own.
        let is_other = self.session.as_ref().is_some_and(|known| known.uid != session.uid);
        let mut turns = self.sessions.turns_after(&self.name, if is_other { 0 } else { self.revision });
        let mut kept = None;
        while let Some(page) = turns.next().await? {
            kept = kept.or(page.into_iter().find(|turn| {
                turn.request_id == request_id || turn.merged_request_ids.iter().any(|id| id == request_id)
            }));
        }
        self.revision = session.revision;
        self.session = Some(session);
        Ok(kept)
    }
}
