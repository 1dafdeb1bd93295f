//! Requests that another gateway answers, because it keeps their frames.

use std::sync::Arc;

use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::{MeshContext, ResumeRequest};
use pointsman_proto::mesh_context;
use pointsman_server::About;
use tonic::Request;
use tracing::Instrument;

use super::answer::Watched;
use super::operation::Operation;
use super::{Answer, Exchange, Gateway, Resume, Way};
use crate::caller::Caller;
use crate::frame_log::owner::Peer;
use crate::frame_log::relay::Relay;
use crate::frame_log::token::{EventId, Token};
use crate::frame_log::{Asked, Entered, Name, digest};

impl Gateway {
    /// Has the owner of a request answer it.
    pub(super) async fn answer_elsewhere(
        self: &Arc<Self>,
        exchange: Exchange,
        peer: &Peer,
        operation: Operation,
    ) -> Result<Answer, Error> {
        let mut watched = self.watched(exchange.about(), peer);
        // A turn is kept once, whoever answers it: its store sees to that where the owner cannot.
        let turn = (exchange.request.session.is_some() && exchange.after.is_none()).then(|| exchange.clone());
        let Exchange { caller, request, after, deadline, span, trail, .. } = exchange;
        let relay = if let Some(EventId { generation, .. }) = after {
            // From the beginning: the surface skips what its reader has.
            let owner = peer.name().to_string();
            let token = Token { owner, request_id: request.request_id.clone(), generation };
            let mut resume = Request::new(ResumeRequest { resume_token: token.to_string(), after_sequence: 0 });
            let context = MeshContext { request_digest: digest(&request), ..forwarded(&caller) };
            mesh_context::write(&context, resume.metadata_mut());
            let relay = Relay::resume(peer, resume, Arc::clone(&trail));
            let relay = watched.unless_ended(relay).instrument(span).await;
            if relay.is_ok() {
                trail.repeat();
            }
            relay
        } else {
            let mut request = Request::new(request.into_inner());
            mesh_context::write(&forwarded(&caller), request.metadata_mut());
            if let Some(deadline) = deadline {
                request.set_timeout(deadline.remaining());
            }
            watched.unless_ended(Relay::generate(peer, request, trail)).instrument(span).await
        };
        let is_lost = relay.as_ref().is_err_and(|error| error.reason() == Reason::FrameLogLost);
        if let Some(mut turn) = turn.filter(|_| is_lost) {
            // Its key was asked when it was passed on, and counts it still.
            turn.caller.limiter = None;
            if turn.request.detach {
                return self.run_here(turn, operation).await;
            }
            return self.answer_turn(turn, operation, String::new()).await;
        }
        Answer::elsewhere(relay, operation, Some(watched))
    }

    /// Runs what its owner cannot: the store sees to it that a run is begun once.
    async fn run_here(self: &Arc<Self>, exchange: Exchange, mut operation: Operation) -> Result<Answer, Error> {
        let name = Name {
            tenant: Arc::clone(&exchange.caller.tenant),
            request_id: exchange.request.request_id.as_str().into(),
        };
        let asked = Asked::new(&exchange.request, &exchange.caller.allowed_zones);
        let entered = self.frame_logs.enter(&name, asked, &exchange.trail);
        match entered.map_err(|error| operation.failed(error))? {
            Entered::Known(reader) => Answer::kept(exchange.trail.repeating(reader), Some(operation)).await,
            Entered::Stored => self.answer_turn(exchange, operation, String::new()).await,
            Entered::New(writer, reader) => self.write(Way::Turn, exchange, operation, (writer, reader)).await,
        }
    }

    /// Has the owner of a lost stream go on with it.
    pub(super) async fn resume_elsewhere(
        &self,
        resume: Resume,
        peer: &Peer,
        operation: Operation,
    ) -> Result<Answer, Error> {
        let mut watched = self.watched(resume.about(), peer);
        let message = ResumeRequest { resume_token: resume.token, after_sequence: resume.after };
        let mut request = Request::new(message);
        mesh_context::write(&forwarded(&resume.caller), request.metadata_mut());
        let relay = Relay::resume(peer, request, resume.trail);
        let relay = watched.unless_ended(relay).instrument(resume.span).await;
        Answer::elsewhere(relay, operation, Some(watched))
    }

    /// Lets operators see a request that another gateway answers, and end it here.
    fn watched(&self, about: About, peer: &Peer) -> Watched {
        let answering = self.requests.enter(about);
        answering.asked(&Arc::from(""), peer.name());
        Watched { ends: self.ends(&answering), answering }
    }
}

/// What the gateway that keeps a request's frames is told about it, and the store of its session.
pub(super) fn forwarded(caller: &Caller) -> MeshContext {
    MeshContext {
        tenant: caller.tenant.to_string(),
        key: caller.key.to_string(),
        allowed_zones: caller.allowed_zones.iter().map(|zone| zone.to_string()).collect(),
        hops: caller.hops,
        keep_frames: true,
        ..MeshContext::default()
    }
}
