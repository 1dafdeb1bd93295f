//! `InferenceService` on engines, one for each target.

mod unary;

use std::sync::Arc;
use std::time::SystemTime;

use futures::StreamExt;
use futures::stream::BoxStream;
use pointsman_engine::{Engine, EngineError};
use pointsman_errors::{Error, Reason};
use pointsman_proto::fold::Fold;
use pointsman_proto::inference::v1::inference_service_server::InferenceService;
use pointsman_proto::inference::v1::{
    CountTokensRequest, CountTokensResponse, DescribeRequest, DescribeResponse, EmbedRequest, EmbedResponse,
    GenerateRequest, GenerateResponse, Load, MeshContext, ResumeRequest, WatchLoadRequest,
};
use pointsman_proto::mesh_context;
use pointsman_server::{Deadline, Drain};
use pointsman_telemetry::{bounded, propagation};
use pointsman_types::LOCAL_TENANT;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tracing::{Instrument, Span, field};

use crate::admission::Admission;
use crate::error::for_caller;
use crate::frames::Frames;
use crate::load::Loads;
use crate::metrics::Metrics;
use crate::operation::Operation;
use crate::probe::EngineHealth;
use crate::targets::Targets;
use crate::watchdog::Watchdog;

/// What every request for one target works with.
pub(crate) struct Worker {
    pub(crate) instance: String,
    pub(crate) zone: String,
    pub(crate) engine: Arc<dyn Engine>,
    /// The targets of all engines that are for every tenant.
    pub(crate) served: Arc<[String]>,
    pub(crate) admission: Admission,
    pub(crate) drain: Drain,
    pub(crate) health: EngineHealth,
    pub(crate) watchdog: Watchdog,
    pub(crate) loads: Loads,
    pub(crate) metrics: Metrics,
}

/// A worker, as its callers see it.
pub(crate) struct Service(pub(crate) Targets);

impl Service {
    /// Takes a request, and begins to work for it. Returns when it has a place; the slot, the engine and the
    /// answer come after.
    async fn start(&self, request: Request<GenerateRequest>) -> Result<Frames, Error> {
        let accept_time = SystemTime::now();
        let (metadata, extensions, message) = request.into_parts();
        let worker = self.0.named(&message.model);
        let span = worker.span(&message);
        propagation::set_parent(&span, metadata.as_ref());
        let deadline = extensions.get::<Deadline>().copied();
        let mut operation = Operation::begin(span.clone(), worker.metrics.clone(), worker.drain.clone(), deadline);
        let taken = async {
            let tenant = caller(&metadata)?.tenant;
            span.record("pointsman.tenant", bounded(&tenant));
            worker.admit(&message.model, &tenant)?;
            worker.take(message, accept_time).await
        };
        match taken.instrument(span.clone()).await {
            Ok(taken) => Ok(Frames::of(|reader| Arc::clone(worker).work(taken, operation, reader))),
            Err(error) => {
                operation.failed(error.reason());
                Err(error)
            }
        }
    }
}

impl Worker {
    fn span(&self, request: &GenerateRequest) -> Span {
        tracing::info_span!(
            "generate",
            otel.kind = "server",
            otel.status_code = field::Empty,
            error.type = field::Empty,
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = "pointsman",
            gen_ai.request.model = bounded(&request.model),
            gen_ai.response.finish_reasons = field::Empty,
            gen_ai.usage.input_tokens = field::Empty,
            gen_ai.usage.output_tokens = field::Empty,
            pointsman.request_id = bounded(&request.request_id),
            pointsman.tenant = field::Empty,
            pointsman.instance = self.instance,
            pointsman.engine.failure = field::Empty,
        )
    }
}

/// A worker that is called directly serves the local tenant.
fn caller(metadata: &MetadataMap) -> Result<MeshContext, Error> {
    let context = mesh_context::read(metadata).map_err(|violation| Error::invalid(vec![violation]))?;
    Ok(context.unwrap_or_else(|| MeshContext { tenant: LOCAL_TENANT.to_owned(), ..MeshContext::default() }))
}

#[tonic::async_trait]
impl InferenceService for Service {
    type GenerateStreamStream = Frames;
    type WatchLoadStream = BoxStream<'static, Result<Load, Status>>;

    async fn generate_stream(&self, request: Request<GenerateRequest>) -> Result<Response<Frames>, Status> {
        Ok(Response::new(self.start(request).await?))
    }

    async fn generate(&self, request: Request<GenerateRequest>) -> Result<Response<GenerateResponse>, Status> {
        let mut frames = self.start(request).await?;
        let mut fold = Fold::default();
        while let Some(frame) = frames.next().await {
            fold.push(frame?);
        }
        let response = fold.finish().ok_or_else(|| for_caller(&EngineError::Lost { detail: String::new() }))?;
        Ok(Response::new(response))
    }

    type ResumeStream = Self::GenerateStreamStream;

    async fn resume(&self, _: Request<ResumeRequest>) -> Result<Response<Self::ResumeStream>, Status> {
        Err(Error::new(Reason::FrameLogLost, "a worker keeps no frames; resume at the gateway that gave the token")
            .into())
    }

    async fn embed(&self, request: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        let worker = self.0.named(&request.get_ref().model);
        Ok(Response::new(worker.embed(request).await?))
    }

    async fn count_tokens(
        &self,
        request: Request<CountTokensRequest>,
    ) -> Result<Response<CountTokensResponse>, Status> {
        let model = request.get_ref().request.as_ref().map_or("", |request| &request.model);
        let worker = self.0.named(model);
        Ok(Response::new(worker.count_tokens(request).await?))
    }

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(DescribeResponse {
            instance: self.0.first().instance.clone(),
            zone: self.0.first().zone.clone(),
            pointsman_version: env!("CARGO_PKG_VERSION").to_owned(),
            targets: self.0.describe(),
        }))
    }

    async fn watch_load(&self, _: Request<WatchLoadRequest>) -> Result<Response<Self::WatchLoadStream>, Status> {
        let drain = self.0.first().drain.clone();
        // Whoever drains gets nothing new to do, and a watch would hold up the end.
        let loads = self.0.first().loads.watch().take_until(async move { drain.begun().await });
        Ok(Response::new(loads.map(Ok).boxed()))
    }
}
