//! `InferenceService`, as callers see it.

pub(crate) mod trailers;
mod unary;

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::inference_service_server::InferenceService;
use pointsman_proto::inference::v1::{
    CountTokensRequest, CountTokensResponse, DescribeRequest, DescribeResponse, EmbedRequest, EmbedResponse, Frame,
    GenerateRequest, GenerateResponse, Load, ResumeRequest, WatchLoadRequest,
};
use pointsman_proto::metadata::STATIC_ANSWER;
use pointsman_proto::{Valid, mesh_context};
use pointsman_server::Deadline;
use pointsman_telemetry::propagation;
use pointsman_types::{Origin, new_request_id};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Extensions, Request, Response, Status};

use crate::caller::Caller;
use crate::config::Scope;
use crate::exchange::{Answer, Exchange, Gateway, Resume};
use crate::frame_log::token::Token;
use crate::metrics::SurfaceName;
use crate::span;
use crate::surfaces::named::Named;
use trailers::Trailers;

type Frames = BoxStream<'static, Result<Frame, Status>>;

/// The gRPC surface.
pub(crate) struct Grpc(pub(crate) Arc<Gateway>);

/// Who calls: over gRPC a peer of the mesh may say it.
pub(crate) fn caller(gateway: &Gateway, metadata: &MetadataMap, extensions: &Extensions) -> Result<Caller, Error> {
    let context = mesh_context::read(metadata).map_err(|violation| Error::invalid(vec![violation]))?;
    let origin = extensions.get::<Origin>().copied().unwrap_or_default();
    gateway.callers.authenticate(metadata.as_ref(), origin, context)
}

impl Grpc {
    /// Answers, and returns what every response names beside it, whatever comes of it.
    async fn answer(&self, request: Request<GenerateRequest>, is_streamed: bool) -> (Named, Result<Answer, Error>) {
        let (metadata, extensions, mut message) = request.into_parts();
        let mut named = Named::new(new_request_id());
        let is_named = !message.request_id.is_empty() || message.resume_window.is_some() || message.detach;
        let surface = SurfaceName::Grpc;
        let caller = match caller(&self.0, &metadata, &extensions) {
            Ok(caller) => caller,
            Err(error) => return (named, Err(self.0.refuse(surface, error))),
        };
        if message.request_id.is_empty() {
            if is_named {
                named.request = self.0.own_name(&caller.tenant);
            }
            message.request_id.clone_from(&named.request);
        }
        let span = span::operation(&message, &caller, surface, metadata.as_ref());
        named.trace = propagation::trace_id(&span).map(Into::into);
        let request = match Valid::new(message) {
            Ok(request) => request,
            Err(violations) => {
                let error = self.0.refuse(surface, Error::invalid(violations));
                span::failed(&span, error.reason().name());
                return (named, Err(error));
            }
        };
        named.request.clone_from(&request.request_id);
        let deadline = extensions.get::<Deadline>().copied();
        // A gateway before this one names every request: it says which of them are to be kept.
        let keep = if caller.hops > 0 { caller.keep_frames } else { is_named };
        let exchange = Exchange {
            surface,
            caller,
            request,
            is_streamed,
            keep,
            after: None,
            deadline,
            span,
            trace: named.trace.clone(),
            trail: Arc::clone(&named.trail),
        };
        (named, self.0.answer(exchange).await)
    }

    async fn take_up(&self, request: Request<ResumeRequest>) -> (Named, Result<Answer, Error>) {
        let (metadata, extensions, ResumeRequest { resume_token, after_sequence }) = request.into_parts();
        let mut named = Named::new(new_request_id());
        let surface = SurfaceName::Grpc;
        let caller = match caller(&self.0, &metadata, &extensions) {
            Ok(caller) => caller,
            Err(error) => return (named, Err(self.0.refuse(surface, error))),
        };
        let span = span::resume(&caller, metadata.as_ref());
        named.trace = propagation::trace_id(&span).map(Into::into);
        let trail = Arc::clone(&named.trail);
        if let Ok(token) = resume_token.parse::<Token>() {
            named.request = token.request_id;
        }
        let trace = named.trace.clone();
        let resume = Resume { surface, caller, token: resume_token, after: after_sequence, span, trace, trail };
        (named, self.0.resume(resume).await)
    }
}

