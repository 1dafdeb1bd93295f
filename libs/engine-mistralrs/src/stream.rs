use std::collections::VecDeque;
use std::sync::Arc;

use futures::StreamExt;
use mistralrs::{ChatCompletionChunkResponse, ChunkChoice, Response};
use pointsman_engine::stop::StopMatcher;
use pointsman_engine::{EngineError, Event, Generation};
use pointsman_proto::inference::v1::delta::Content;
use pointsman_proto::inference::v1::{Delta, FinishReason, TokenLogprob, ToolCallDelta, Usage, UsageSource};
use tokio::sync::mpsc;

pub(crate) mod contents;
pub(crate) mod thoughts;
pub(crate) mod written;

use crate::request::first_line;
use crate::sampling::progress::Progress;
use contents::{Contents, Decided};
use written::Written;

/// Turns what mistral.rs sends for one request into the events of a generation.
pub(crate) struct Answer {
    /// None when the answer has ended. Dropping it is how mistral.rs learns that nobody listens.
    chunks: Option<mpsc::Receiver<Response>>,
    source: Source,
    /// Events that are to be delivered before the next chunk is read.
    ready: VecDeque<Result<Event, EngineError>>,
    /// Stop texts are found here, and not in thoughts: mistral.rs streams the beginning of one, and misses it inside a token's text.
    stop: StopMatcher,
    part: u32,
    last: Option<Kind>,
    prompt_tokens: u32,
    max_output_tokens: u32,
    /// Tokens that were read so far.
    read: u32,
    /// What was chosen, whether its chunks were read or not.
    progress: Arc<Progress>,
    /// Log-probabilities that wait for the piece to which they belong.
    scores: Vec<TokenLogprob>,
}

/// Where the text of an answer comes from.
pub(crate) enum Source {
    /// From mistral.rs, which tells thoughts from the rest.
    Chat,
    /// From the tokens themselves; what mistral.rs sends says that there are more of them, and when they end.
    Tokens(Box<Tokens>),
}

pub(crate) struct Tokens {
    pub(crate) written: Written,
    pub(crate) contents: Contents,
}

/// What is known of an answer before it begins.
pub(crate) struct Bounds<'a> {
    pub(crate) stop: &'a [String],
    pub(crate) prompt_tokens: u32,
    pub(crate) max_output_tokens: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Reasoning,
    Call,
}

impl Kind {
    fn of(content: &Content) -> Self {
        match content {
            Content::Text(_) | Content::Opaque(_) => Self::Text,
            Content::Reasoning(_) => Self::Reasoning,
            Content::ToolCall(_) => Self::Call,
        }
    }

    /// A piece without anything in it, which says that tokens were written.
    fn empty(self) -> Content {
        match self {
            Self::Text => Content::Text(String::new()),
            Self::Reasoning => Content::Reasoning(String::new()),
            Self::Call => Content::ToolCall(ToolCallDelta::default()),
        }
    }
}

impl Answer {
    pub(crate) fn new(
        chunks: mpsc::Receiver<Response>,
        source: Source,
        progress: Arc<Progress>,
        bounds: &Bounds<'_>,
    ) -> Self {
        Self {
            chunks: Some(chunks),
            source,
            ready: VecDeque::new(),
            stop: StopMatcher::new(bounds.stop),
            part: 0,
            last: None,
            prompt_tokens: bounds.prompt_tokens,
            max_output_tokens: bounds.max_output_tokens,
            read: 0,
            progress,
            scores: Vec::new(),
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
            // Of a prompt with pictures, for which there is nothing but a chat.
            Response::Chunk(chunk) if matches!(self.source, Source::Tokens(_)) => {
                let reason = chunk.choices.into_iter().next().and_then(|choice| choice.finish_reason);
                self.tokens(reason.as_deref());
            }
            Response::Chunk(chunk) => self.chunk(chunk),
            Response::CompletionChunk(chunk) => {
                let reason = chunk.choices.into_iter().next().and_then(|choice| choice.finish_reason);
                self.tokens(reason.as_deref());
            }
            Response::ValidationError(error) => {
                self.fail(EngineError::InvalidRequest { message: first_line(&error) });
            }
            Response::InternalError(error) => self.fail(EngineError::Failed { detail: error.to_string() }),
            Response::ModelError(error, _) | Response::CompletionModelError(error, _) => {
                self.fail(EngineError::Failed { detail: error });
            }
            Response::Done(_)
            | Response::CompletionDone(_)
            | Response::ImageGeneration(_)
            | Response::Speech { .. }
            | Response::Raw { .. }
            | Response::Embeddings { .. } => {
                let detail = "mistral.rs answered a stream with another kind of response".to_owned();
                self.fail(EngineError::Failed { detail });
            }
        }
    }

