//! `SessionService`: decode, one call, encode.

mod names;
pub(crate) mod turns;

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use pointsman_errors::Error;
use pointsman_proto::inference::v1::Frame;
use pointsman_proto::mesh_context;
use pointsman_proto::sessions::v1::session_service_server::SessionService;
use pointsman_proto::sessions::v1::{
    AcknowledgeTurnsRequest, AcknowledgeTurnsResponse, AppendMessagesRequest, BindChannelRequest, CancelRunRequest,
    ChannelBinding, CreateSessionRequest, DeleteSessionRequest, DeleteSessionResponse, DeleteTurnGroupRequest,
    DeleteTurnGroupResponse, ErasureCause, ForkSessionRequest, GetChannelBindingRequest, GetRunRequest,
    GetSessionRequest, InterruptTurnRequest, ListChannelBindingsRequest, ListChannelBindingsResponse,
    ListErasuresRequest, ListErasuresResponse, ListRunsRequest, ListRunsResponse, ListSessionsRequest,
    ListSessionsResponse, ListTurnsRequest, ListTurnsResponse, ResolveSessionRequest, ResolveSessionResponse,
    ResumeRunRequest, Run, Session, Turn, UnbindChannelRequest, UpdateSessionRequest, UpdateTurnRequest,
    WatchTurnsRequest, WatchTurnsResponse,
};
use pointsman_types::{LOCAL_TENANT, new_request_id};
use prost::Message;
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tonic_types::FieldViolation;

use crate::error::{self, of_store};
use crate::feed::{self, Consumer};
use crate::sessions::Sessions;
use crate::settings;
use crate::store::sql::micros_of;
use crate::store::{Created, Listing};
use crate::tools;
use names::{Page, check_channel, check_messages, key, new_key, page, page_size};

/// What tenants see of their sessions.
pub(crate) struct Service(pub(crate) Arc<Sessions>);

/// Who asks: a gateway says it. Whoever calls directly is the local tenant.
struct Caller {
    tenant: Arc<str>,
    key: String,
    /// Where it may be answered, in order; none: everywhere.
    zones: Vec<String>,
}

fn caller(metadata: &MetadataMap) -> Result<Caller, Error> {
    let context = mesh_context::read(metadata).map_err(|violation| Error::invalid(vec![violation]))?;
    Ok(context.map_or_else(
        || Caller { tenant: LOCAL_TENANT.into(), key: String::new(), zones: Vec::new() },
        |context| {
            let mut zones = context.allowed_zones;
            zones.sort_unstable();
            zones.dedup();
            Caller { tenant: context.tenant.into(), key: context.key, zones }
        },
    ))
}

fn checked(session: Option<Session>) -> Result<Session, Error> {
    let session = session.unwrap_or_default();
    match settings::violations(&session) {
        violations if violations.is_empty() => Ok(session),
        violations => Err(Error::invalid(violations)),
    }
}

/// How many bytes of turns one page has, about.
const PAGE_BYTES: u64 = 3 << 20;

