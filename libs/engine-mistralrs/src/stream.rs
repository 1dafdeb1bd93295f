use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::StreamExt;
use mistralrs::{ChatCompletionChunkResponse, ChunkChoice, Response};
use pointsman_engine::stop::StopMatcher;
use pointsman_engine::{EngineError, Event, Generation, Job};
use pointsman_proto::inference::v1::{Delta, FinishReason, Usage, UsageSource, delta::Content};
use tokio::sync::mpsc;

use crate::request::first_line;

/// Turns what mistral.rs sends for one request into the events of a generation.
pub(crate) struct Answer {
    /// None when the answer has ended. Dropping it is how mistral.rs learns that nobody listens.
    chunks: Option<mpsc::Receiver<Response>>,
    /// Events that are to be delivered before the next chunk is read.
    ready: VecDeque<Result<Event, EngineError>>,
    /// Stop texts are found here: mistral.rs streams the beginning of one, and misses it inside a token's text.
    stop: StopMatcher,
    part: u32,
    last: Option<Kind>,
    prompt_tokens: u32,
    max_output_tokens: u32,
    /// Tokens of the chunks read so far.
    read: u32,
    /// Tokens that mistral.rs has chosen, whether their chunks were read or not.
    chosen: Arc<AtomicU32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Reasoning,
}

impl Answer {
    pub(crate) fn new(
        chunks: mpsc::Receiver<Response>,
        chosen: Arc<AtomicU32>,
        job: &Job,
        max_output_tokens: u32,
    ) -> Self {
        Self {
            chunks: Some(chunks),
            ready: VecDeque::new(),
            stop: StopMatcher::new(&job.request.stop),
            part: 0,
            last: None,
            prompt_tokens: job.prompt_tokens,
            max_output_tokens,
            read: 0,
            chosen,
        }
    }

    /// Ends after the finish or an error, and may be polled again then.
    pub(crate) fn into_stream(self) -> Generation {
        futures::stream::unfold(self, |mut answer| async move { answer.next().await.map(|event| (event, answer)) })
            .fuse()
            .boxed()
    }

    async fn next(&mut self) -> Option<Result<Event, EngineError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            match self.chunks.as_mut()?.recv().await {
                Some(response) => self.take(response),
                None => self.closed(),
            }
        }
    }

    fn take(&mut self, response: Response) {
        match response {
            Response::Chunk(chunk) => self.chunk(chunk),
            Response::ValidationError(error) => {
                self.fail(EngineError::InvalidRequest { message: first_line(&error) });
            }
            Response::InternalError(error) => self.fail(EngineError::Failed { detail: error.to_string() }),
            Response::ModelError(error, _) => self.fail(EngineError::Failed { detail: error }),
            Response::Done(_)
            | Response::CompletionModelError(..)
            | Response::CompletionDone(_)
            | Response::CompletionChunk(_)
            | Response::ImageGeneration(_)
            | Response::Speech { .. }
            | Response::Raw { .. }
            | Response::Embeddings { .. } => {
                let detail = "mistral.rs answered a streamed chat with another kind of response".to_owned();
                self.fail(EngineError::Failed { detail });
            }
        }
    }

    fn chunk(&mut self, chunk: ChatCompletionChunkResponse) {
        let Some(ChunkChoice { delta, finish_reason, .. }) = chunk.choices.into_iter().next() else { return };
        if delta.tool_calls.is_some_and(|calls| !calls.is_empty()) {
            let detail = "the model called a tool where none was offered".to_owned();
            return self.fail(EngineError::Failed { detail });
        }
        // A chunk is one token, or a character made of several: the last chunk says how many there were.
        let total = chunk.usage.as_ref().and_then(|usage| u32::try_from(usage.completion_tokens).ok());
        let mut tokens = total.map_or(1, |total| total.saturating_sub(self.read));
        self.read += tokens;
        if let Some(reasoning) = delta.reasoning_content.filter(|text| !text.is_empty()) {
            self.deliver(Kind::Reasoning, reasoning, std::mem::take(&mut tokens));
        }
        let mut text = self.stop.push(&delta.content.unwrap_or_default());
        if finish_reason.is_some() {
            text.push_str(&self.stop.finish());
        }
        self.deliver(Kind::Text, text, tokens);

        let usage = chunk.usage.as_ref().map_or_else(|| self.counted(self.read), reported);
        match finish_reason.as_deref() {
            _ if self.stop.stopped() => self.finish(FinishReason::Stop, usage),
            None => {}
            Some("stop") => self.finish(FinishReason::Stop, usage),
            Some("length") => self.finish(FinishReason::Length, usage),
            Some("tool_calls") => self.finish(FinishReason::ToolCalls, usage),
            Some(other) => {
                self.fail(EngineError::Failed { detail: format!("mistral.rs ended the answer with `{other}`") });
            }
        }
    }

    /// The channel was closed without a last chunk: mistral.rs sends none when the last token is a part of a
    /// character, or when it died. Only the first may pass for an end, and all tokens were chosen then.
    fn closed(&mut self) {
        let chosen = self.chosen.load(Ordering::Relaxed);
        if chosen < self.max_output_tokens {
            let detail = format!("mistral.rs left an answer after {chosen} of {} tokens", self.max_output_tokens);
            return self.fail(EngineError::Lost { detail });
        }
        let text = self.stop.finish();
        self.deliver(Kind::Text, text, chosen.saturating_sub(self.read));
        self.finish(FinishReason::Length, self.counted(chosen));
    }

    fn deliver(&mut self, kind: Kind, text: String, tokens: u32) {
        if text.is_empty() && tokens == 0 {
            return;
        }
        if !text.is_empty() {
            let changed = self.last.replace(kind).is_some_and(|last| last != kind);
            self.part += u32::from(changed);
        }
        let content = match kind {
            Kind::Text => Content::Text(text),
            Kind::Reasoning => Content::Reasoning(text),
        };
        let delta = Delta { part: self.part, content: Some(content), ..Delta::default() };
        self.ready.push_back(Ok(Event::Delta { delta, tokens }));
    }

    fn finish(&mut self, reason: FinishReason, usage: Usage) {
        self.chunks = None;
        self.ready.push_back(Ok(Event::Finished { reason, usage }));
    }

    fn fail(&mut self, error: EngineError) {
        self.chunks = None;
        self.ready.push_back(Err(error));
    }

    fn counted(&self, output_tokens: u32) -> Usage {
        Usage {
            input_tokens: Some(self.prompt_tokens),
            output_tokens: Some(output_tokens),
            source: UsageSource::Counted.into(),
            ..Usage::default()
        }
    }
}

fn reported(usage: &mistralrs::Usage) -> Usage {
    Usage {
        input_tokens: u32::try_from(usage.prompt_tokens).ok(),
        output_tokens: u32::try_from(usage.completion_tokens).ok(),
        source: UsageSource::Reported.into(),
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests;
