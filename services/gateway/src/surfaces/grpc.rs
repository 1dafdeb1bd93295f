//! `InferenceService`, as callers see it.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use pointsman_errors::Error;
use pointsman_proto::inference::v1::inference_service_server::InferenceService;
use pointsman_proto::inference::v1::{
    DescribeRequest, DescribeResponse, Frame, GenerateRequest, GenerateResponse, TargetDescription,
};
use pointsman_proto::metadata::{REQUEST_ID, TRACE_ID};
use pointsman_proto::{Valid, mesh_context};
use pointsman_server::Deadline;
use pointsman_telemetry::propagation;
use pointsman_types::{Origin, new_request_id};
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Response, Status};

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

    /// Answers, and returns what every response names beside it, whatever comes of it.
    async fn answer(&self, request: Request<GenerateRequest>) -> (Named, Result<Answer, Error>) {
        let (metadata, extensions, mut message) = request.into_parts();
        if message.request_id.is_empty() {
            message.request_id = new_request_id();
        }
        let mut named = Named { request: message.request_id.clone(), trace: None };
        let surface = SurfaceName::Grpc;
        let caller = match self.caller(&metadata, &extensions) {
            Ok(caller) => caller,
            Err(error) => return (named, Err(self.0.refuse(surface, error))),
        };
        let span = span::operation(&message, &caller, surface, metadata.as_ref());
        named.trace = propagation::trace_id(&span);
        let deadline = extensions.get::<Deadline>().copied();
        let answer = match Valid::new(message) {
            Ok(request) => self.0.answer(Exchange { surface, caller, request, deadline, span }).await,
            Err(violations) => {
                let error = self.0.refuse(surface, Error::invalid(violations));
                span::failed(&span, error.reason().name());
                Err(error)
            }
        };
        (named, answer)
    }
}

/// What every response names.
struct Named {
    request: String,
    trace: Option<String>,
}

impl Named {
    fn response<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        self.write(response.metadata_mut());
        response
    }

    fn status(&self, error: Error) -> Status {
        let mut status = Status::from(error);
        self.write(status.metadata_mut());
        status
    }

    fn write(&self, metadata: &mut MetadataMap) {
        for (name, value) in [(REQUEST_ID, Some(&self.request)), (TRACE_ID, self.trace.as_ref())] {
            // An id that is no header value was refused as a request id.
            if let Some(Ok(value)) = value.map(|value| value.parse()) {
                metadata.insert(name, value);
            }
        }
    }
}

#[tonic::async_trait]
impl InferenceService for Grpc {
    type GenerateStreamStream = BoxStream<'static, Result<Frame, Status>>;

    async fn generate_stream(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<Self::GenerateStreamStream>, Status> {
        let (named, answer) = self.answer(request).await;
        match answer {
            Ok(answer) => Ok(named.response(answer.map(|frame| frame.map_err(Status::from)).boxed())),
            Err(error) => Err(named.status(error)),
        }
    }

    async fn generate(&self, request: Request<GenerateRequest>) -> Result<Response<GenerateResponse>, Status> {
        let (named, answer) = self.answer(request).await;
        let response = match answer {
            Ok(answer) => answer.fold().await,
            Err(error) => Err(error),
        };
        response.map(|response| named.response(response)).map_err(|error| named.status(error))
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
