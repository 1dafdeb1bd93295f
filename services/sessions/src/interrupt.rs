//! Breaking a turn off: exactly what the user has heard of its answer is kept.

use std::sync::Arc;
use std::time::Duration;

use pointsman_errors::Error;
use pointsman_proto::inference::v1::{FinishReason, Message, Part, Role, part};
use pointsman_proto::sessions::v1::{BeginTurn, Fence, Session, Turn, TurnKind};
use tokio::time::Instant;

use crate::error::{self, of_store};
use crate::places::Running;
use crate::sessions::Sessions;
use crate::signals::PATIENCE;
use crate::store::{Awaited, Opening, SessionKey, SignalKind};
use crate::turn::{Begun, Coming, RunningTurn};

impl Sessions {
    /// Breaks the turn of a request off, wherever it is: while it runs, or when it was committed last.
    pub(crate) async fn interrupt(
        self: &Arc<Self>,
        key: &SessionKey,
        request_id: &str,
        heard: String,
    ) -> Result<Turn, Error> {
        if let Some(turn) = self.interrupt_here(key, request_id, heard.clone()).await? {
            return Ok(turn);
        }
        let told = self.tell_others(key, (request_id, SignalKind::Interrupted), &heard).await?;
        if let Some(turn) = self.broken_off_in_time(key, request_id).await? {
            return Ok(turn);
        }
        // Whoever has taken it by now does something about it.
        if !told.withdraw().await?
            && let Some(turn) = self.broken_off_in_time(key, request_id).await?
        {
            return Ok(turn);
        }
        // It may have ended by itself meanwhile.
        self.shorten(key, request_id, heard).await?.ok_or_else(|| error::not_the_last(request_id))
    }

    /// The same where it runs in this process, or was committed. `None`: neither.
    pub(crate) async fn interrupt_here(
        self: &Arc<Self>,
        key: &SessionKey,
        request_id: &str,
        heard: String,
    ) -> Result<Option<Turn>, Error> {
        match self.places.interrupt(key, request_id) {
            Some((running, turn)) => {
                let (sessions, key) = (Arc::clone(self), key.clone());
                // Of its own: whoever asked for it may leave, and the turn has left its place by then.
                let work = async move { sessions.break_off(&key, (running, turn.await.ok()), heard).await };
                tokio::spawn(work).await.map_err(|_| error::conflict())?
            }
            None => self.shorten(key, request_id, heard).await,
        }
    }

    /// Waits until another process has broken a turn off. `None`: none has, in time.
    async fn broken_off_in_time(&self, key: &SessionKey, request_id: &str) -> Result<Option<Turn>, Error> {
        let until = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(20);
        while Instant::now() < until {
            tokio::time::sleep(pause).await;
            let (_, committed) = self.committed_turn(key, request_id).await?;
            if let Some(turn) = committed.filter(|turn| turn.kind() == TurnKind::Interrupted) {
                return Ok(Some(turn));
            }
            pause = (pause * 2).min(Duration::from_millis(160));
        }
        Ok(None)
    }

    /// Commits what was heard in the name of a turn that was asked to leave its place. One that did not hand it over has
    /// ended at that moment, or left.
    async fn break_off(
        self: &Arc<Self>,
        key: &SessionKey,
        (running, turn): (Running, Option<Box<RunningTurn>>),
        heard: String,
    ) -> Result<Option<Turn>, Error> {
        if let Some(mut turn) = turn {
            let followers = running.followers.clone();
            // As it stands by now: it may have been asked for while it began.
            let running = turn.running().unwrap_or(running);
            followers.join(&running.followers);
            turn.takes_over(running.merged, followers);
            return Ok(turn.commit(interrupted(BeginTurn::clone(&running.begin), heard)).await?.turn);
        }
        let Running { begin, uid, merged, followers } = running;
        let again = BeginTurn { expected_revision: None, detach: false, ..BeginTurn::clone(&begin) };
        match self.begin(key.clone(), again, Coming::BreakOff(uid)).await? {
            // It was faster.
            Begun::Committed(committed) => {
                followers.committed(committed.turn.as_ref().unwrap_or(&Turn::default()));
                self.shorten(key, &begin.request_id, heard).await
            }
            Begun::Running(mut turn, begun) => {
                turn.takes_over(merged, followers);
                let messages = begun.prepended_messages.into_iter().chain(begin.messages.clone()).collect();
                let begin = BeginTurn { messages, data_class: begun.data_class, ..BeginTurn::clone(&begin) };
                Ok(turn.commit(interrupted(begin, heard)).await?.turn)
            }
        }
    }

    /// Shortens the answer of the last turn of a session. `None`: no turn of this request was committed.
    async fn shorten(&self, key: &SessionKey, request_id: &str, heard: String) -> Result<Option<Turn>, Error> {
        let (session, committed) = self.committed_turn(key, request_id).await?;
        let Some(turn) = committed else { return Ok(None) };
        let is_an_answer = [TurnKind::Generated, TurnKind::Partial, TurnKind::Interrupted].contains(&turn.kind());
        if turn.revision != session.revision || !is_an_answer {
            return Err(error::not_the_last(request_id));
        }
        let fence = Fence { uid: session.uid, epoch: session.epoch, revision: session.revision };
        let shortened = Turn {
            kind: TurnKind::Interrupted.into(),
            output: answer(heard),
            finish_reason: FinishReason::Stop.into(),
            failure_reason: String::new(),
            estimated_tokens: 0,
            ..turn
        };
        let replaced = self.stores.turns.replace_last(key, &fence, &shortened, Awaited::default()).await;
        if !replaced.map_err(|error| of_store(&error))? {
            return Err(error::conflict());
        }
        Ok(Some(shortened))
    }

    /// The session, and the turn that was committed for a request.
    async fn committed_turn(&self, key: &SessionKey, request_id: &str) -> Result<(Session, Option<Turn>), Error> {
        let opening = Opening { key, request_id, window: None, turns: 0 };
        let opened = self.stores.turns.open(&opening).await.map_err(|error| of_store(&error))?;
        let session = opened.session.ok_or_else(|| error::not_found(key))?;
        let turn = match opened.committed {
            Some((turn, _)) => Some(turn),
            // Its caller left before it was broken off.
            None => self.last_partial(key, request_id).await?,
        };
        Ok((session, turn))
    }
}

fn interrupted(begin: BeginTurn, heard: String) -> Turn {
    Turn {
        kind: TurnKind::Interrupted.into(),
        input: begin.messages,
        channel: begin.channel,
        data_class: begin.data_class,
        output: answer(heard),
        finish_reason: FinishReason::Stop.into(),
        ..Turn::default()
    }
}

/// Nothing that was heard is no answer.
fn answer(heard: String) -> Option<Message> {
    if heard.is_empty() {
        return None;
    }
    let part = Part { kind: Some(part::Kind::Text(heard)) };
    Some(Message { role: Role::Assistant.into(), parts: vec![part], name: String::new() })
}
