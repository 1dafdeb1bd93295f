//! Continuous batching: whoever runs steps together, whoever arrives is read first.

use std::time::Duration;

use tokio::sync::mpsc;

use super::Timing;
use super::sequence::{Sequence, Step};
use super::state::Shared;
use crate::{EngineError, Event};

/// A sequence that wants to join.
pub(super) struct Arrival {
    pub(super) sequence: Sequence,
    pub(super) prompt_tokens: u32,
    pub(super) events: mpsc::Sender<Result<Event, EngineError>>,
}

/// Runs until the engine is dropped.
pub(super) async fn run(limit: usize, timing: Timing, mut queue: mpsc::UnboundedReceiver<Arrival>, state: Shared) {
    let mut running: Vec<Arrival> = Vec::new();
    loop {
        if running.is_empty() {
            let Some(first) = queue.recv().await else { return };
            prefill(&first, timing).await;
            running.push(first);
        }
        while running.len() < limit
            && let Ok(next) = queue.try_recv()
        {
            prefill(&next, timing).await;
            running.push(next);
        }
        running.retain(|one| !one.events.is_closed());
        let further = u32::try_from(running.len().saturating_sub(1)).unwrap_or(u32::MAX);
        pause(timing.step + timing.step_per_sequence * further).await;
        if let Err(error) = state.check().await {
            running.drain(..).for_each(|one| drop(one.events.try_send(Err(error.clone()))));
        }
        step(&mut running, &state);
    }
}

async fn prefill(arrival: &Arrival, timing: Timing) {
    if !arrival.events.is_closed() {
        pause(timing.prefill_per_token * arrival.prompt_tokens).await;
    }
}

async fn pause(length: Duration) {
    if length.is_zero() { tokio::task::yield_now().await } else { tokio::time::sleep(length).await }
}

/// One token for everybody. Who has ended, failed or lost its reader leaves.
fn step(running: &mut Vec<Arrival>, state: &Shared) {
    let mut lost = false;
    running.retain_mut(|one| match one.sequence.step() {
        // Never full: the channel has room for the whole answer. Closed: the reader has gone.
        Step::Event(event) => one.events.try_send(Ok(event)).is_ok() && !one.sequence.ended(),
        Step::Error(error) => {
            let _ = one.events.try_send(Err(error));
            false
        }
        Step::Lose => {
            lost = true;
            false
        }
        Step::Stall => !one.events.is_closed(),
        // What that does, the next step shows.
        Step::Fall(to) => {
            state.fall(to);
            true
        }
        Step::End => false,
    });
    if lost {
        // As in a real engine, the channels just close.
        running.clear();
    }
}
