//! A turn that answers others along with its own request, or is answered along with another.

use std::sync::Arc;
use std::time::Duration;

use pointsman_errors::Error;
use pointsman_proto::sessions::v1::{BeginTurn, SecondTurn, TurnBegun};
use tokio::time::Instant;

use super::{Access, Coming, Right, Standing};
use crate::merge::{self, Fate, Guest, Joined, Together};
use crate::sessions::Sessions;
use crate::store::SessionKey;
use crate::turn::RunningTurn;

impl Sessions {
    /// Waits until another answers for this one, or for the place.
    pub(super) async fn taken_along(
        &self,
        key: &SessionKey,
        standing: Standing,
        guest: Guest,
    ) -> Result<Access, Error> {
        let mut joined = standing.person().join(guest);
        let fate = tokio::select! {
            biased;
            fate = joined.fate() => fate,
            seat = standing.sit() => {
                let right = self.in_time(key, seat).await?;
                return Ok(Access::Right(Right { joined: Some(joined), ..right }));
            }
        };
        match fate {
            Fate::Taken(ends) => Err(merge::told(ends).await),
            Fate::Refused(error) => Err(error),
            Fate::Again => Ok(Access::Again),
        }
    }
}

impl RunningTurn {
    /// Joins those who may be answered together, where the session has it so.
    pub(super) fn joins(
        &self,
        joined: Option<Joined>,
        begin: &BeginTurn,
        coming: &Coming,
        since: Instant,
    ) -> Option<Joined> {
        match (self.session.second_turn(), coming) {
            (SecondTurn::Merge, Coming::Ask(zones)) => {
                let guest = Guest::new(begin, zones, since, &self.session);
                joined.or_else(|| Some(self.seat.person().join(guest)))
            }
            _ => None,
        }
    }

    /// Lets others come until then.
    pub(super) async fn collects(&mut self, until: Instant) -> Result<(), Error> {
        tokio::select! {
            error = self.given_up() => Err(error),
            () = tokio::time::sleep_until(until) => Ok(()),
        }
    }

    /// Takes up what it answers, and says what that is.
    pub(super) fn answers(&mut self, begin: &BeginTurn, together: Together, waited: Duration) -> TurnBegun {
        let Together { before, after, data_class, requests, followers } = together;
        (self.merged, self.followers) = (requests, followers);
        // Its messages may be long: they are written anew only where others stand around them.
        let together = (!(before.is_empty() && after.is_empty()))
            .then(|| before.iter().chain(&begin.messages).chain(&after).cloned().collect());
        self.seat.changes(|running| {
            let begin = Arc::make_mut(&mut running.begin);
            begin.data_class = data_class;
            if let Some(messages) = together {
                begin.messages = messages;
            }
            running.uid.clone_from(&self.session.uid);
            (running.merged, running.followers) = (self.merged.clone(), self.followers.clone());
        });
        TurnBegun {
            session: Some(self.session.clone()),
            fence: Some(self.fence()),
            omitted_turns: self.session.revision.saturating_sub(self.history.len() as u64),
            history: self.history.clone(),
            prepended_messages: before,
            lease_wait: waited.try_into().ok(),
            appended_messages: after,
            data_class,
            merged_requests: self.merged.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
