//! Who goes first when capacity is short: what is left of a queue is kept for those that somebody waits for.

use std::time::Duration;

use anyhow::{Context, Result};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::{GenerateRequest, Priority};
use pointsman_testkit::eventually;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::caller::{Client, connect, read, read_deltas, reason, retry_delay, say};
use crate::named::{ENDLESS, RUNNING};
use crate::service::{LIMIT, Pair, Start, simulated_config};

const QUEUED: &str = "pointsman_worker_queued_requests";
const REFUSED: &str = "pointsman_worker_requests_total{outcome=\"QUEUE_FULL\"}";

fn of(priority: Priority) -> GenerateRequest {
    GenerateRequest { priority: priority.into(), ..say("simulated", "Hello") }
}

/// Sends requests that stay: they run, or wait for a slot. Dropping the handles ends them.
fn send(client: &Client, priority: Priority, count: usize) -> Vec<Waiting> {
    let one = |_| {
        let mut client = client.clone();
        Waiting(tokio::spawn(async move { client.generate(of(priority)).await.map(drop) }))
    };
    (0..count).map(one).collect()
}

struct Waiting(JoinHandle<Result<(), Status>>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks until it is refused: a gateway hears of a worker's load a little later. What is taken waits for ever, and
/// is let go.
async fn refused(client: &Client, priority: Priority) -> Result<Status> {
    let ask = || async {
        let mut client = client.clone();
        timeout(Duration::from_secs(1), client.generate(of(priority))).await.ok()?.err()
    };
    eventually!(LIMIT, ask().await).with_context(|| format!("{priority:?} is taken"))
}

#[tokio::test]
async fn what_can_wait_is_refused_before_what_cannot() -> Result<()> {
    // One runs, and of the 20 that may wait 10 may be bulk, and 18 of no priority.
    let worker = format!("{}worker: {{slots: 1, queue: 20}}\n", simulated_config(ENDLESS));
    let mesh = Pair::start(&worker, &[]).await?;
    let client = connect(&mesh.gateway.address).await?;
    let mut there = send(&client, Priority::Bulk, 6);
    mesh.worker.metric_is(RUNNING, 1).await?;
    mesh.worker.metric_is(QUEUED, 5).await?;
    there.extend(send(&client, Priority::Default, 5));
    mesh.worker.metric_is(QUEUED, 10).await?;

    let bulk = refused(&client, Priority::Bulk).await?;
    assert_eq!((bulk.code(), reason(&bulk)?), (Code::ResourceExhausted, Reason::Overloaded));
    assert!(retry_delay(&bulk).is_some_and(|delay| delay > Duration::ZERO), "{bulk:?}");
    mesh.worker.metric_is(QUEUED, 10).await?;
    there.extend(send(&client, Priority::Default, 8));
    mesh.worker.metric_is(QUEUED, 18).await?;

    for priority in [Priority::Unspecified, Priority::Default, Priority::Bulk] {
        assert_eq!(reason(&refused(&client, priority).await?)?, Reason::Overloaded, "{priority:?}");
    }
    mesh.worker.metric_is(QUEUED, 18).await?;
    there.extend(send(&client, Priority::Interactive, 2));
    mesh.worker.metric_is(QUEUED, 20).await?;
    // The rest is the worker's to say.
    assert_eq!(mesh.worker.metric(REFUSED).await?, 0);
    let full = refused(&client, Priority::Interactive).await?;
    assert_eq!((reason(&full)?, mesh.worker.metric(REFUSED).await?), (Reason::QueueFull, 1));

    // As soon as there is room again, everybody is let in.
    drop(there);
    mesh.worker.metric_is(QUEUED, 0).await?;
    mesh.worker.metric_is(RUNNING, 0).await?;
    let let_in = || async {
        let mut stream = client.clone().generate_stream(of(Priority::Bulk)).await.ok()?.into_inner();
        stream.message().await.ok()?
    };
    eventually!(LIMIT, let_in().await)?;
    mesh.stop().await
}

#[tokio::test]
async fn the_meshs_own_priority_is_no_callers() -> Result<()> {
    let mesh = Pair::start(&simulated_config(""), &[]).await?;
    let mut client = connect(&mesh.gateway.address).await?;
    // With a name and without.
    for request_id in ["", "mine"] {
        let asked = GenerateRequest { request_id: request_id.to_owned(), ..of(Priority::System) };
        let refused = client.generate(asked).await.err().context("it is taken")?;
        assert_eq!(reason(&refused)?, Reason::InvalidRequest);
        assert!(refused.message().starts_with("priority: must not be PRIORITY_SYSTEM"), "{refused:?}");
    }
    // Between the mesh's own parts it is what it says.
    let mut worker = connect(&mesh.worker.address).await?;
    let own = GenerateRequest { request_id: "own".to_owned(), ..of(Priority::System) };
    assert_eq!(read(worker.generate_stream(own).await?.into_inner()).await?.whole()?, "You said: Hello");
    mesh.stop().await
}

/// Each reply once, in the order in which the requests got a slot.
const IN_ORDER: &str = "\
replies:
  - {when: {equals: holds the slot}, answer: one two, delay: {per_piece: 1h}}
  - {times: 1, answer: first}
  - {times: 1, answer: second}
  - {times: 1, answer: third}
  - {times: 1, answer: fourth}
";

#[tokio::test]
async fn what_somebody_waits_for_overtakes_what_can_wait() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("replies.yaml");
    std::fs::write(&script, IN_ORDER)?;
    let engine = simulated_config(&format!("script: \"{}\"", script.display()));
    let worker = Start::new("worker", &format!("{engine}worker: {{slots: 1, queue: 8}}\n")).ready().await?;
    let mut client = connect(&worker.address).await?;
    let mut running = client.generate_stream(say("simulated", "holds the slot")).await?.into_inner();
    read_deltas(&mut running, 1).await?;

    let mut waiting = Vec::new();
    for (priority, turn) in [
        (Priority::Bulk, "fourth"),
        (Priority::Default, "second"),
        (Priority::Unspecified, "third"),
        (Priority::Interactive, "first"),
    ] {
        // It is in the queue when its headers are there.
        let frames = client.generate_stream(of(priority)).await?.into_inner();
        worker.metric_is(QUEUED, waiting.len() as u64 + 1).await?;
        waiting.push((priority, turn, frames));
    }
    drop(running);
    for (priority, turn, frames) in waiting {
        assert_eq!(read(frames).await?.whole()?, turn, "{priority:?}");
    }
    worker.stop().await
}
