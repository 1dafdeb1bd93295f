//! Generates without a mesh, for `cargo xtask bench engine`: with mistral.rs called directly, or through
//! this crate. Prints one line of JSON.
//!
//! `direct mistralrs|engine FOLDER PROMPT STREAMS SECONDS`

#![allow(clippy::print_stdout, reason = "a command-line program")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use indexmap::IndexMap;
use mistralrs::{
    Constraint, MessageContent, Model, ModelDType, NormalRequest, Request, RequestMessage, Response, SamplingParams,
    TextModelBuilder, TokenSource,
};
use pointsman_engine::{Engine, Event, Job};
use pointsman_engine_mistralrs::{Config, MistralrsEngine};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{GenerateRequest, Message, Part, Role, part};
use tokio::sync::mpsc;

const MAX_TOKENS: u32 = 300;

/// One answer: its tokens, and the time to the first of them.
type Answer = (u32, Duration);

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [way, folder, prompt, streams, seconds] = &arguments[..] else { bail!("see the top of this file") };
    let (streams, seconds): (usize, u64) = (streams.parse()?, seconds.parse()?);
    let answers = match way.as_str() {
        "mistralrs" => {
            let model = Arc::new(load(folder).await?);
            repeat(streams, seconds, async || raw(&model, prompt).await).await?
        }
        "engine" => {
            let engine = Arc::new(MistralrsEngine::load(Config::new("pip", folder)).await?);
            repeat(streams, seconds, async || ours(engine.as_ref(), prompt).await).await?
        }
        other => bail!("`{other}` is not `mistralrs` or `engine`"),
    };
    println!("{answers}");
    Ok(())
}

/// Keeps so many answers running for so long.
async fn repeat(streams: usize, seconds: u64, ask: impl AsyncFn() -> Result<Answer>) -> Result<serde_json::Value> {
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    let one = async || -> Result<Vec<Answer>> {
        let mut answers = Vec::new();
        while Instant::now() < end {
            answers.push(ask().await?);
        }
        Ok(answers)
    };
    let answers = futures::future::try_join_all((0..streams).map(|_| one())).await?.concat();
    let elapsed = begin.elapsed().as_secs_f64();
    let tokens: u32 = answers.iter().map(|(tokens, _)| tokens).sum();
    let mut first: Vec<u128> = answers.iter().map(|(_, first)| first.as_micros()).collect();
    first.sort_unstable();
    let median = first.get(first.len() / 2).copied().and_then(|median| u64::try_from(median).ok());
    Ok(serde_json::json!({ "tokens_per_second": f64::from(tokens) / elapsed, "first_us": { "p50": median } }))
}

/// As [`MistralrsEngine::load`] does it, but with as many sequences in a batch as there are streams.
async fn load(folder: &str) -> Result<Model> {
    let builder = TextModelBuilder::new(folder)
        .with_token_source(TokenSource::None)
        .with_force_cpu()
        .with_dtype(ModelDType::F32)
        .with_max_num_seqs(64)
        .with_prefix_cache_n(None);
    builder.build().await
}

async fn raw(model: &Model, prompt: &str) -> Result<Answer> {
    let (sender, mut chunks) = mpsc::channel(MAX_TOKENS as usize + 2);
    let text = |text: &str| MessageContent::Left(text.to_owned());
    let message = IndexMap::from([("role".to_owned(), text("user")), ("content".to_owned(), text(prompt))]);
    let request = NormalRequest {
        messages: RequestMessage::Chat { messages: vec![message], enable_thinking: None, reasoning_effort: None },
        sampling_params: SamplingParams { max_len: Some(MAX_TOKENS as usize), ..SamplingParams::deterministic() },
        response: sender,
        return_logprobs: false,
        is_streaming: true,
        id: 0,
        constraint: Constraint::None,
        suffix: None,
        tools: None,
        tool_choice: None,
        logits_processors: None,
        return_raw_logits: false,
        web_search_options: None,
        model_id: None,
        truncate_sequence: false,
    };
    let begin = Instant::now();
    model.inner().get_sender(None)?.send(Request::Normal(Box::new(request))).await?;
    let mut first = None;
    while let Some(response) = chunks.recv().await {
        let Response::Chunk(chunk) = response else { bail!("mistral.rs sent no chunk") };
        first.get_or_insert_with(|| begin.elapsed());
        if let Some(usage) = chunk.usage {
            return Ok((u32::try_from(usage.completion_tokens)?, first.unwrap_or_default()));
        }
    }
    bail!("the answer has no end")
}

async fn ours(engine: &MistralrsEngine, prompt: &str) -> Result<Answer> {
    let part = Part { kind: Some(part::Kind::Text(prompt.to_owned())) };
    let message = Message { role: Role::User.into(), parts: vec![part], ..Message::default() };
    let request = GenerateRequest { model: "pip".to_owned(), messages: vec![message], ..GenerateRequest::default() };
    let request = Valid::new(request).map_err(|violations| anyhow::anyhow!("{violations:?}"))?;
    let begin = Instant::now();
    let prompt_tokens = engine.count_prompt_tokens(&request).await?;
    let mut events = engine.generate(Job { request, prompt_tokens, max_output_tokens: MAX_TOKENS }).await?;
    let mut first = None;
    while let Some(event) = events.next().await {
        match event? {
            Event::Delta { .. } => _ = first.get_or_insert_with(|| begin.elapsed()),
            Event::Alive | Event::ChoiceFinished { .. } => {}
            Event::Finished { usage, .. } => {
                return Ok((usage.output_tokens.context("no usage")?, first.unwrap_or_default()));
            }
        }
    }
    bail!("the answer has no end")
}