    fn chunk(&mut self, chunk: ChatCompletionChunkResponse) {
        let Some(ChunkChoice { delta, finish_reason, .. }) = chunk.choices.into_iter().next() else { return };
        // A chunk is one token, or a character made of several: the last chunk says how many there were.
        let total = chunk.usage.as_ref().and_then(|usage| u32::try_from(usage.completion_tokens).ok());
        let tokens = total.map_or(1, |total| total.saturating_sub(self.read));
        self.read += tokens;
        let mut contents = Vec::new();
        if let Some(reasoning) = delta.reasoning_content.filter(|text| !text.is_empty()) {
            contents.push(Content::Reasoning(reasoning));
        }
        let mut text = self.stop.push(&delta.content.unwrap_or_default());
        if finish_reason.is_some() {
            text.push_str(&self.stop.finish());
        }
        if !text.is_empty() {
            contents.push(Content::Text(text));
        }
        self.deliver(contents, tokens);
        let usage = chunk.usage.as_ref().map_or_else(|| self.counted(self.read), reported);
        self.end(finish_reason.as_deref(), usage);
    }

    /// Reads the tokens that are there. With the reason of an end they are the last.
    fn tokens(&mut self, reason: Option<&str>) {
        let Source::Tokens(source) = &mut self.source else {
            let detail = "mistral.rs answered a chat with a completion".to_owned();
            return self.fail(EngineError::Failed { detail });
        };
        let (mut text, tokens) = match source.written.read() {
            Ok(read) => read,
            Err(error) => return self.fail(error),
        };
        self.read += tokens;
        if reason.is_some() {
            text.push_str(&source.written.finish());
        }
        let Decided { mut contents, mut bytes } = source.contents.push(&text, &mut self.stop);
        if reason.is_some() || self.stop.stopped() {
            let rest = source.contents.finish(&mut self.stop);
            contents.extend(rest.contents);
            bytes += rest.bytes;
        }
        self.scores.extend(source.written.deliver(bytes));
        self.deliver(contents, tokens);
        self.end(reason, self.counted(self.read));
    }

    fn end(&mut self, reason: Option<&str>, usage: Usage) {
        let called = matches!(&self.source, Source::Tokens(source) if source.contents.called());
        match reason {
            _ if self.stop.stopped() => self.finish(FinishReason::Stop, usage),
            None => {}
            Some("stop") if called => self.finish(FinishReason::ToolCalls, usage),
            Some("stop") => self.finish(FinishReason::Stop, usage),
            Some("length") => self.finish(FinishReason::Length, usage),
            Some(other) => {
                self.fail(EngineError::Failed { detail: format!("mistral.rs ended the answer with `{other}`") });
            }
        }
    }

    /// The channel was closed without a last chunk: mistral.rs sends none when the text ends with a part of a
    /// character, or with the one that stands for it, or when it died. Only the first may pass for an end, and an end
    /// or all tokens were chosen then.
    fn closed(&mut self) {
        let chosen = self.progress.chosen();
        let ended = self.progress.ended();
        if !ended && chosen < self.max_output_tokens {
            let detail = format!("mistral.rs left an answer after {chosen} of {} tokens", self.max_output_tokens);
            return self.fail(EngineError::Lost { detail });
        }
        if let Source::Tokens(_) = self.source {
            return self.tokens(Some(if ended { "stop" } else { "length" }));
        }
        let text = self.stop.finish();
        let contents = if text.is_empty() { Vec::new() } else { vec![Content::Text(text)] };
        self.deliver(contents, chosen.saturating_sub(self.read));
        let reason = if ended { FinishReason::Stop } else { FinishReason::Length };
        self.finish(reason, self.counted(chosen));
    }

    /// Delivers pieces, the first with the tokens and the log-probabilities. Tokens that are in no piece are told
    /// in an empty one.
    fn deliver(&mut self, mut contents: Vec<Content>, mut tokens: u32) {
        if contents.is_empty() && tokens > 0 {
            contents.push(self.last.unwrap_or(Kind::Text).empty());
        }
        for content in contents {
            self.count_parts(&content);
            let logprobs = if is_empty(&content) { Vec::new() } else { std::mem::take(&mut self.scores) };
            let delta = Delta { part: self.part, content: Some(content), logprobs, ..Delta::default() };
            self.ready.push_back(Ok(Event::Delta { delta, tokens: std::mem::take(&mut tokens) }));
        }
    }

    /// A part is as long as its kind; each call is one.
    fn count_parts(&mut self, content: &Content) {
        let kind = Kind::of(content);
        let is_call = matches!(content, Content::ToolCall(call) if !call.id.is_empty());
        if is_empty(content) {
            return;
        }
        let changed = self.last.replace(kind).is_some_and(|last| last != kind || is_call);
        self.part += u32::from(changed);
    }

    fn finish(&mut self, reason: FinishReason, usage: Usage) {
        self.chunks = None;
        if !self.scores.is_empty() {
            // Of an end tag, say: tokens after the last piece.
            let content = Some(self.last.unwrap_or(Kind::Text).empty());
            let logprobs = std::mem::take(&mut self.scores);
            let delta = Delta { part: self.part, content, logprobs, ..Delta::default() };
            self.ready.push_back(Ok(Event::Delta { delta, tokens: 0 }));
        }
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

fn is_empty(content: &Content) -> bool {
    match content {
        Content::Text(text) | Content::Reasoning(text) => text.is_empty(),
        Content::ToolCall(call) => call.id.is_empty() && call.arguments_json.is_empty(),
        Content::Opaque(_) => false,
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
