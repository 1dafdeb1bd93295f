//! A client of stored conversations.

use anyhow::{Result, anyhow, bail};
use pointsman_client::Channel;
use pointsman_proto::sessions::v1::session_service_client::SessionServiceClient;
use pointsman_proto::sessions::v1::{GetSessionRequest, ListTurnsRequest, Session, Turn};
use tonic::{Code, Request, Response, Status};

use super::{Mesh, explain};
use crate::arguments::sessions::SessionName;

/// The largest message that is read. A page of turns has some 4 MiB; a turn with pictures may have more.
const LARGEST_PAGE: usize = 64 << 20;
/// Turns that are asked for at once.
const TURNS_PER_PAGE: u32 = 1_000;

/// The stored conversations of a mesh.
pub(crate) struct Sessions {
    client: SessionServiceClient<Channel>,
    mesh: Mesh,
}

impl Sessions {
    pub(crate) fn of(mesh: &Mesh) -> Self {
        let client = SessionServiceClient::new(mesh.channel.clone()).max_decoding_message_size(LARGEST_PAGE);
        Self { client, mesh: mesh.clone() }
    }

    /// Makes a call: `sessions.call(request, async |client, request| client.get_session(request).await)`.
    pub(crate) async fn call<Q, R>(
        &mut self,
        message: Q,
        method: impl AsyncFnOnce(&mut SessionServiceClient<Channel>, Request<Q>) -> Result<Response<R>, Status>,
    ) -> Result<R> {
        let request = self.mesh.request(message)?;
        let response = method(&mut self.client, request).await;
        Ok(response.map_err(|status| self.explain(&status))?.into_inner())
    }

    /// Turns a status into what to do.
    pub(crate) fn explain(&self, status: &Status) -> anyhow::Error {
        explain(status, &self.mesh.address)
    }

    /// Returns a session.
    pub(crate) async fn get(&mut self, name: &SessionName) -> Result<Session> {
        let request = GetSessionRequest { name: name.to_string() };
        self.call(request, async |client, request| client.get_session(request).await).await
    }

    /// Returns a session, if there is one of that name.
    pub(crate) async fn find(&mut self, name: &SessionName) -> Result<Option<Session>> {
        let request = self.mesh.request(GetSessionRequest { name: name.to_string() })?;
        match self.client.get_session(request).await {
            Ok(session) => Ok(Some(session.into_inner())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(self.explain(&status)),
        }
    }

    /// Reads the turns after a revision, page by page.
    pub(crate) fn turns_after(&mut self, name: &SessionName, revision: u64) -> Turns<'_> {
        Turns { name: name.clone(), sessions: self, read: revision, more: true }
    }
}

/// Turns that are read page by page.
pub(crate) struct Turns<'a> {
    sessions: &'a mut Sessions,
    name: SessionName,
    /// The revision of the last one.
    read: u64,
    more: bool,
}

impl Turns<'_> {
    /// Returns the next turns; `None` after the last. A turn that is missing is an error.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Turn>>> {
        if !self.more {
            return Ok(None);
        }
        let (name, after_revision) = (self.name.to_string(), self.read);
        let request = ListTurnsRequest { name, after_revision, page_size: TURNS_PER_PAGE };
        let page = self.sessions.call(request, async |client, request| client.list_turns(request).await).await?;
        for turn in &page.turns {
            self.expect(turn.revision)?;
        }
        self.more = page.next_after_revision != 0;
        if self.more && (page.turns.is_empty() || page.next_after_revision != self.read) {
            bail!("{} ends after turn {}, and is said to go on", self.name, self.read);
        }
        Ok(Some(page.turns))
    }

    fn expect(&mut self, revision: u64) -> Result<()> {
        self.read += 1;
        if revision == self.read {
            return Ok(());
        }
        Err(anyhow!("{} has turn {revision} where turn {} should be: the store is not whole", self.name, self.read))
    }
}

#[cfg(test)]
mod tests;
