//! `InferenceService` on one engine.

use std::sync::Arc;
use std::time::SystemTime;

use futures::StreamExt;
use pointsman_engine::{Engine, EngineError, Job};
use pointsman_errors::{Error, Reason};
use pointsman_proto::fold::Fold;
use pointsman_proto::inference::v1::inference_service_server::InferenceService;
use pointsman_proto::inference::v1::{
    DescribeRequest, DescribeResponse, GenerateRequest, GenerateResponse, MeshContext, Started, TargetDescription,
};
use pointsman_proto::{Valid, abilities, mesh_context};
use pointsman_telemetry::{bounded, propagation};
use pointsman_types::{LOCAL_TENANT, TargetName, new_request_id};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tracing::{Instrument, Span, field};

use crate::admission::Admission;
use crate::error::{failed, for_caller, report};
use crate::generation::{FrameStream, Generating, Held};
use crate::metrics::{Metrics, TokenKind};
use crate::probe::EngineHealth;

/// A worker, as its callers see it.
pub(crate) struct Worker {
    pub(crate) instance: String,
    pub(crate) zone: String,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) admission: Admission,
    pub(crate) health: EngineHealth,
    pub(crate) metrics: Metrics,
}

impl Worker {
    async fn start(&self, request: Request<GenerateRequest>) -> Result<FrameStream, Error> {
        let accept_time = SystemTime::now();
        let (metadata, _, message) = request.into_parts();
        let context = caller(&metadata)?;
        let span = self.span(&message, &context);
        propagation::set_parent(&span, metadata.as_ref());
        let started = self.admit(message, accept_time, &span).instrument(span.clone()).await;
        if let Err(error) = &started {
            failed(&span, &self.metrics, error.reason());
        }
        started
    }

    /// Checks the request, waits for a slot, and begins.
    async fn admit(
        &self,
        message: GenerateRequest,
        accept_time: SystemTime,
        span: &Span,
    ) -> Result<FrameStream, Error> {
        let request = Valid::new(message).map_err(Error::invalid)?;
        let job = self.job(request).await?;
        let started = self.started(&job, accept_time);
        let slot = self.admission.enter().instrument(tracing::info_span!("queue")).await?;
        let prefill = tracing::info_span!("prefill", gen_ai.usage.input_tokens = job.prompt_tokens);
        self.metrics.tokens(TokenKind::Input, job.prompt_tokens);
        let events =
            self.engine.generate(job).instrument(prefill.clone()).await.map_err(|error| self.reported(&error))?;
        let (health, metrics) = (self.health.clone(), self.metrics.clone());
        let held = Held { span: span.clone().into(), health, metrics, _slot: slot };
        Ok(Generating::new(events, started, prefill, held).boxed())
    }

    /// Fits the request to the engine: refuses what it lacks, counts the prompt, bounds the answer.
    async fn job(&self, request: Valid<GenerateRequest>) -> Result<Job, Error> {
        let description = self.engine.description();
        if !serves(description, &request.model) {
            let message = format!("this worker serves {} only", description.target);
            return Err(Error::new(Reason::ModelNotFound, message));
        }
        let lacking = abilities::lacking(&request, &description.abilities);
        if !lacking.is_empty() {
            return Err(Error::unsupported(lacking));
        }
        let prompt_tokens = self.engine.count_prompt_tokens(&request).await.map_err(|error| self.reported(&error))?;
        let wanted = request.limits.and_then(|limits| limits.max_output_tokens).unwrap_or(u32::MAX);
        let room = match description.context_tokens {
            0 => u32::MAX,
            context_tokens if prompt_tokens >= context_tokens => {
                return Err(for_caller(&EngineError::ContextTooLong { prompt_tokens, context_tokens }));
            }
            context_tokens => context_tokens - prompt_tokens,
        };
        Ok(Job { request, prompt_tokens, max_output_tokens: wanted.min(room) })
    }

    fn started(&self, job: &Job, accept_time: SystemTime) -> Started {
        let description = self.engine.description();
        let request_id = match job.request.request_id.as_str() {
            "" => new_request_id(),
            id => id.to_owned(),
        };
        let version = description.target.parse::<TargetName>().map(|target| target.version().to_owned());
        Started {
            request_id,
            accept_time: Some(accept_time.into()),
            model: job.request.model.clone(),
            target: description.target.clone(),
            version: version.unwrap_or_default(),
            instance: self.instance.clone(),
            engine_fingerprint: description.engine_fingerprint.clone(),
            ..Started::default()
        }
    }

    /// Handles an engine's error: the log gets the whole of it, the caller its own part.
    fn reported(&self, error: &EngineError) -> Error {
        report(error, &self.health);
        for_caller(error)
    }

    fn span(&self, request: &GenerateRequest, context: &MeshContext) -> Span {
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
            pointsman.tenant = bounded(&context.tenant),
            pointsman.instance = self.instance,
        )
    }
}

/// A worker that is called directly serves the local tenant.
fn caller(metadata: &MetadataMap) -> Result<MeshContext, Error> {
    let context = mesh_context::read(metadata).map_err(|violation| Error::invalid(vec![violation]))?;
    Ok(context.unwrap_or_else(|| MeshContext { tenant: LOCAL_TENANT.to_owned(), ..MeshContext::default() }))
}

/// Whether a name means this target: its resource name, or its model's.
fn serves(description: &TargetDescription, name: &str) -> bool {
    let target = &description.target;
    target == name || target.parse::<TargetName>().is_ok_and(|target| target.model() == name)
}

#[tonic::async_trait]
impl InferenceService for Worker {
    type GenerateStreamStream = FrameStream;

    async fn generate_stream(&self, request: Request<GenerateRequest>) -> Result<Response<FrameStream>, Status> {
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

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(DescribeResponse {
            instance: self.instance.clone(),
            zone: self.zone.clone(),
            pointsman_version: env!("CARGO_PKG_VERSION").to_owned(),
            targets: vec![self.engine.description().clone()],
        }))
    }
}
