//! The sessions of the mesh in memory.

use futures::stream::{BoxStream, StreamExt};
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Delta, Frame, delta};
use pointsman_proto::sessions::v1::session_service_server::SessionService;
use pointsman_proto::sessions::v1::*;
use tonic::{Request, Response, Status, async_trait};

use super::{FakeMesh, PAGE, missing};

type Answer<T> = Result<Response<T>, Status>;

/// Returns a page of what is listed, and the token of the next one. A token is a place in the list.
fn page<T: Clone>(all: &[T], size: u32, token: &str) -> (Vec<T>, String) {
    let begin = token.parse().unwrap_or(0);
    let size = if size == 0 { PAGE } else { PAGE.min(size as usize) };
    let end = all.len().min(begin + size);
    (all[begin..end].to_vec(), if end < all.len() { end.to_string() } else { String::new() })
}

#[async_trait]
impl SessionService for FakeMesh {
    async fn create_session(&self, request: Request<CreateSessionRequest>) -> Answer<Session> {
        let request = request.into_inner();
        let name = format!("sessions/{}", request.session_id);
        Ok(Response::new(self.state().create(&name, request.session.unwrap_or_default())?))
    }

    async fn get_session(&self, request: Request<GetSessionRequest>) -> Answer<Session> {
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer pm_1");
        Ok(Response::new(self.state().found(&request.get_ref().name)?.0.clone()))
    }

    async fn list_sessions(&self, request: Request<ListSessionsRequest>) -> Answer<ListSessionsResponse> {
        let request = request.into_inner();
        let wanted = |session: &Session| {
            let seconds = session.update_time.unwrap().seconds;
            request.labels.iter().all(|(key, value)| session.labels.get(key) == Some(value))
                && request.updated_after.is_none_or(|after| seconds >= after.seconds)
                && request.updated_before.is_none_or(|before| seconds < before.seconds)
        };
        let state = self.state();
        let mut all: Vec<Session> =
            state.sessions.values().map(|(session, _)| session.clone()).filter(wanted).collect();
        all.sort_by_key(|session| std::cmp::Reverse(session.update_time.unwrap().seconds));
        let (sessions, next_page_token) = page(&all, request.page_size, &request.page_token);
        Ok(Response::new(ListSessionsResponse { sessions, next_page_token }))
    }

    async fn update_session(&self, request: Request<UpdateSessionRequest>) -> Answer<Session> {
        let UpdateSessionRequest { session, update_mask } = request.into_inner();
        let wanted = session.unwrap();
        let mut state = self.state();
        let (session, _) = state.found(&wanted.name)?;
        if !wanted.etag.is_empty() && wanted.etag != session.etag {
            return Err(Status::aborted("the session has another etag"));
        }
        for path in update_mask.unwrap().paths {
            match path.as_str() {
                "title" => session.title.clone_from(&wanted.title),
                "system_prompt" => session.system_prompt.clone_from(&wanted.system_prompt),
                "labels" => session.labels.clone_from(&wanted.labels),
                "retention" => session.retention = wanted.retention,
                "second_turn" => session.second_turn = wanted.second_turn,
                "limits" => session.limits = wanted.limits,
                other => return Err(Status::invalid_argument(format!("update_mask: `{other}` is not known"))),
            }
        }
        session.etag.push('+');
        Ok(Response::new(session.clone()))
    }

    async fn delete_session(&self, request: Request<DeleteSessionRequest>) -> Answer<DeleteSessionResponse> {
        let erasure = Some(self.state().erase(&request.get_ref().name)?);
        Ok(Response::new(DeleteSessionResponse { erasure }))
    }

    async fn fork_session(&self, request: Request<ForkSessionRequest>) -> Answer<Session> {
        let request = request.into_inner();
        let mut state = self.state();
        let (session, turns) = state.found(&request.name)?.clone();
        let revision = request.revision.unwrap_or(session.revision);
        let name = format!("sessions/{}", request.session_id);
        let made = Session { forked_from: request.name, forked_at_revision: revision, revision: 0, ..session };
        state.create(&name, made)?;
        for turn in turns.into_iter().take_while(|turn| turn.revision <= revision) {
            state.commit(&name, turn)?;
        }
        Ok(Response::new(state.found(&name)?.0.clone()))
    }

    async fn append_messages(&self, request: Request<AppendMessagesRequest>) -> Answer<Turn> {
        let AppendMessagesRequest { name, messages, request_id, channel, pinned, .. } = request.into_inner();
        let kind = TurnKind::Appended.into();
        let turn = Turn { kind, input: messages, request_id, channel, pinned, ..Turn::default() };
        Ok(Response::new(self.state().commit(&name, turn)?))
    }

