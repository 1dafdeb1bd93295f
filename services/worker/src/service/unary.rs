//! Calls with one answer: embeddings, and how long a prompt is.

use std::time::SystemTime;

use pointsman_engine::{Embedded, EngineError};
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::{
    CountTokensRequest, CountTokensResponse, EmbedRequest, EmbedResponse, Embedding, TargetDescription, Usage,
    UsageSource,
};
use pointsman_proto::{Valid, abilities};
use pointsman_server::Deadline;
use pointsman_telemetry::{bounded, propagation};
use pointsman_types::counted;
use tonic::Request;
use tonic_types::FieldViolation;
use tracing::{Instrument, Span, field};

use super::{Worker, caller};
use crate::operation::Operation;

/// What a call says of itself.
struct Call {
    /// In OpenTelemetry's words.
    operation: &'static str,
    model: String,
    request_id: String,
}

/// An answer, and how many tokens were read for it.
type Answered<T> = Result<(T, u32), Error>;

impl Worker {
    pub(super) async fn embed(&self, request: Request<EmbedRequest>) -> Result<EmbedResponse, Error> {
        let accept_time = SystemTime::now();
        let message = request.get_ref();
        let (model, request_id) = (message.model.clone(), message.request_id.clone());
        let call = Call { operation: "embeddings", model, request_id };
        self.spanned(call, request, async |message| self.embeddings(message, accept_time).await).await
    }

    pub(super) async fn count_tokens(
        &self,
        request: Request<CountTokensRequest>,
    ) -> Result<CountTokensResponse, Error> {
        let of = request.get_ref().request.as_ref();
        let (model, request_id) = of.map(|of| (of.model.clone(), of.request_id.clone())).unwrap_or_default();
        let call = Call { operation: "count_tokens", model, request_id };
        self.spanned(call, request, async |message| self.count(message).await).await
    }

    /// Does the work of a call, in a span of its own, and says how it ended.
    async fn spanned<M, T>(
        &self,
        call: Call,
        request: Request<M>,
        work: impl AsyncFnOnce(M) -> Answered<T>,
    ) -> Result<T, Error> {
        let (metadata, extensions, message) = request.into_parts();
        let span = self.unary_span(&call);
        propagation::set_parent(&span, metadata.as_ref());
        let deadline = extensions.get::<Deadline>().copied();
        let mut operation = Operation::begin(span.clone(), self.metrics.clone(), self.drain.clone(), deadline);
        let worked = async {
            let tenant = caller(&metadata)?.tenant;
            span.record("pointsman.tenant", bounded(&tenant));
            self.admit(&call.model, &tenant)?;
            work(message).await
        };
        match worked.instrument(span.clone()).await {
            Ok((answer, input_tokens)) => {
                operation.answered(input_tokens);
                Ok(answer)
            }
            Err(error) => {
                operation.failed(error.reason());
                Err(error)
            }
        }
    }

    async fn embeddings(&self, message: EmbedRequest, accept_time: SystemTime) -> Answered<EmbedResponse> {
        let request = Valid::new(message).map_err(Error::invalid)?;
        self.check_model(&request.model)?;
        check(&request, self.engine.description())?;
        let mut place = self.admission.place()?;
        let estimated = estimate(&request);
        place.count(estimated, 0, 1);
        let _slot = place.slot(request.priority()).instrument(tracing::info_span!("queue")).await;
        let round = self.health.round();
        let embedded = self.watched(estimated, self.engine.embed(&request)).await?;
        let embedded = embedded.and_then(|embedded| checked(embedded, &request));
        let Embedded { embeddings, input_tokens } = embedded.map_err(|error| match error {
            EngineError::ContextTooLong { prompt_tokens, context_tokens } => too_long(prompt_tokens, context_tokens),
            error => self.reported(&error, round),
        })?;
        self.health.finished();
        self.metrics.input_tokens(input_tokens);
        let numbered = (0..).zip(embeddings);
        let response = EmbedResponse {
            started: Some(self.started(&request.request_id, &request.model, accept_time)),
            embeddings: numbered.map(|(index, values)| Embedding { index, values }).collect(),
            usage: Some(usage(input_tokens)),
        };
        Ok((response, input_tokens))
    }

    async fn count(&self, message: CountTokensRequest) -> Answered<CountTokensResponse> {
        let request = Valid::new(message).map_err(Error::invalid)?.into_request();
        self.check(&request)?;
        // A place and no slot, as prompts are counted before anything is generated from them.
        let _place = self.admission.place()?;
        let round = self.health.round();
        let counted = self.watched(0, self.engine.count_prompt_tokens(&request)).await?;
        let prompt_tokens = counted.map_err(|error| self.reported(&error, round))?;
        let description = self.engine.description();
        let (target, context_tokens) = (description.target.clone(), description.context_tokens);
        Ok((CountTokensResponse { prompt_tokens, target, context_tokens }, prompt_tokens))
    }

    fn unary_span(&self, call: &Call) -> Span {
        tracing::info_span!(
            "unary",
            otel.name = call.operation,
            otel.kind = "server",
            otel.status_code = field::Empty,
            error.type = field::Empty,
            gen_ai.operation.name = call.operation,
            gen_ai.provider.name = "pointsman",
            gen_ai.request.model = bounded(&call.model),
            gen_ai.usage.input_tokens = field::Empty,
            pointsman.engine.failure = field::Empty,
            pointsman.request_id = bounded(&call.request_id),
            pointsman.tenant = field::Empty,
            pointsman.instance = self.instance,
        )
    }
}

/// Refuses what the engine lacks, and more numbers than it makes.
fn check(request: &EmbedRequest, description: &TargetDescription) -> Result<(), Error> {
    let lacking = abilities::lacking_to_embed(request, description);
    if !lacking.is_empty() {
        return Err(Error::unsupported(lacking));
    }
    let width = description.embedding_dimensions;
    if width > 0 && request.dimensions.is_some_and(|dimensions| dimensions > width) {
        let most = format!("must be at most {width}, which is what the model makes");
        return Err(Error::invalid(vec![FieldViolation::new("dimensions", most)]));
    }
    Ok(())
}

/// About how many tokens the texts have, for the load: four bytes each.
fn estimate(request: &EmbedRequest) -> u32 {
    let bytes: usize = request.inputs.iter().map(String::len).sum();
    u32::try_from(bytes.div_ceil(4)).unwrap_or(u32::MAX)
}

/// Refuses what no caller can use: another number of vectors, or one that is none.
fn checked(embedded: Embedded, request: &EmbedRequest) -> Result<Embedded, EngineError> {
    let is_vector = |values: &Vec<f32>| !values.is_empty() && values.iter().all(|value| value.is_finite());
    if embedded.embeddings.len() == request.inputs.len() && embedded.embeddings.iter().all(is_vector) {
        return Ok(embedded);
    }
    Err(EngineError::Failed { detail: "the embeddings are not one finite vector for each text".to_owned() })
}

/// No token is written.
fn usage(input_tokens: u32) -> Usage {
    let source = UsageSource::Counted.into();
    Usage { input_tokens: Some(input_tokens), output_tokens: Some(0), source, ..Usage::default() }
}

fn too_long(tokens: u32, context_tokens: u32) -> Error {
    let tokens = counted(tokens, "token");
    let message = format!("a text has {tokens}, and the model reads at most {context_tokens}; shorten or divide it");
    Error::new(Reason::ContextTooLong, message)
}
