//! Breaking a turn off: exactly what the user has heard of its answer is kept.

use std::sync::Arc;

use pointsman_errors::Error;
use pointsman_proto::inference::v1::{FinishReason, Message, Part, Role, part};
use pointsman_proto::sessions::v1::{BeginTurn, Fence, Turn, TurnKind};

use crate::error::{self, of_store};
use crate::places::Running;
use crate::sessions::Sessions;
use crate::store::{Opening, SessionKey};
use crate::turn::{Begun, Coming};

impl Sessions {
    /// Breaks the turn of a request off, wherever it is: while it runs, or when it was committed last.
    pub(crate) async fn interrupt(
        self: &Arc<Self>,
        key: &SessionKey,
        request_id: &str,
        heard: String,
    ) -> Result<Turn, Error> {
        match self.places.interrupt(key, request_id) {
            Some(running) => self.break_off(key, running, heard).await,
            None => self.shorten(key, request_id, heard).await,
        }
    }

    /// Waits for the place of a turn that was asked to leave it, and commits what was heard in its name.
    async fn break_off(self: &Arc<Self>, key: &SessionKey, running: Running, heard: String) -> Result<Turn, Error> {
        let Running { begin, merged, followers } = running;
        let begin = BeginTurn::clone(&begin);
        let (request_id, said) = (begin.request_id.clone(), begin.messages.clone());
        let begin = BeginTurn { expected_revision: None, ..begin };
        match self.begin(key.clone(), begin, Coming::BreakOff).await? {
            // It was faster.
            Begun::Committed(committed) => {
                followers.committed(committed.turn.as_ref().unwrap_or(&Turn::default()));
                self.shorten(key, &request_id, heard).await
            }
            Begun::Running(mut turn, begun) => {
                turn.takes_over(merged, followers);
                let interrupted = Turn {
                    kind: TurnKind::Interrupted.into(),
                    input: begun.prepended_messages.into_iter().chain(said).collect(),
                    output: answer(heard),
                    finish_reason: FinishReason::Stop.into(),
                    ..Turn::default()
                };
                Ok(turn.commit(interrupted).await?.turn.unwrap_or_default())
            }
        }
    }

    /// Shortens the answer of the last turn of a session.
    async fn shorten(&self, key: &SessionKey, request_id: &str, heard: String) -> Result<Turn, Error> {
        let opening = Opening { key, request_id, window: None, turns: 0 };
        let opened = self.stores.turns.open(&opening).await.map_err(|error| of_store(&error))?;
        let session = opened.session.ok_or_else(|| error::not_found(key))?;
        let (turn, _) = opened.committed.ok_or_else(|| error::not_the_last(request_id))?;
        if turn.revision != session.revision {
            return Err(error::not_the_last(request_id));
        }
        let fence = Fence { uid: session.uid, epoch: session.epoch, revision: session.revision };
        let shortened = Turn {
            kind: TurnKind::Interrupted.into(),
            output: answer(heard),
            finish_reason: FinishReason::Stop.into(),
            ..turn
        };
        let replaced = self.stores.turns.replace_last(key, &fence, &shortened).await;
        if !replaced.map_err(|error| of_store(&error))? {
            return Err(error::conflict());
        }
        Ok(shortened)
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
