//! A worker tells how busy it is, to whoever chooses between workers.

use anyhow::{Context, Result};
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Load, WatchLoadRequest};
use tokio::time::timeout;
use tonic::Streaming;

use crate::caller::{Client, connect, read, say, say_at_most};
use crate::service::{LIMIT, Service, Start, simulated_config};

/// Of `Hello`, for a simulated engine: the word and the template around it.
const PROMPT: u64 = 5;
/// The most that an answer counts.
const ANSWER: u64 = 512;

fn load(running: (u32, u64), queued: (u32, u64)) -> Load {
    Load {
        running_requests: running.0,
        running_tokens: running.1,
        queued_requests: queued.0,
        queued_tokens: queued.1,
        slots: 2,
        queue_places: 64,
    }
}

/// Two slots, and answers that would take minutes, a token each 200 ms.
async fn slow_worker() -> Result<(Service, Client, Streaming<Load>)> {
    let engine = simulated_config("answer_tokens: 1000, timing: {step: 200ms}");
    let worker = Start::new("worker", &format!("{engine}worker: {{slots: 2}}\n")).ready().await?;
    let mut client = connect(&worker.address).await?;
    let loads = client.watch_load(WatchLoadRequest {}).await?.into_inner();
    Ok((worker, client, loads))
}

/// Reads until the load is this.
async fn load_is(loads: &mut Streaming<Load>, want: Load) -> Result<()> {
    let mut last = None;
    let reached = async {
        while let Some(load) = loads.message().await? {
            if load == want {
                return Ok(());
            }
            last = Some(load);
        }
        anyhow::bail!("the watch ended")
    };
    let reached = timeout(LIMIT, reached).await;
    reached.ok().context("the load does not change").flatten().with_context(|| format!("{want:?}, but {last:?}"))
}

#[tokio::test]
async fn a_watch_follows_what_runs_and_what_waits() -> Result<()> {
    let (worker, mut client, mut loads) = slow_worker().await?;
    load_is(&mut loads, load((0, 0), (0, 0))).await?;

    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(client.generate_stream(say("simulated", "Hello")).await?.into_inner());
    }
    // After their first tokens nothing of the prompts is left to do.
    load_is(&mut loads, load((2, 2 * ANSWER), (0, 0))).await?;

    // They are taken at once, though they wait.
    for limit in [3, 100_000, 7] {
        let request = say_at_most("simulated", "Hello", limit);
        answers.push(client.generate_stream(request).await?.into_inner());
    }
    let queued = 3 * PROMPT + 3 + ANSWER + 7;
    load_is(&mut loads, load((2, 2 * ANSWER), (3, queued))).await?;

    // The next in the queue gets the slot, and says in its first frame how busy the worker was then.
    drop(answers.remove(0));
    let mut next = answers.remove(1);
    let first = timeout(LIMIT, next.message()).await??.context("no frame")?;
    let Some(Body::Started(started)) = first.body else { anyhow::bail!("not Started: {first:?}") };
    assert_eq!(started.load, Some(load((2, ANSWER + PROMPT + 3), (2, 2 * PROMPT + ANSWER + 7))));
    assert!(read(next).await?.whole()?.starts_with("You said:"));

    drop(answers);
    load_is(&mut loads, load((0, 0), (0, 0))).await?;
    worker.stop().await
}

#[tokio::test]
async fn a_watch_ends_when_the_drain_begins() -> Result<()> {
    let (mut worker, mut client, mut loads) = slow_worker().await?;
    let answer = client.generate_stream(say_at_most("simulated", "Hello", 10)).await?.into_inner();
    load_is(&mut loads, load((1, 10), (0, 0))).await?;
    worker.process.interrupt().await?;
    let end = async {
        while loads.message().await?.is_some() {}
        anyhow::Ok(())
    };
    timeout(LIMIT, end).await.context("the watch goes on")??;
    // What runs is finished all the same.
    read(answer).await?.whole()?;
    let status = worker.process.wait(LIMIT).await?;
    worker.check(status, &[])
}
