//! Turns as they are told to groups of consumers: at least once, in order within a session.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pointsman_errors::Error;
use pointsman_proto::sessions::v1::WatchTurnsResponse;
use tokio::sync::mpsc;
use tonic::Status;
use tonic_types::FieldViolation;

use crate::error::of_store;
use crate::sessions::Sessions;
use crate::store::{Claim, Claimed, Group, SessionKey, micros};

/// How many sessions are taken at a time.
const CLAIM: u32 = 16;
/// How many turns of one are told at a time, and of how many bytes.
const TURNS: (u32, u64) = (100, 1 << 20);
/// Longer than a commit is on its way in the database.
const COMMIT_TAKES: Duration = Duration::from_secs(5);
/// How often it is looked for what other processes have committed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A consumer, and where it gets its turns.
pub(crate) struct Consumer {
    pub(crate) tenant: Arc<str>,
    pub(crate) group: String,
    /// Its own name.
    pub(crate) name: String,
    /// How long it may take to acknowledge.
    pub(crate) time: Duration,
    pub(crate) sender: mpsc::Sender<Result<WatchTurnsResponse, Status>>,
}

/// What acknowledges the turns of one session.
#[derive(Debug, PartialEq)]
pub(crate) struct Token {
    group: String,
    consumer: String,
    uid: String,
    revision: u64,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, consumer, uid, revision } = self;
        f.write_str(&hex::encode(format!("{group}/{consumer}/{uid}/{revision}")))
    }
}

impl FromStr for Token {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = String::from_utf8(hex::decode(text).map_err(drop)?).map_err(drop)?;
        let [group, consumer, uid, revision] = text.split('/').collect::<Vec<_>>()[..] else { return Err(()) };
        let [group, consumer, uid] = [group, consumer, uid].map(str::to_owned);
        Ok(Self { group, consumer, uid, revision: revision.parse().map_err(drop)? })
    }
}

impl Sessions {
    /// Joins a group, which has the channel that it was made with.
    pub(crate) async fn join(&self, consumer: &Consumer, channel: &str, from_the_beginning: bool) -> Result<(), Error> {
        let joined = self.stores.feed.join(&consumer.group(), channel, from_the_beginning).await;
        let found = joined.map_err(|error| of_store(&error))?;
        if found == channel {
            return Ok(());
        }
        let made = if found.is_empty() {
            "for all channels: give none".to_owned()
        } else {
            format!("for the channel `{found}`: give that")
        };
        let message = format!("the group was made {made}, or take another group");
        Err(Error::invalid(vec![FieldViolation::new("channel", message)]))
    }

    /// Tells a consumer turns until it leaves.
    pub(crate) async fn tell(self: Arc<Self>, consumer: Consumer, channel: String, from_the_beginning: bool) {
        tokio::select! {
            error = self.join_again(&consumer, &channel, from_the_beginning) => {
                let _ = consumer.sender.send(Err(error)).await;
            }
            error = self.tell_all(&consumer) => {
                let _ = consumer.sender.send(Err(error.into())).await;
            }
            () = consumer.sender.closed() => {}
        }
        // What fails here ends when its time is over.
        let _ = self.stores.feed.leave(&consumer.group(), &consumer.name).await;
    }

    /// Joins once more: a turn that was being committed when the group was made is told by neither until then.
    async fn join_again(&self, consumer: &Consumer, channel: &str, from_the_beginning: bool) -> Status {
        if from_the_beginning {
            tokio::time::sleep(COMMIT_TAKES).await;
            if let Err(error) = self.join(consumer, channel, true).await {
                return error.into();
            }
        }
        std::future::pending().await
    }

    async fn tell_all(&self, consumer: &Consumer) -> Error {
        loop {
            let committed = self.committed.notified();
            match self.tell_some(consumer).await {
                Ok(true) => {}
                Ok(false) => {
                    let _ = tokio::time::timeout(LOOK_EVERY, committed).await;
                }
                Err(error) => return error,
            }
        }
    }

    /// Tells what there is. False: there was nothing.
    async fn tell_some(&self, consumer: &Consumer) -> Result<bool, Error> {
        let now = SystemTime::now();
        let claim =
            Claim { consumer: &consumer.name, now: micros(now), until: micros(now + consumer.time), limit: CLAIM };
        let claimed = self.stores.feed.claim(&consumer.group(), &claim).await.map_err(|error| of_store(&error))?;
        for session in &claimed {
            self.tell_session(consumer, session).await?;
        }
        Ok(!claimed.is_empty())
    }

    async fn tell_session(&self, consumer: &Consumer, session: &Claimed) -> Result<(), Error> {
        let key = SessionKey { tenant: Arc::clone(&consumer.tenant), id: session.id.as_str().into() };
        let turns = self.stores.turns.list(&key, session.acknowledged, TURNS.0, TURNS.1).await;
        let turns = turns.map_err(|error| of_store(&error))?;
        // It was erased since.
        let Some(last) = turns.last() else { return Ok(()) };
        let token = Token {
            group: consumer.group.clone(),
            consumer: consumer.name.clone(),
            uid: session.uid.clone(),
            revision: last.revision,
        };
        let told = WatchTurnsResponse { session: format!("sessions/{}", session.id), turns, token: token.to_string() };
        // Whoever has left is noticed elsewhere.
        let _ = consumer.sender.send(Ok(told)).await;
        Ok(())
    }

    /// Acknowledges turns. Returns how many tokens came too late.
    pub(crate) async fn acknowledge(&self, tenant: &str, tokens: &[String]) -> Result<u32, Error> {
        let mut read = Vec::new();
        for (index, token) in tokens.iter().enumerate() {
            let mistake = || FieldViolation::new(format!("tokens[{index}]"), "must be a token, as it came");
            read.push(token.parse::<Token>().map_err(|()| Error::invalid(vec![mistake()]))?);
        }
        let mut late = 0;
        for Token { group, consumer, uid, revision } in &read {
            let group = Group { tenant, name: group };
            let acknowledged = self.stores.feed.acknowledge(&group, consumer, uid, *revision).await;
            late += u32::from(!acknowledged.map_err(|error| of_store(&error))?);
        }
        // What comes after them may be told now.
        self.committed.notify_waiters();
        Ok(late)
    }

    pub(crate) async fn end_group(&self, tenant: &str, name: &str) -> Result<bool, Error> {
        self.stores.feed.end(&Group { tenant, name }).await.map_err(|error| of_store(&error))
    }
}

impl Consumer {
    fn group(&self) -> Group<'_> {
        Group { tenant: &self.tenant, name: &self.group }
    }
}

/// How long a consumer may take, as it says.
pub(crate) fn time(given: Option<prost_types::Duration>) -> Result<Duration, Error> {
    let Some(given) = given else { return Ok(Duration::from_secs(30)) };
    let time = Duration::try_from(given).ok().filter(|time| (1..=600).contains(&time.as_secs()));
    let violation = || FieldViolation::new("acknowledge_within", "must be 1 s to 10 min");
    time.ok_or_else(|| Error::invalid(vec![violation()]))
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn tokens_are_read_as_they_were_written() {
        let token = Token { group: "crm:eu".into(), consumer: "c".into(), uid: "u-1".into(), revision: 7 };
        assert_eq!(token.to_string().parse(), Ok(token));
        for bad in ["", "zz", "612f62", &hex::encode("a/b/c/d"), &hex::encode("a/b/c/1/2")] {
            assert_eq!(bad.parse::<Token>(), Err(()), "{bad}");
        }
    }
}
