//! What a model that was loaded sees, and a trial with one picture.

use std::io::Cursor;

use futures::StreamExt;
use image::{ImageFormat, RgbImage};
use mistralrs::Model;
use pointsman_engine::{Engine, EngineError, Event, Job};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{
    GenerateRequest, Image, Message, Part, Priority, Role, UsageSource, image::Source, part,
};
use tokio::sync::mpsc;

use crate::marks::{Marks, OTHERS, PICTURE, SIDES};
use crate::vision::Vision;
use crate::{MistralrsEngine, mailbox, request};

/// How a model sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) vision: Vision,
    pub(crate) marks: Marks,
}

impl Sight {
    /// Asks mistral.rs for the model's marks: it makes some itself, where a tokenizer lacks them.
    pub(crate) async fn learn(model: &Model, vision: Vision) -> anyhow::Result<Self> {
        let picture = token(model, PICTURE).await?;
        let sides = [token(model, SIDES[0]).await?, token(model, SIDES[1]).await?];
        let others = [token(model, OTHERS[0]).await?, token(model, OTHERS[1]).await?];
        Ok(Self { vision, marks: Marks { picture, sides, others } })
    }
}

async fn token(model: &Model, mark: &str) -> anyhow::Result<u32> {
    let (sender, tokens) = mpsc::channel(1);
    mailbox::submit(model, request::text_tokenization(mark.to_owned(), false, sender))?;
    let tokens = mailbox::only_answer(tokens).await.ok_or_else(|| mailbox::unanswered("a tokenization"))??;
    match tokens[..] {
        [one] => Ok(one),
        _ => anyhow::bail!("the tokenizer has no token `{mark}`, which marks pictures"),
    }
}

/// Shows a model one picture, and compares what mistral.rs made of it with what was counted here: by this count
/// prompts are kept within the context, beyond which mistral.rs fails.
pub(crate) async fn try_out(engine: &MistralrsEngine, vision: &Vision) -> Result<(), EngineError> {
    let failed = |detail: String| EngineError::Failed { detail };
    let mut data = Cursor::new(Vec::new());
    let (width, height) = vision.example();
    RgbImage::new(width, height).write_to(&mut data, ImageFormat::Png).map_err(|error| failed(error.to_string()))?;
    let image = Image { source: Some(Source::Data(data.into_inner().into())), ..Image::default() };
    let message = Message {
        role: Role::User.into(),
        parts: vec![Part { kind: Some(part::Kind::Image(image)) }],
        ..Message::default()
    };
    let model = engine.description().target.clone();
    let priority = Priority::System.into();
    let request = GenerateRequest { model, messages: vec![message], priority, ..GenerateRequest::default() };
    let request = Valid::new(request).map_err(|violations| failed(format!("{violations:?}")))?;
    let prompt_tokens = engine.count_prompt_tokens(&request).await?;
    let mut generation = engine.generate(Job { request, prompt_tokens, max_output_tokens: 1 }).await?;
    while let Some(event) = generation.next().await {
        let Event::Finished { usage, .. } = event? else { continue };
        if usage.source() == UsageSource::Reported && usage.input_tokens != Some(prompt_tokens) {
            let read = usage.input_tokens.unwrap_or_default();
            return Err(failed(format!(
                "a prompt with a picture was counted as {prompt_tokens} tokens, and is {read}"
            )));
        }
        return Ok(());
    }
    Err(EngineError::Lost { detail: "the stream of a trial with a picture ended without an end".to_owned() })
}
