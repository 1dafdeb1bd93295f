//! 10,000 requests that are wrong in some way, against every surface: nobody panics, nobody answers with an error of
//! its own, and nothing of them stays in memory.

mod chance;
mod grpc;
mod wire;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use crate::caller::{chat_body, connect, post_chat, say};
use crate::fleet::{QUEUED, RUNNING};
use crate::service::{Pair, Service, Start, simulated_config};
use chance::Chance;

const REQUESTS: u64 = 10_000;
/// Beside each other, so that one that waits for a time limit holds up none of the others.
const LANES: u64 = 16;
/// A round's memory may be more than the one before by allocators' caches, not by what each request leaves: 4 KiB of
/// each of 5,000 would be more.
const GROWTH: u64 = 16 << 20;
/// So that half a request is given up soon.
const LIMITS: &str =
    "server: {connection: {first_byte_timeout: 500ms, header_read_timeout: 500ms, body_timeout: 500ms}}\n";

/// What became of a request, for counting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Over HTTP.
    Status(u16),
    /// Over gRPC.
    Code(i32),
    /// Not answered: the connection was closed.
    Closed,
}

/// How many ended how.
type Outcomes = BTreeMap<Outcome, u64>;

impl Outcome {
    /// Whether it says that the service itself has failed: 5xx, UNKNOWN, INTERNAL, UNAVAILABLE, DATA_LOSS.
    fn is_failure(&self) -> bool {
        match self {
            Self::Status(status) => *status >= 500,
            Self::Code(code) => [2, 13, 14, 15].contains(code),
            Self::Closed => false,
        }
    }

    fn is_refusal(&self) -> bool {
        !matches!(self, Self::Status(200) | Self::Code(0))
    }
}

/// The ports of both processes.
#[derive(Clone)]
struct Surfaces {
    gateway: String,
    worker: String,
    operators: [String; 2],
}

impl Surfaces {
    fn of(mesh: &Pair) -> Self {
        let operators = [mesh.gateway.operator.clone(), mesh.worker.operator.clone()];
        Self { gateway: mesh.gateway.address.clone(), worker: mesh.worker.address.clone(), operators }
    }

    /// Makes one malformed request; what it is follows from its number.
    async fn malform(&self, number: u64) -> Result<Outcome> {
        let mut chance = Chance::new(number);
        let port = match chance.below(8) {
            0..4 => &self.gateway,
            4..6 => &self.worker,
            _ => &self.operators[chance.below(2)],
        };
        match chance.below(10) {
            0..5 => wire::http(port, &mut chance).await,
            5..9 => grpc::call(port, &mut chance).await,
            _ => wire::http2(port, &mut chance).await,
        }
    }
}

/// Makes the requests of these numbers, each lane its own.
async fn round(surfaces: &Surfaces, numbers: std::ops::Range<u64>) -> Result<Outcomes> {
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let (surfaces, numbers) = (surfaces.clone(), numbers.clone());
        lanes.spawn(async move {
            let mut outcomes = Outcomes::new();
            for number in numbers.filter(|number| number % LANES == lane) {
                let outcome = surfaces.malform(number).await.with_context(|| format!("request {number}"))?;
                ensure!(!outcome.is_failure(), "request {number}: {outcome:?}");
                *outcomes.entry(outcome).or_default() += 1;
            }
            anyhow::Ok(outcomes)
        });
    }
    let mut all = Outcomes::new();
    for outcomes in lanes.join_all().await {
        for (outcome, count) in outcomes? {
            *all.entry(outcome).or_default() += count;
        }
    }
    Ok(all)
}

/// The memory of a process that is in use, in bytes.
fn memory(service: &Service) -> Result<u64> {
    let id = service.process.id().context("it has ended")?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes << 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_malformed_is_refused_and_forgotten() -> Result<()> {
    let worker = Start::new("worker", &format!("{}{LIMITS}", simulated_config(""))).ready().await?;
    let instances = format!("gateway: {{instances: [{{name: one, endpoint: \"{}\"}}]}}\n{LIMITS}", worker.address);
    let gateway = Start::new("gateway", &instances).ready().await?;
    let mesh = Pair { gateway, worker };
    let surfaces = Surfaces::of(&mesh);

    let first = round(&surfaces, 0..REQUESTS / 2).await?;
    let before = [memory(&mesh.gateway)?, memory(&mesh.worker)?];
    let second = round(&surfaces, REQUESTS / 2..REQUESTS).await?;
    let after = [memory(&mesh.gateway)?, memory(&mesh.worker)?];
    for (before, after) in before.into_iter().zip(after) {
        assert!(after < before + GROWTH, "{before} bytes in the middle, {after} in the end");
    }
    // Most are wrong in a way that is told, and some turn out right.
    for outcomes in [&first, &second] {
        let refused: u64 = outcomes.iter().filter(|(outcome, _)| outcome.is_refusal()).map(|(_, count)| count).sum();
        assert!(refused > REQUESTS / 4 && refused < REQUESTS / 2, "{outcomes:?}");
        let answered = outcomes.keys().filter(|outcome| matches!(outcome, Outcome::Status(_) | Outcome::Code(_)));
        assert!(answered.count() > 8, "{outcomes:?}");
    }

    let answer = connect(&mesh.gateway.address).await?.generate(say("simulated", "Hello")).await?;
    assert_eq!(answer.into_inner().choices.len(), 1);
    assert_eq!(post_chat(&mesh.gateway.address, &chat_body("simulated", "Hello", true)).await?.status(), 200);
    mesh.gateway.metric_is("pointsman_gateway_running_requests", 0).await?;
    mesh.worker.metric_is(RUNNING, 0).await?;
    mesh.worker.metric_is(QUEUED, 0).await?;
    mesh.stop().await
}
