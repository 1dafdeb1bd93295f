use std::fmt::Debug;

use futures::StreamExt;
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{EmbedRequest, GenerateRequest, Message, Part, Priority, Role, part};

use crate::{Engine, EngineError, Event, Job};

/// Generates one token of an answer to `Hello`, to its end, or embeds it where the engine does nothing else: what
/// shows that an engine works.
///
/// Takes as long as the engine does; the caller bounds it. An end that is none is [`EngineError::Lost`].
pub async fn try_out(engine: &dyn Engine) -> Result<(), EngineError> {
    if engine.description().embeds_only { embed(engine).await } else { generate(engine).await }
}

async fn embed(engine: &dyn Engine) -> Result<(), EngineError> {
    let (model, inputs) = (engine.description().target.clone(), vec!["Hello".to_owned()]);
    let request = EmbedRequest { model, inputs, priority: Priority::System.into(), ..EmbedRequest::default() };
    let request = Valid::new(request).map_err(invalid)?;
    engine.embed(&request).await.map(|_| ())
}

async fn generate(engine: &dyn Engine) -> Result<(), EngineError> {
    let hello = Part { kind: Some(part::Kind::Text("Hello".to_owned())) };
    let message = Message { role: Role::User.into(), parts: vec![hello], ..Message::default() };
    let model = engine.description().target.clone();
    let priority = Priority::System.into();
    let request = GenerateRequest { model, messages: vec![message], priority, ..GenerateRequest::default() };
    let request = Valid::new(request).map_err(invalid)?;
    let prompt_tokens = engine.count_prompt_tokens(&request).await?;
    let mut generation = engine.generate(Job { request, prompt_tokens, max_output_tokens: 1 }).await?;
    while let Some(event) = generation.next().await {
        if let Event::Finished { .. } = event? {
            return Ok(());
        }
    }
    Err(EngineError::Lost { detail: "the stream of a trial ended without an end".to_owned() })
}

fn invalid(violations: impl Debug) -> EngineError {
    EngineError::Failed { detail: format!("the request of a trial is not valid: {violations:?}") }
}
