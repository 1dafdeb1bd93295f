//! Keeps a worker's health true: ready once a real generation has succeeded, and again after each loss
//! of the engine.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use pointsman_engine::{Engine, EngineError, Event, Job};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{GenerateRequest, Message, Part, Role, part};
use pointsman_server::Readiness;
use tokio::sync::Notify;

/// How long one probe may take.
const PROBE_LIMIT: Duration = Duration::from_secs(60);
/// Pauses between probes: doubling, from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Whether the engine lives. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct EngineHealth {
    readiness: Readiness,
    lost: Arc<Notify>,
}

impl EngineHealth {
    pub(crate) fn new(readiness: Readiness) -> Self {
        Self { readiness, lost: Arc::new(Notify::new()) }
    }

    /// Says that the engine was lost: the worker is not ready until a probe succeeds.
    pub(crate) fn lost(&self) {
        self.readiness.set(false);
        self.lost.notify_one();
    }
}

/// Probes at the start, and after each loss.
pub(crate) async fn run(engine: Arc<dyn Engine>, health: EngineHealth) {
    loop {
        let mut pause = BACKOFF.0;
        loop {
            match tokio::time::timeout(PROBE_LIMIT, generate_once(engine.as_ref())).await {
                Ok(Ok(())) => break,
                Ok(Err(error)) => tracing::warn!(?error, "a probe generation failed; this worker is not ready"),
                Err(_) => {
                    tracing::warn!(limit = ?PROBE_LIMIT, "a probe generation took too long; this worker is not ready")
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
        health.readiness.set(true);
        tracing::info!(target_name = engine.description().target, "a probe generation succeeded; this worker is ready");
        health.lost.notified().await;
    }
}

/// One token of an answer to `Hello`.
async fn generate_once(engine: &dyn Engine) -> Result<(), EngineError> {
    let part = Part { kind: Some(part::Kind::Text("Hello".to_owned())) };
    let message = Message { role: Role::User.into(), parts: vec![part], ..Message::default() };
    let model = engine.description().target.clone();
    let request = GenerateRequest { model, messages: vec![message], ..GenerateRequest::default() };
    let request = Valid::new(request).map_err(|violations| EngineError::Failed {
        detail: format!("the probe is no valid request: {violations:?}"),
    })?;
    let prompt_tokens = engine.count_prompt_tokens(&request).await?;
    let mut generation = engine.generate(Job { request, prompt_tokens, max_output_tokens: 1 }).await?;
    while let Some(event) = generation.next().await {
        if let Event::Finished { .. } = event? {
            return Ok(());
        }
    }
    Err(EngineError::Lost { detail: "the probe's stream ended without an end".to_owned() })
}