/// The frames of an answer, and what is said beside them: before, and in the trailers.
fn streamed(named: Named, answer: Result<Answer, Error>) -> Result<Response<Frames>, Status> {
    let answer = answer.map_err(|error| status(&named, error))?;
    let (is_static, trailers, ending) = (answer.is_static(), Trailers::of(&named), named.clone());
    let frames = answer.map(move |frame| frame.map_err(|error| status(&ending, error))).boxed();
    let mut response = response(&named, is_static, frames);
    response.extensions_mut().insert(trailers);
    Ok(response)
}

fn response<T>(named: &Named, is_static: bool, message: T) -> Response<T> {
    let mut response = Response::new(message);
    write(named, response.metadata_mut());
    if is_static {
        response.metadata_mut().insert(STATIC_ANSWER, MetadataValue::from_static("true"));
    }
    response
}

fn status(named: &Named, error: Error) -> Status {
    let mut status = Status::from(error);
    write(named, status.metadata_mut());
    status
}

fn write(named: &Named, metadata: &mut MetadataMap) {
    named.each(|name, value| {
        if let Ok(value) = value.parse() {
            metadata.insert(name, value);
        }
    });
}

#[tonic::async_trait]
impl InferenceService for Grpc {
    type GenerateStreamStream = Frames;

    async fn generate_stream(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<Self::GenerateStreamStream>, Status> {
        let (named, answer) = self.answer(request, true).await;
        streamed(named, answer)
    }

    async fn generate(&self, request: Request<GenerateRequest>) -> Result<Response<GenerateResponse>, Status> {
        let (named, answer) = self.answer(request, false).await;
        let (is_static, whole) = match answer {
            Ok(answer) => (answer.is_static(), answer.fold().await),
            Err(error) => (false, Err(error)),
        };
        whole.map(|whole| response(&named, is_static, whole)).map_err(|error| status(&named, error))
    }

    type ResumeStream = Frames;

    async fn resume(&self, request: Request<ResumeRequest>) -> Result<Response<Self::ResumeStream>, Status> {
        let (named, answer) = self.take_up(request).await;
        streamed(named, answer)
    }

    async fn embed(&self, request: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        let (named, answer) = self.embedded(request).await;
        answer.map(|answer| response(&named, false, answer)).map_err(|error| status(&named, error))
    }

    async fn count_tokens(
        &self,
        request: Request<CountTokensRequest>,
    ) -> Result<Response<CountTokensResponse>, Status> {
        let (named, answer) = self.counted(request).await;
        answer.map(|answer| response(&named, false, answer)).map_err(|error| status(&named, error))
    }

    async fn describe(&self, request: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        let (metadata, extensions, _) = request.into_parts();
        // A gateway that has this one as an instance asks for itself, and for no caller.
        let tenant = if extensions.get::<Origin>().copied().unwrap_or_default().is_trusted() {
            None
        } else {
            let caller = caller(&self.0, &metadata, &extensions)?;
            caller.require(Scope::Describe)?;
            Some(caller.tenant)
        };
        let targets = self.0.describe(tenant.as_deref());
        Ok(Response::new(DescribeResponse {
            instance: self.0.instance.clone(),
            zone: self.0.zone.to_string(),
            pointsman_version: env!("CARGO_PKG_VERSION").to_owned(),
            targets,
        }))
    }

    type WatchLoadStream = BoxStream<'static, Result<Load, Status>>;

    async fn watch_load(&self, _: Request<WatchLoadRequest>) -> Result<Response<Self::WatchLoadStream>, Status> {
        let message = "a gateway has no load of its own; ask its instances";
        Err(Error::new(Reason::RouteNotFound, message).into())
    }
}
