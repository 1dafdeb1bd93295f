//! Each of the processes that a turn passes is killed or stopped in mid-turn, alone and in pairs, while turns come.
//!
//! Afterwards every turn whose end a caller saw is there once, in order, with the words that the caller saw; and nothing
//! is there twice.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pointsman_proto::inference::v1::GenerateRequest;
use tokio::time::{Instant, sleep, timeout};

use super::stores::{Kept, Victim};
use super::{revision, said, sessions, turn, turns};
use crate::caller::{Client, connect};
use crate::named::{ask, text};
use crate::service::LIMIT;

/// Sessions of one writer each, and one that two share.
const SESSIONS: [&str; 5] = ["a", "b", "c", "shared", "shared"];
/// A turn takes some 100 ms, so that faults meet turns at each of their stages.
const ENGINE: &str = "answer_tokens: 8, timing: {step: 10ms}";
/// What is expected in logs: of those who are away, of what they were asked, and of the wait for them.
const EXPECTED: &[&str] = &["WARN", "ERROR"];

/// A turn whose end its caller saw.
#[derive(Debug)]
struct Seen {
    revision: u64,
    request_id: String,
    answer: String,
}

struct Load {
    address: String,
    is_over: AtomicBool,
    /// Turns that were seen to their end, by all writers.
    count: AtomicU64,
}

impl Load {
    /// Sends one turn after the other, each until its end was seen.
    async fn write(self: Arc<Self>, session: &'static str, writer: usize) -> Result<Vec<Seen>> {
        let mut seen = Vec::new();
        while !self.is_over.load(Ordering::Relaxed) {
            let request_id = format!("{session}-{writer}-{}", seen.len());
            let request = GenerateRequest { request_id: request_id.clone(), ..turn(session, &request_id) };
            let (revision, answer) =
                timeout(LIMIT, self.until_seen(request)).await.with_context(|| request_id.clone())??;
            self.count.fetch_add(1, Ordering::Relaxed);
            seen.push(Seen { revision, request_id, answer });
        }
        Ok(seen)
    }

    async fn until_seen(&self, request: GenerateRequest) -> Result<(u64, String)> {
        loop {
            // A connection of its own each time, as of a caller that was restarted.
            let answered = async {
                let mut client: Client = connect(&self.address).await?;
                ask(&mut client, request.clone()).await
            };
            // Whoever waits longer asks again, as a person does; the first may still be on its way.
            match timeout(Duration::from_secs(5), answered).await {
                Ok(Ok(frames)) if revision(&frames).is_ok() => return Ok((revision(&frames)?, text(&frames))),
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Waits until so many more turns were seen.
    async fn goes_on(&self, more: u64) -> Result<()> {
        let (from, until) = (self.count.load(Ordering::Relaxed), Instant::now() + LIMIT);
        while self.count.load(Ordering::Relaxed) < from + more {
            ensure!(Instant::now() < until, "no turn comes to its end");
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// What happens while turns come, one fault after the other.
async fn under_load(faults: impl AsyncFnOnce(&mut Kept, &Load) -> Result<()>) -> Result<()> {
    let mut kept = Kept::start(ENGINE, true).await?;
    let address = kept.gateway.address.clone();
    let load = Arc::new(Load { address, is_over: AtomicBool::new(false), count: AtomicU64::new(0) });
    let writers = SESSIONS
        .iter()
        .zip(0..)
        .map(|(session, writer)| (*session, tokio::spawn(Arc::clone(&load).write(session, writer))));
    let writers: Vec<_> = writers.collect();
    load.goes_on(5).await?;
    faults(&mut kept, &load).await?;
    load.is_over.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    for (session, writer) in writers {
        all.push((session, writer.await??));
    }
    let mut store = sessions(&kept.gateway.address).await?;
    for (session, seen) in all {
        let kept = turns(&mut store, session).await?;
        let names: HashSet<&str> = kept.iter().map(|turn| turn.request_id.as_str()).collect();
        assert_eq!(names.len(), kept.len(), "{session} has a turn twice");
        assert!(kept.iter().zip(1..).all(|(turn, revision)| turn.revision == revision), "{session} has a gap");
        assert!(seen.is_sorted_by_key(|seen| seen.revision), "{session} is not in order");
        for Seen { revision, request_id, answer } in seen {
            let turn = usize::try_from(revision - 1).ok().and_then(|index| kept.get(index));
            let turn = turn.with_context(|| format!("{request_id} is lost"))?;
            let output = turn.output.as_ref().map(|message| said(std::slice::from_ref(message)));
            assert_eq!((&turn.request_id, output), (&request_id, Some(answer)));
        }
    }
    kept.stop_after(EXPECTED).await
}

#[tokio::test]
async fn whoever_is_killed_no_turn_is_lost_or_doubled() -> Result<()> {
    under_load(async |kept, load| {
        for victim in Victim::ALL {
            kept.kill(victim).await?;
            sleep(Duration::from_millis(200)).await;
            kept.revive(victim).await?;
            load.goes_on(5).await?;
        }
        Ok(())
    })
    .await
}

/// Every two of them.
fn pairs() -> impl Iterator<Item = (Victim, Victim)> {
    let others = |index: usize| Victim::ALL.into_iter().skip(index + 1);
    Victim::ALL.into_iter().enumerate().flat_map(move |(index, first)| others(index).map(move |second| (first, second)))
}

#[tokio::test]
async fn whichever_two_are_killed_no_turn_is_lost_or_doubled() -> Result<()> {
    under_load(async |kept, load| {
        for (first, second) in pairs() {
            kept.kill(first).await?;
            kept.kill(second).await?;
            // In this order: a store that starts waits for its database.
            kept.revive(first).await?;
            kept.revive(second).await?;
            load.goes_on(5).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn whoever_is_stopped_for_a_while_no_turn_is_lost_or_doubled() -> Result<()> {
    under_load(async |kept, load| {
        for victim in Victim::ALL {
            kept.freeze(victim).await?;
            // Longer than a lease lives, and than its store waits for it.
            sleep(Duration::from_millis(2500)).await;
            kept.thaw(victim).await?;
            load.goes_on(5).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn whichever_two_are_stopped_for_a_while_no_turn_is_lost_or_doubled() -> Result<()> {
    under_load(async |kept, load| {
        for (first, second) in pairs() {
            kept.freeze(first).await?;
            kept.freeze(second).await?;
            sleep(Duration::from_millis(2500)).await;
            kept.thaw(first).await?;
            kept.thaw(second).await?;
            load.goes_on(5).await?;
        }
        Ok(())
    })
    .await
}
