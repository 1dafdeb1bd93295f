//! Gateways are replaced one after the other under load, and no request fails.
//!
//! A client holds both addresses. What is its part: when an address refuses a connection, or closes one without
//! taking the request, it goes to the other. An error that was answered is a failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use pointsman_errors::Error;
use pointsman_testkit::eventually;
use tokio::task::JoinSet;

use crate::caller::{Client, chat_body, connect, read, say};
use crate::fleet::{FINISHED, Fleet, Member, chat, freeze, thaw};
use crate::service::{LIMIT, Service, Start};

/// Long enough that some run at any time, short enough for many.
const ENGINE: &str = "answer_tokens: 8, timing: {step: 5ms}";

/// Both gateways, and what was answered.
#[derive(Clone)]
struct Load {
    addresses: [String; 2],
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
}

/// Which address one client asks next.
#[derive(Default)]
struct Turn {
    at: usize,
    refused: usize,
}

impl Turn {
    /// The other address after each refusal, and now and then without one.
    fn ended(&mut self, load: &Load, taken: bool) -> Result<()> {
        self.refused = if taken { 0 } else { self.refused + 1 };
        ensure!(self.refused < 100, "both gateways refuse");
        let is_enough = taken && load.answered.fetch_add(1, Ordering::Relaxed).is_multiple_of(16);
        if !taken || is_enough {
            self.at = 1 - self.at;
        }
        Ok(())
    }
}

impl Load {
    fn goes(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    async fn over_http(self, stream: bool) -> Result<()> {
        let client = reqwest::Client::builder().timeout(LIMIT).build()?;
        let mut turn = Turn::default();
        while self.goes() {
            let url = format!("{}/v1/chat/completions", self.addresses[turn.at]);
            // No answer at all: the connection was refused, or closed while it was idle.
            let answer = client.post(url).json(&chat_body("chat", "Hello", stream)).send().await.ok();
            let taken = answer.is_some();
            if let Some(answer) = answer {
                let status = answer.status();
                let text = answer.text().await.context("an answer broke off")?;
                let is_whole = if stream { text.ends_with("data: [DONE]\n\n") } else { text.contains("\"stop\"") };
                ensure!(status == 200 && is_whole, "{status}: {text}");
            }
            turn.ended(&self, taken)?;
        }
        Ok(())
    }

    async fn over_grpc(self) -> Result<()> {
        let lazy = |address: &String| -> Result<Client> {
            let endpoint = tonic::transport::Endpoint::from_shared(address.clone())?;
            Ok(Client::new(endpoint.timeout(LIMIT).connect_lazy()))
        };
        let mut clients = [lazy(&self.addresses[0])?, lazy(&self.addresses[1])?];
        let mut turn = Turn::default();
        while self.goes() {
            let taken = match clients[turn.at].generate_stream(say("chat", "Hello")).await {
                Ok(frames) => read(frames.into_inner()).await?.whole().map(|_| true)?,
                Err(status) if Error::ours(&status).is_none() => false,
                Err(status) => bail!("refused: {status:?}"),
            };
            turn.ended(&self, taken)?;
        }
        Ok(())
    }

    /// Waits for so many more answers.
    async fn goes_on(&self, count: u64) -> Result<()> {
        let goal = self.answered.load(Ordering::Relaxed) + count;
        eventually!(LIMIT, self.answered.load(Ordering::Relaxed) >= goal)
    }
}

/// Drains a gateway, and starts it again at its address.
async fn replace(fleet: &Fleet, mut gateway: Service, load: &Load) -> Result<Service> {
    gateway.process.terminate().await?;
    let status = gateway.process.wait(LIMIT).await?;
    gateway.check(status, &[])?;
    load.goes_on(50).await?;
    let listen = gateway.address.trim_start_matches("http://");
    let next = fleet.another_gateway(Start { listen, ..Start::new("gateway", "") }).await?;
    load.goes_on(50).await?;
    Ok(next)
}

/// A caller that comes as soon as a new gateway listens is answered, though the gateway knows no instance yet.
#[tokio::test]
async fn a_gateway_that_has_just_started_looks_at_its_instances_first() -> Result<()> {
    let fleet = Fleet::start(&[Member::engine("")], &chat("")).await?;
    freeze(&fleet.workers[0]).await?;
    let config = format!("gateway: {{instances: [{{name: w1, endpoint: \"{}\"}}]}}\n", fleet.workers[0].address);
    let new = Start::new("gateway", &config).listening().await?;
    let mut client = connect(&new.address).await?;
    let answer = tokio::spawn(async move { client.generate(say("simulated", "Hello")).await });
    new.metric_is("pointsman_gateway_running_requests", 1).await?;
    assert_eq!(new.probe("readyz").await?, 503);
    thaw(&fleet.workers[0]).await?;
    answer.await??;
    new.stop().await?;
    fleet.stop_after(&[]).await
}

#[tokio::test]
async fn gateways_are_replaced_under_load_without_a_failed_request() -> Result<()> {
    let mut fleet = Fleet::start(&[Member::engine(ENGINE), Member::engine(ENGINE)], &chat("")).await?;
    let mut other = fleet.another_gateway(Start::new("gateway", "")).await?;
    let load = Load {
        addresses: [fleet.gateway.address.clone(), other.address.clone()],
        stop: Arc::default(),
        answered: Arc::default(),
    };
    let mut callers = JoinSet::new();
    for stream in [false, true, false, true] {
        callers.spawn(load.clone().over_http(stream));
        callers.spawn(load.clone().over_grpc());
    }
    load.goes_on(50).await?;
    for _ in 0..2 {
        other = replace(&fleet, other, &load).await?;
        std::mem::swap(&mut other, &mut fleet.gateway);
    }
    load.stop.store(true, Ordering::Relaxed);
    for ended in callers.join_all().await {
        ended?;
    }
    // What was refused was not begun: every request ran once, and to its end.
    let answered = load.answered.load(Ordering::Relaxed);
    assert_eq!(fleet.sum(FINISHED).await?, answered);
    assert_eq!(fleet.sum("pointsman_worker_requests_total{outcome=\"CANCELLED\"}").await?, 0);
    other.stop().await?;
    fleet.stop_after(&[]).await
}
