//! A caller leaves while it waits for a slot, for the first piece, and in the middle of an answer: nothing of it stays.

use anyhow::{Result, ensure};
use pointsman_testkit::eventually;
use tokio::task::JoinHandle;

use crate::caller::{chat_body, connect, post_chat, read_deltas, say};
use crate::fleet::{Fleet, Member, QUEUED, RUNNING, chat};
use crate::service::LIMIT;

const HANG: &str = "[{when: {equals: hang}, hang: {}}, {answer: one two three, delay: {per_piece: 1h}}]";
/// Of both workers together.
const SLOTS: u64 = 4;

/// Waits until the workers together have this value of these metrics.
pub async fn sum_is(fleet: &Fleet, metrics: &[&str], value: u64) -> Result<()> {
    let sum = async || {
        let mut sum = 0;
        for metric in metrics {
            sum += fleet.sum(metric).await.map_err(|error| error.to_string())?;
        }
        if sum == value { Ok(()) } else { Err(format!("{metrics:?} is {sum}, not {value}")) }
    };
    eventually!(LIMIT, sum().await)
}

/// Calls over a surface, streamed or whole, in turn, beside the test.
fn call(address: &str, text: &'static str, number: usize) -> JoinHandle<Result<()>> {
    let address = address.to_owned();
    let (over_http, stream) = (number.is_multiple_of(2), number % 4 < 2);
    tokio::spawn(async move {
        if over_http {
            let mut response = post_chat(&address, &chat_body("chat", text, stream)).await?;
            while response.chunk().await?.is_some() {}
            return Ok(());
        }
        let mut client = connect(&address).await?;
        if stream {
            let mut frames = client.generate_stream(say("chat", text)).await?.into_inner();
            while frames.message().await?.is_some() {}
        } else {
            client.generate(say("chat", text)).await?;
        }
        Ok(())
    })
}

fn leave(calls: Vec<JoinHandle<Result<()>>>) {
    calls.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn who_leaves_in_any_phase_frees_what_was_its() -> Result<()> {
    let worker = Member { worker: "slots: 2, queue: 32", ..Member::replies(HANG) };
    let fleet = Fleet::start(&[worker, worker], &chat("")).await?;
    let address = &fleet.gateway.address;

    let mut waiting = Vec::new();
    while fleet.sum(RUNNING).await? < SLOTS || waiting.len() < 4 {
        ensure!(waiting.len() < 32, "a slot is never used");
        waiting.push(call(address, "hang", waiting.len()));
        sum_is(&fleet, &[RUNNING, QUEUED], waiting.len() as u64).await?;
    }
    let before = fleet.sum(QUEUED).await?;
    let queued = (0..4).map(|number| call(address, "hang", number)).collect();
    sum_is(&fleet, &[QUEUED], before + 4).await?;
    leave(queued);
    sum_is(&fleet, &[QUEUED], before).await?;
    assert_eq!(fleet.sum(RUNNING).await?, SLOTS, "those before the queue are others'");

    leave(waiting);
    sum_is(&fleet, &[RUNNING, QUEUED], 0).await?;

    let mut client = connect(address).await?;
    let mut frames = client.generate_stream(say("chat", "Hello")).await?.into_inner();
    read_deltas(&mut frames, 1).await?;
    let mut events = post_chat(address, &chat_body("chat", "Hello", true)).await?;
    assert!(events.chunk().await?.is_some());
    let others = (0..4).map(|number| call(address, "Hello", number)).collect();
    sum_is(&fleet, &[RUNNING, QUEUED], 6).await?;
    drop((frames, events));
    leave(others);
    sum_is(&fleet, &[RUNNING, QUEUED], 0).await?;
    fleet.gateway.metric_is("pointsman_gateway_running_requests", 0).await?;
    fleet.stop_after(&[]).await
}
