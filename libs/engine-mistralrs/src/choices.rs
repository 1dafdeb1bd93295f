//! Several answers to one request, as one generation.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::stream::{BoxStream, SelectAll, StreamExt, unfold};
use pointsman_engine::{EngineError, Event, Generation};
use pointsman_proto::inference::v1::{FinishReason, Usage, UsageSource};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Joins answers into one generation, each with its number. The first has begun; `begin` begins another. An
/// error of one is an error of all; the others are dropped then.
///
/// One of them runs always, for which it waits as everybody does. Others run beside it where there is room
/// that nobody waits for, and else one after the other.
pub(crate) fn join<B>(first: Generation, count: u32, sequences: Arc<Semaphore>, begin: B) -> Generation
where
    B: Fn(u32, OwnedSemaphorePermit) -> Result<Generation, EngineError> + Send + 'static,
{
    let choices = Choices {
        running: SelectAll::from_iter([numbered(0, first)]),
        next: 1,
        count,
        left: count,
        sequences,
        begin,
        ready: VecDeque::new(),
        usage: None,
    };
    unfold(choices, |mut choices| async move { choices.next().await.map(|event| (event, choices)) }).fuse().boxed()
}

/// An event, and the number of the answer that it is of.
type Numbered = (u32, Result<Event, EngineError>);

fn numbered(choice: u32, answer: Generation) -> BoxStream<'static, Numbered> {
    answer.map(move |event| (choice, event)).boxed()
}

struct Choices<B> {
    running: SelectAll<BoxStream<'static, Numbered>>,
    /// The next answer to begin.
    next: u32,
    count: u32,
    /// Answers that are not complete.
    left: u32,
    sequences: Arc<Semaphore>,
    begin: B,
    ready: VecDeque<Event>,
    usage: Option<Usage>,
}

impl<B> Choices<B>
where
    B: Fn(u32, OwnedSemaphorePermit) -> Result<Generation, EngineError>,
{
    async fn next(&mut self) -> Option<Result<Event, EngineError>> {
        if let Some(event) = self.ready.pop_front() {
            return Some(Ok(event));
        }
        if let Err(error) = self.begin_what_may().await {
            return Some(Err(self.failed(error)));
        }
        let (choice, event) = self.running.next().await?;
        Some(match event {
            Ok(Event::Delta { mut delta, tokens }) => {
                delta.choice = choice;
                Ok(Event::Delta { delta, tokens })
            }
            Ok(Event::Finished { reason, usage }) => Ok(self.finished(choice, reason, usage)),
            Ok(event @ (Event::ChoiceFinished { .. } | Event::Alive)) => Ok(event),
            Err(error) => Err(self.failed(error)),
        })
    }

    /// Begins as many answers as there is room for, and waits for the room of one if none runs.
    async fn begin_what_may(&mut self) -> Result<(), EngineError> {
        while self.next < self.count {
            let sequences = Arc::clone(&self.sequences);
            let permit = if self.running_count() == 0 {
                sequences.acquire_owned().await.map_err(|_| closed())?
            } else {
                // Fails where anybody waits: what is given back goes to them.
                let Ok(permit) = sequences.try_acquire_owned() else { break };
                permit
            };
            let answer = (self.begin)(self.next, permit)?;
            self.running.push(numbered(self.next, answer));
            self.next += 1;
        }
        Ok(())
    }

    /// How many answers have begun and are not complete.
    fn running_count(&self) -> u32 {
        self.left - (self.count - self.next)
    }

    fn failed(&mut self, error: EngineError) -> EngineError {
        self.running.clear();
        self.next = self.count;
        error
    }

    fn finished(&mut self, choice: u32, reason: FinishReason, usage: Usage) -> Event {
        let usage = self.usage.take().map_or(usage, |sum| together(sum, usage));
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.ready.push_back(Event::Finished { reason, usage });
        }
        self.usage = Some(usage);
        Event::ChoiceFinished { choice, reason }
    }
}

pub(crate) fn closed() -> EngineError {
    EngineError::Lost { detail: "the engine was closed".to_owned() }
}

