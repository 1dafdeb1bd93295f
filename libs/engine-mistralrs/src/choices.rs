//! Several answers to one request, as one generation.

use std::collections::VecDeque;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, SelectAll, StreamExt, TryStreamExt, once, unfold};
use pointsman_engine::{EngineError, Event, Generation};
use pointsman_proto::inference::v1::{FinishReason, Usage, UsageSource};

/// Begins an answer.
pub(crate) type Beginning = BoxFuture<'static, Result<Generation, EngineError>>;

/// Joins answers into one generation, each with its number. An error of one is an error of all; the others are
/// dropped then.
pub(crate) fn join(answers: Vec<Beginning>) -> Generation {
    let numbered = (0_u32..).zip(answers).map(|(choice, answer)| {
        // Each begins when there is room for it, whatever the others do: none holds a place while it waits.
        once(answer).try_flatten().map(move |event| (choice, event)).boxed()
    });
    let running: SelectAll<BoxStream<'static, (u32, Result<Event, EngineError>)>> = numbered.collect();
    let left = running.len();
    let choices = Choices { running, left, ready: VecDeque::new(), usage: None };
    unfold(choices, |mut choices| async move { choices.next().await.map(|event| (event, choices)) }).fuse().boxed()
}

struct Choices {
    running: SelectAll<BoxStream<'static, (u32, Result<Event, EngineError>)>>,
    /// Answers that are not complete.
    left: usize,
    ready: VecDeque<Event>,
    usage: Option<Usage>,
}

impl Choices {
    async fn next(&mut self) -> Option<Result<Event, EngineError>> {
        if let Some(event) = self.ready.pop_front() {
            return Some(Ok(event));
        }
        let (choice, event) = self.running.next().await?;
        Some(match event {
            Ok(Event::Delta { mut delta, tokens }) => {
                delta.choice = choice;
                Ok(Event::Delta { delta, tokens })
            }
            Ok(Event::Finished { reason, usage }) => Ok(self.finished(choice, reason, usage)),
            Ok(event @ (Event::ChoiceFinished { .. } | Event::Alive)) => Ok(event),
            Err(error) => {
                self.running.clear();
                Err(error)
            }
        })
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

/// The prompt is the same for all, and counts once.
fn together(sum: Usage, more: Usage) -> Usage {
    let output_tokens = sum.output_tokens.zip(more.output_tokens).map(|(sum, more)| sum.saturating_add(more));
    let source = if sum.source == more.source { sum.source } else { UsageSource::Counted.into() };
    Usage { output_tokens, source, ..sum }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::{FutureExt, StreamExt};
    use pointsman_engine::{EngineError, Event};
    use pointsman_proto::inference::v1::delta::Content;
    use pointsman_proto::inference::v1::{Delta, FinishReason, Usage, UsageSource};

    use super::{Beginning, join};

    fn answer(text: &str, end: Result<(FinishReason, UsageSource), EngineError>) -> Beginning {
        let delta = Delta { content: Some(Content::Text(text.to_owned())), ..Delta::default() };
        let end = end.map(|(reason, source)| {
            let usage =
                Usage { input_tokens: Some(7), output_tokens: Some(2), source: source.into(), ..Usage::default() };
            Event::Finished { reason, usage }
        });
        async move { Ok(futures::stream::iter([Ok(Event::Delta { delta, tokens: 2 }), end]).boxed()) }.boxed()
    }

    fn events(answers: Vec<Beginning>) -> Vec<Result<Event, EngineError>> {
        block_on(join(answers).collect())
    }

    #[test]
    fn answers_are_told_apart_and_counted_together() {
        let events = events(vec![
            answer("a", Ok((FinishReason::Stop, UsageSource::Reported))),
            answer("b", Ok((FinishReason::Length, UsageSource::Counted))),
        ]);
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
        let events = events(vec![async { Err(EngineError::Saturated) }.boxed(), std::future::pending().boxed()]);
        assert_eq!(events, [Err(EngineError::Saturated)]);
    }
}