    async fn list_turns(&self, request: Request<ListTurnsRequest>) -> Answer<ListTurnsResponse> {
        let request = request.into_inner();
        let mut state = self.state();
        let turns = state.found(&request.name)?.1.clone();
        if let Some(happens) = state.after_page.take() {
            happens(&mut state);
        }
        let begin = turns.iter().position(|turn| turn.revision > request.after_revision).unwrap_or(turns.len());
        let (turns, next) = page(&turns, request.page_size, &begin.to_string());
        let next_after_revision = if next.is_empty() { 0 } else { turns.last().unwrap().revision };
        Ok(Response::new(ListTurnsResponse { turns, next_after_revision }))
    }

    async fn update_turn(&self, request: Request<UpdateTurnRequest>) -> Answer<Turn> {
        let UpdateTurnRequest { name, revision, pinned } = request.into_inner();
        let mut state = self.state();
        let turn = state.found(&name)?.1.iter_mut().find(|turn| turn.revision == revision);
        let turn = turn.ok_or_else(|| missing("such turn"))?;
        turn.pinned = pinned;
        Ok(Response::new(turn.clone()))
    }

    async fn resolve_session(&self, _: Request<ResolveSessionRequest>) -> Answer<ResolveSessionResponse> {
        Err(Status::unimplemented("no command resolves"))
    }

    async fn bind_channel(&self, _: Request<BindChannelRequest>) -> Answer<ChannelBinding> {
        Err(Status::unimplemented("no command binds"))
    }

    async fn get_channel_binding(&self, _: Request<GetChannelBindingRequest>) -> Answer<ChannelBinding> {
        Err(Status::unimplemented("no command looks people up"))
    }

    async fn unbind_channel(&self, _: Request<UnbindChannelRequest>) -> Answer<ChannelBinding> {
        Err(Status::unimplemented("no command unbinds"))
    }

    async fn list_channel_bindings(
        &self,
        request: Request<ListChannelBindingsRequest>,
    ) -> Answer<ListChannelBindingsResponse> {
        let mut bindings = self.state().bindings.clone();
        bindings.retain(|binding| binding.session == request.get_ref().name);
        Ok(Response::new(ListChannelBindingsResponse { bindings }))
    }

    async fn interrupt_turn(&self, _: Request<InterruptTurnRequest>) -> Answer<Turn> {
        Err(Status::unimplemented("no command interrupts"))
    }

    async fn get_run(&self, _: Request<GetRunRequest>) -> Answer<Run> {
        Err(Status::unimplemented("no command gets one"))
    }

    async fn list_runs(&self, request: Request<ListRunsRequest>) -> Answer<ListRunsResponse> {
        let request = request.into_inner();
        let (runs, next_page_token) = page(&self.state().runs, request.page_size, &request.page_token);
        Ok(Response::new(ListRunsResponse { runs, next_page_token }))
    }

    type ResumeRunStream = BoxStream<'static, Result<Frame, Status>>;

    async fn resume_run(&self, request: Request<ResumeRunRequest>) -> Answer<Self::ResumeRunStream> {
        let after = request.get_ref().after_sequence;
        let piece = |text: &str| {
            let content = Some(delta::Content::Text(text.to_owned()));
            Some(Body::Delta(Delta { content, ..Delta::default() }))
        };
        let frames = (1..).zip(["Hel", "lo"]).map(|(sequence, text)| Ok(Frame { sequence, body: piece(text) }));
        let failed = Err(Error::new(Reason::RunFailed, "the run has failed (ENGINE_LOST)").into());
        let rest = frames.filter(move |frame| frame.as_ref().is_ok_and(|frame: &Frame| frame.sequence > after));
        Ok(Response::new(futures::stream::iter(rest.chain([failed]).collect::<Vec<_>>()).boxed()))
    }

    async fn cancel_run(&self, request: Request<CancelRunRequest>) -> Answer<Run> {
        let CancelRunRequest { name, request_id } = request.into_inner();
        let state = RunState::Cancelled.into();
        Ok(Response::new(Run { session: name, request_id, state, ..Run::default() }))
    }

    type WatchTurnsStream = BoxStream<'static, Result<WatchTurnsResponse, Status>>;

    async fn watch_turns(&self, _: Request<WatchTurnsRequest>) -> Answer<Self::WatchTurnsStream> {
        Err(Status::unimplemented("no command watches"))
    }

    async fn acknowledge_turns(&self, _: Request<AcknowledgeTurnsRequest>) -> Answer<AcknowledgeTurnsResponse> {
        Err(Status::unimplemented("no command watches"))
    }

    async fn delete_turn_group(&self, _: Request<DeleteTurnGroupRequest>) -> Answer<DeleteTurnGroupResponse> {
        Err(Status::unimplemented("no command watches"))
    }

    async fn list_erasures(&self, request: Request<ListErasuresRequest>) -> Answer<ListErasuresResponse> {
        let request = request.into_inner();
        let (erasures, next_page_token) = page(&self.state().erasures, request.page_size, &request.page_token);
        Ok(Response::new(ListErasuresResponse { erasures, next_page_token }))
    }
}