/// The prompt is the same for all, and counts once.
fn together(sum: Usage, more: Usage) -> Usage {
    let output_tokens = sum.output_tokens.zip(more.output_tokens).map(|(sum, more)| sum.saturating_add(more));
    let source = if sum.source == more.source { sum.source } else { UsageSource::Counted.into() };
    Usage { output_tokens, source, ..sum }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};

    use futures::executor::block_on;
    use futures::{FutureExt, StreamExt};
    use pointsman_engine::{EngineError, Event, Generation};
    use pointsman_proto::inference::v1::delta::Content;
    use pointsman_proto::inference::v1::{Delta, FinishReason, Usage, UsageSource};
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
    use tokio::sync::{OwnedSemaphorePermit, Semaphore};

    use super::join;

    type End = Result<(FinishReason, UsageSource), EngineError>;

    /// An answer of one piece.
    fn answer(text: &str, end: End) -> Generation {
        let delta = Delta { content: Some(Content::Text(text.to_owned())), ..Delta::default() };
        let end = end.map(|(reason, source)| finished(reason, source));
        futures::stream::iter([Ok(Event::Delta { delta, tokens: 2 }), end]).boxed()
    }

    fn finished(reason: FinishReason, source: UsageSource) -> Event {
        let usage = Usage { input_tokens: Some(7), output_tokens: Some(2), source: source.into(), ..Usage::default() };
        Event::Finished { reason, usage }
    }

    fn events(first: Generation, second: Result<Generation, EngineError>) -> Vec<Result<Event, EngineError>> {
        let second = Mutex::new(Some(second));
        let begin = move |_, _| second.lock().unwrap().take().unwrap();
        block_on(join(first, 2, Arc::new(Semaphore::new(1)), begin).collect())
    }

    #[test]
    fn answers_are_told_apart_and_counted_together() {
        let first = answer("a", Ok((FinishReason::Stop, UsageSource::Reported)));
        let events = events(first, Ok(answer("b", Ok((FinishReason::Length, UsageSource::Counted)))));
        let (mut texts, mut reasons) = (Vec::new(), Vec::new());
        let mut usage = None;
        for event in events {
            assert!(usage.is_none(), "something after the end");
            match event.unwrap() {
                Event::Delta { delta, .. } => texts.push((delta.choice, delta.content)),
                Event::ChoiceFinished { choice, reason } => reasons.push((choice, reason)),
                Event::Alive => {}
                Event::Finished { usage: all, .. } => usage = Some(all),
            }
        }
        texts.sort_by_key(|(choice, _)| *choice);
        reasons.sort_by_key(|(choice, _)| *choice);
        let text = |text: &str| Some(Content::Text(text.to_owned()));
        assert_eq!(texts, [(0, text("a")), (1, text("b"))]);
        assert_eq!(reasons, [(0, FinishReason::Stop), (1, FinishReason::Length)]);
        let want = Usage {
            input_tokens: Some(7),
            output_tokens: Some(4),
            source: UsageSource::Counted.into(),
            ..Usage::default()
        };
        assert_eq!(usage, Some(want));
    }

    #[test]
    fn an_error_of_one_ends_all() {
        assert_eq!(
            events(futures::stream::pending().boxed(), Err(EngineError::Saturated)),
            [Err(EngineError::Saturated)]
        );
        let broken = answer("a", Err(EngineError::Saturated));
        let ended = events(broken, Ok(futures::stream::pending().boxed()));
        assert_eq!(ended.last(), Some(&Err(EngineError::Saturated)));
    }

    /// Answers that end when they are told to. Each holds its permit until then.
    #[derive(Clone, Default)]
    struct Running(Arc<Mutex<HashMap<u32, UnboundedSender<OwnedSemaphorePermit>>>>);

    impl Running {
        fn begin(&self, choice: u32, permit: OwnedSemaphorePermit) -> Generation {
            let (sender, mut ended) = unbounded_channel();
            let held = Arc::new(Mutex::new(Some(permit)));
            self.0.lock().unwrap().insert(choice, sender);
            futures::stream::once(async move {
                ended.recv().await;
                drop(held.lock().unwrap().take());
                Ok(finished(FinishReason::Stop, UsageSource::Counted))
            })
            .boxed()
        }

        fn end(&self, choice: u32) {
            assert!(self.0.lock().unwrap().remove(&choice).is_some(), "{choice} does not run");
        }

        fn now(&self) -> Vec<u32> {
            let mut now: Vec<u32> = self.0.lock().unwrap().keys().copied().collect();
            now.sort_unstable();
            now
        }
    }

    #[test]
    fn answers_take_the_room_that_nobody_waits_for_and_whoever_comes_begins_within_one_answer() {
        let sequences = Arc::new(Semaphore::new(3));
        let running = Running::default();
        let first = running.begin(0, Arc::clone(&sequences).try_acquire_owned().unwrap());
        let beginning = running.clone();
        let mut all =
            join(first, 128, Arc::clone(&sequences), move |choice, permit| Ok(beginning.begin(choice, permit)));
        assert!(all.next().now_or_never().is_none());
        assert_eq!(running.now(), [0, 1, 2], "as many as there is room for");

        let mut others: Vec<_> = (0..3).map(|_| Box::pin(Arc::clone(&sequences).acquire_owned())).collect();
        let mut began = Vec::new();
        for (choice, other) in (0..).zip(&mut others) {
            assert!(other.as_mut().now_or_never().is_none());
            running.end(choice);
            assert!(all.next().now_or_never().is_some());
            began.push(other.as_mut().now_or_never().expect("the room of the answer that ended"));
        }
        assert!(all.next().now_or_never().is_none());
        assert!(running.now().is_empty(), "none runs, and one waits for its turn as others do");

        began.clear();
        assert!(all.next().now_or_never().is_none());
        assert_eq!(running.now(), [3, 4, 5]);
    }
}