#[tonic::async_trait]
impl SessionService for Service {
    async fn create_session(&self, request: Request<CreateSessionRequest>) -> Result<Response<Session>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        let key = new_key(&caller.tenant, "session_id", &message.session_id)?;
        names::check_unnamed(message.session.as_ref(), Some(&message.session_id))?;
        Ok(Response::new(self.0.create(&key, checked(message.session)?).await?))
    }

    async fn get_session(&self, request: Request<GetSessionRequest>) -> Result<Response<Session>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        Ok(Response::new(self.0.get(&key(&caller.tenant, "name", &message.name)?).await?))
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        let labels: Vec<_> = message.labels.into_iter().collect();
        let limit = page_size(message.page_size)?;
        let listing = Listing {
            tenant: &caller.tenant,
            labels: &labels,
            updated_from: message.updated_after.as_ref().map_or(i64::MIN, |time| micros_of(Some(time))),
            updated_before: message.updated_before.as_ref().map_or(i64::MAX, |time| micros_of(Some(time))),
            after: page(&message.page_token)?.map(|page| (page.time, page.id)),
            limit: limit + 1,
        };
        let mut sessions = self.0.stores.sessions.list(&listing).await.map_err(|error| of_store(&error))?;
        let next_page_token = names::cut(&mut sessions, limit, |last| {
            let id = last.name.trim_start_matches("sessions/").to_owned();
            Page { time: micros_of(last.update_time.as_ref()), id }
        });
        Ok(Response::new(ListSessionsResponse { sessions, next_page_token }))
    }

    async fn update_session(&self, request: Request<UpdateSessionRequest>) -> Result<Response<Session>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        let session = checked(message.session)?;
        let key = key(&caller.tenant, "session.name", &session.name)?;
        let paths = settings::paths(&session, message.update_mask.as_ref()).map_err(Error::invalid)?;
        Ok(Response::new(self.0.update(&key, &session, &paths).await?))
    }

    async fn delete_session(
        &self,
        request: Request<DeleteSessionRequest>,
    ) -> Result<Response<DeleteSessionResponse>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        let key = key(&caller.tenant, "name", &message.name)?;
        let erasure = self.0.erase(&key, &caller.key, ErasureCause::Requested).await?;
        if erasure.is_none() && !message.allow_missing {
            return Err(error::not_found(&key).into());
        }
        Ok(Response::new(DeleteSessionResponse { erasure }))
    }

    async fn fork_session(&self, request: Request<ForkSessionRequest>) -> Result<Response<Session>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        let from = key(&caller.tenant, "name", &message.name)?;
        let to = new_key(&caller.tenant, "session_id", &message.session_id)?;
        Ok(Response::new(self.0.fork(&from, message.revision, &to).await?))
    }

    async fn append_messages(&self, request: Request<AppendMessagesRequest>) -> Result<Response<Turn>, Status> {
        let (caller, mut message) = (caller(request.metadata())?, request.into_inner());
        let key = key(&caller.tenant, "name", &message.name)?;
        check_messages(&message.messages, &message.request_id)?;
        if let [call, ..] = tools::without_results(&message.messages).as_slice() {
            let wrong = format!("has the call `{call}` without its result; append both at once");
            return Err(Error::invalid(vec![FieldViolation::new("messages", wrong)]).into());
        }
        check_channel(&message.channel, false)?;
        if message.request_id.is_empty() {
            message.request_id = new_request_id();
        }
        let asked = AppendMessagesRequest { request_id: String::new(), ..message.clone() };
        let digest = names::digest(&asked.encode_to_vec());
        Ok(Response::new(self.0.append(&key, message, digest).await?))
    }

    async fn list_turns(&self, request: Request<ListTurnsRequest>) -> Result<Response<ListTurnsResponse>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        let key = key(&caller.tenant, "name", &message.name)?;
        let session = self.0.get(&key).await?;
        let (after, limit) = (message.after_revision, page_size(message.page_size)?);
        let turns = self.0.stores.turns.list(&key, after, limit, PAGE_BYTES).await.map_err(|error| of_store(&error))?;
        let last = turns.last().map_or(after, |turn| turn.revision);
        let next_after_revision = if last < session.revision { last } else { 0 };
        Ok(Response::new(ListTurnsResponse { turns, next_after_revision }))
    }

    async fn update_turn(&self, request: Request<UpdateTurnRequest>) -> Result<Response<Turn>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        let key = key(&caller.tenant, "name", &message.name)?;
        Ok(Response::new(self.0.pin(&key, message.revision, message.pinned).await?))
    }

    async fn resolve_session(
        &self,
        request: Request<ResolveSessionRequest>,
    ) -> Result<Response<ResolveSessionResponse>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        check_channel(&message.channel, true)?;
        names::check_person("external_user", &message.external_user)?;
        names::check_unnamed(message.session.as_ref(), None)?;
        let key = new_key(&caller.tenant, "session_id", "")?;
        let who = (message.channel.as_str(), message.external_user.as_str());
        let (session, created) = self.0.resolve(&key, who, checked(message.session)?).await?;
        Ok(Response::new(ResolveSessionResponse { session: Some(session), created: created == Created::Yes }))
    }

    async fn bind_channel(&self, request: Request<BindChannelRequest>) -> Result<Response<ChannelBinding>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        let missing = || Error::invalid(vec![FieldViolation::new("binding", "is required")]);
        let binding = message.binding.ok_or_else(missing)?;
        names::check_label("binding.channel", &binding.channel)?;
        names::check_person("binding.external_user", &binding.external_user)?;
        let key = key(&caller.tenant, "binding.session", &binding.session)?;
        Ok(Response::new(self.0.bind(&key, &binding.channel, &binding.external_user).await?))
    }

    async fn get_channel_binding(
        &self,
        request: Request<GetChannelBindingRequest>,
    ) -> Result<Response<ChannelBinding>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        let who = names::who(&caller.tenant, &message.channel, &message.external_user)?;
        Ok(Response::new(self.0.binding(&who).await?))
    }

    async fn unbind_channel(&self, request: Request<UnbindChannelRequest>) -> Result<Response<ChannelBinding>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        let who = names::who(&caller.tenant, &message.channel, &message.external_user)?;
        Ok(Response::new(self.0.unbind(&who).await?))
    }

    async fn list_channel_bindings(
        &self,
        request: Request<ListChannelBindingsRequest>,
    ) -> Result<Response<ListChannelBindingsResponse>, Status> {
        /// As `ListChannelBindingsResponse.bindings` says.
        const MOST: u32 = 1000;
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        let key = key(&caller.tenant, "name", &message.name)?;
        self.0.get(&key).await?;
        let bindings = self.0.stores.bindings.list(&key, MOST).await.map_err(|error| of_store(&error))?;
        Ok(Response::new(ListChannelBindingsResponse { bindings }))
    }

    async fn interrupt_turn(&self, request: Request<InterruptTurnRequest>) -> Result<Response<Turn>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        let key = key(&caller.tenant, "name", &message.name)?;
        names::check_heard(&message)?;
        Ok(Response::new(self.0.interrupt(&key, &message.request_id, message.heard_text).await?))
    }

    async fn get_run(&self, request: Request<GetRunRequest>) -> Result<Response<Run>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        let key = key(&caller.tenant, "name", &message.name)?;
        names::check_request_id(&message.request_id)?;
        Ok(Response::new(self.0.run(&key, &message.request_id).await?))
    }

    async fn list_runs(&self, request: Request<ListRunsRequest>) -> Result<Response<ListRunsResponse>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        let key = key(&caller.tenant, "name", &message.name)?;
        self.0.get(&key).await?;
        let limit = page_size(message.page_size)?;
        let before = page(&message.page_token)?.map(|page| (page.time, page.id));
        let found = self.0.stores.runs.list(&key, before, limit + 1, crate::run::now()).await;
        let mut runs = found.map_err(|error| of_store(&error))?;
        let next_page_token = names::cut(&mut runs, limit, |last| Page {
            time: micros_of(last.create_time.as_ref()),
            id: last.request_id.clone(),
        });
        Ok(Response::new(ListRunsResponse { runs, next_page_token }))
    }

    type ResumeRunStream = BoxStream<'static, Result<Frame, Status>>;

    async fn resume_run(&self, request: Request<ResumeRunRequest>) -> Result<Response<Self::ResumeRunStream>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        let key = key(&caller.tenant, "name", &message.name)?;
        names::check_request_id(&message.request_id)?;
        let frames = Arc::clone(&self.0).resume_run(key, message.request_id, message.after_sequence).await?;
        Ok(Response::new(frames.map(|frame| frame.map_err(Status::from)).boxed()))
    }

    async fn cancel_run(&self, request: Request<CancelRunRequest>) -> Result<Response<Run>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        let key = key(&caller.tenant, "name", &message.name)?;
        names::check_request_id(&message.request_id)?;
        Ok(Response::new(self.0.cancel_run(&key, &message.request_id).await?))
    }

    type WatchTurnsStream = BoxStream<'static, Result<WatchTurnsResponse, Status>>;

    async fn watch_turns(
        &self,
        request: Request<WatchTurnsRequest>,
    ) -> Result<Response<Self::WatchTurnsStream>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        names::check_label("group", &message.group)?;
        check_channel(&message.channel, false)?;
        let (sender, receiver) = mpsc::channel(1);
        let consumer = Consumer {
            tenant: caller.tenant,
            time: feed::time(message.acknowledge_within)?,
            group: message.group,
            name: uuid::Uuid::new_v4().simple().to_string(),
            sender,
        };
        self.0.join(&consumer, &message.channel, message.from_the_beginning).await?;
        tokio::spawn(Arc::clone(&self.0).tell(consumer, message.channel, message.from_the_beginning));
        let told = |mut receiver: mpsc::Receiver<_>| async move { Some((receiver.recv().await?, receiver)) };
        let drain = self.0.drain.clone();
        // It never ends by itself, and would hold up the end of the process.
        let told = futures::stream::unfold(receiver, told).take_until(async move { drain.begun().await });
        Ok(Response::new(told.boxed()))
    }

    async fn acknowledge_turns(
        &self,
        request: Request<AcknowledgeTurnsRequest>,
    ) -> Result<Response<AcknowledgeTurnsResponse>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        if message.tokens.len() > 1000 {
            return Err(Error::invalid(vec![FieldViolation::new("tokens", "give at most 1,000")]).into());
        }
        let late_count = self.0.acknowledge(&caller.tenant, &message.tokens).await?;
        Ok(Response::new(AcknowledgeTurnsResponse { late_count }))
    }

    async fn delete_turn_group(
        &self,
        request: Request<DeleteTurnGroupRequest>,
    ) -> Result<Response<DeleteTurnGroupResponse>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        names::check_label("group", &message.group)?;
        let existed = self.0.end_group(&caller.tenant, &message.group).await?;
        Ok(Response::new(DeleteTurnGroupResponse { existed }))
    }

    async fn list_erasures(
        &self,
        request: Request<ListErasuresRequest>,
    ) -> Result<Response<ListErasuresResponse>, Status> {
        let (caller, message) = (caller(request.metadata())?, request.into_inner());
        let limit = page_size(message.page_size)?;
        let before = page(&message.page_token)?.map(|page| (page.time, page.id));
        let found = self.0.stores.erasures.list(&caller.tenant, before, limit + 1).await;
        let mut erasures = found.map_err(|error| of_store(&error))?;
        let next_page_token = names::cut(&mut erasures, limit, |last| Page {
            time: micros_of(last.erase_time.as_ref()),
            id: last.uid.clone(),
        });
        Ok(Response::new(ListErasuresResponse { erasures, next_page_token }))
    }
}
