//! `InferenceService`, as callers see it.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use pointsman_errors::Error;
use pointsman_proto::inference::v1::inference_service_server::InferenceService;
use pointsman_proto::inference::v1::{
    DescribeRequest, DescribeResponse, Frame, GenerateRequest, GenerateResponse, TargetDescription,
};
use pointsman_proto::metadata::TRACE_ID;
use pointsman_proto::{Valid, mesh_context};
use pointsman_server::Deadline;
use pointsman_telemetry::propagation;
use pointsman_types::Origin;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Response, Status};
use tracing::Span;

use crate::caller::Caller;
use crate::config::Scope;
use crate::exchange::{Answer, Exchange, Gateway};
use crate::metrics::SurfaceName;
use crate::span;

/// The gRPC surface.
pub(crate) struct Grpc(pub(crate) Arc<Gateway>);

impl Grpc {
    fn caller(&self, metadata: &MetadataMap, extensions: &Extensions) -> Result<Caller, Error> {
        let context = mesh_context::read(metadata).map_err(|violation| Error::invalid(vec![violation]))?;
        let origin = extensions.get::<Origin>().copied().unwrap_or_default();
        self.0.callers.authenticate(metadata.as_ref(), origin, context)
    }

    /// Answers, and names the trace in whatever comes of it.
    async fn answer(&self, request: Request<GenerateRequest>) -> Result<Response<Answer>, Status> {
        let (metadata, extensions, message) = request.into_parts();
        let caller = self.caller(&metadata, &extensions)?;
        let surface = SurfaceName::Grpc;
        let span = span::operation(&message, &caller, surface, metadata.as_ref());
        let deadline = extensions.get::<Deadline>().copied();
        let answer = match Valid::new(message) {
            Ok(request) => self.0.answer(Exchange { surface, caller, request, deadline, span: span.clone() }).await,
            Err(violations) => {
                let error = Error::invalid(violations);
                span::failed(&span, error.reason().name());
                Err(error)
            }
        };
        match answer {
            Ok(answer) => {
                let mut response = Response::new(answer);
                name_trace(&span, response.metadata_mut());
                Ok(response)
            }
            Err(error) => {
                let mut status = Status::from(error);
                name_trace(&span, status.metadata_mut());
                Err(status)
            }
        }
    }
}

fn name_trace(span: &Span, metadata: &mut MetadataMap) {
    if let Some(value) = propagation::trace_id(span).and_then(|id| id.parse().ok()) {
        metadata.insert(TRACE_ID, value);
    }
}

#[tonic::async_trait]
impl InferenceService for Grpc {
    type GenerateStreamStream = BoxStream<'static, Result<Frame, Status>>;

    async fn generate_stream(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<Self::GenerateStreamStream>, Status> {
        let answer = self.answer(request).await?;
        Ok(answer.map(|answer| answer.map(|frame| frame.map_err(Status::from)).boxed()))
    }

    async fn generate(&self, request: Request<GenerateRequest>) -> Result<Response<GenerateResponse>, Status> {
        let (metadata, answer, extensions) = self.answer(request).await?.into_parts();
        Ok(Response::from_parts(metadata, answer.fold().await?, extensions))
    }

    async fn describe(&self, request: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        let (metadata, extensions, _) = request.into_parts();
        self.caller(&metadata, &extensions)?.require(Scope::Describe)?;
        let targets: Vec<TargetDescription> =
            self.0.fleet.targets().iter().map(|target| target.description.clone()).collect();
        Ok(Response::new(DescribeResponse {
            instance: self.0.instance.clone(),
            zone: String::new(),
            pointsman_version: env!("CARGO_PKG_VERSION").to_owned(),
            targets,
        }))
    }
}
