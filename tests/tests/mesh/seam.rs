//! The seam between services: a caller cannot tell whether its peer is in the same process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pointsman_client::{Channel, Config, in_process, remote};
use pointsman_engine::simulated::{self, SimulatedEngine, Timing};
use pointsman_errors::{Error, Reason};
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;
use pointsman_server::{Context, Drain, Metrics, Readiness, Requests, Usage, Work};
use pointsman_testkit::eventually;
use tonic::Request;
use tonic::service::Routes;

use crate::caller::{read, read_deltas, say, say_at_most};
use crate::service::{LIMIT, Service, Start};

/// One slot and no queue, so that what is not given back is noticed; an answer takes 50 s.
const STEP: Duration = Duration::from_millis(50);
const ANSWER: u32 = 1000;
const PROCESS: &str = "
worker: { slots: 1, queue: 0 }
engine: { simulated: { answer_tokens: 1000, timing: { step: 50ms } } }
";

/// A worker behind each kind of channel.
struct Peer {
    name: &'static str,
    channel: Channel,
    _process: Option<Service>,
}

async fn peers(config: &Config) -> Result<[Peer; 2]> {
    let service = Start::new("worker", PROCESS).ready().await?;
    let channel = remote(&service.address, None, config)?;
    Ok([
        Peer { name: "in process", channel: in_process(worker(), config), _process: None },
        Peer { name: "remote", channel, _process: Some(service) },
    ])
}

/// The same worker as [`PROCESS`], as routes.
fn worker() -> Routes {
    let timing = Timing { step: STEP, ..Timing::default() };
    let engine = simulated::Config { answer_tokens: Some(ANSWER), timing, ..simulated::Config::default() };
    let deps = pointsman_worker::Deps {
        given_up: pointsman_worker::GivenUp::IsReported,
        engine: Arc::new(SimulatedEngine::new(engine)),
        others: Vec::new(),
        instance: "worker-1".to_owned(),
        max_request_bytes: 1 << 20,
    };
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let context = Context {
        instance: "worker-1".to_owned(),
        address: nowhere,
        operator_address: nowhere,
        drain: Drain::default(),
        metrics: Metrics::default(),
        readiness: Readiness::default(),
        requests: Requests::default(),
        work: Work::default(),
        usage: Usage::default(),
    };
    let config = pointsman_worker::Config { slots: 1, queue: 0, ..pointsman_worker::Config::default() };
    Routes::from(pointsman_worker::build(&config, deps, &context).router)
}

#[tokio::test]
async fn a_deadline_ends_a_stream_in_its_middle() -> Result<()> {
    for peer in peers(&Config::default()).await? {
        let mut client = InferenceServiceClient::new(peer.channel);
        let mut request = Request::new(say("simulated", "Hello"));
        request.set_timeout(STEP * 10);
        let read = read_any(client.generate_stream(request).await?.into_inner()).await?;
        ensure!(read.0 > 0, "{}: nothing came before the deadline", peer.name);
        ensure!(read.1 == Some(Reason::DeadlineExceeded), "{}: {read:?}", peer.name);
    }
    Ok(())
}

#[tokio::test]
async fn dropping_a_stream_gives_its_slot_back() -> Result<()> {
    for peer in peers(&Config::default()).await? {
        let mut client = InferenceServiceClient::new(peer.channel);
        let mut frames = client.generate_stream(say("simulated", "Hello")).await?.into_inner();
        read_deltas(&mut frames, 1).await?;
        let refused =
            client.generate_stream(say("simulated", "Hello")).await.err().context("there was a second slot")?;
        ensure!(Error::from_status(&refused).reason() == Reason::QueueFull, "{}: {refused:?}", peer.name);
        drop(frames);
        let next = say_at_most("simulated", "Hello", 1);
        eventually!(LIMIT, client.generate_stream(next.clone()).await)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_channel_bounds_its_streams_to_their_end() -> Result<()> {
    let config = Config { max_in_flight: 1, ..Config::default() };
    for peer in peers(&config).await? {
        let mut client = InferenceServiceClient::new(peer.channel);
        let mut frames = client.generate_stream(say("simulated", "Hello")).await?.into_inner();
        read_deltas(&mut frames, 1).await?;
        let refused = client.describe(pointsman_proto::inference::v1::DescribeRequest {}).await;
        let refused = refused.err().context("the limit does not hold")?;
        ensure!(Error::from_status(&refused).reason() == Reason::QueueFull, "{}: {refused:?}", peer.name);
        drop(frames);
        eventually!(LIMIT, client.describe(pointsman_proto::inference::v1::DescribeRequest {}).await)?;
    }
    Ok(())
}

#[tokio::test]
async fn errors_are_the_same_to_the_letter() -> Result<()> {
    let mut told = Vec::new();
    for peer in peers(&Config::default()).await? {
        let mut client = InferenceServiceClient::new(peer.channel);
        let request = pointsman_proto::inference::v1::GenerateRequest { seed: Some(1), ..say("", "") };
        let refused = client.generate(request).await.err().context("it was taken")?;
        told.push(format!("{:?}", Error::from_status(&refused)));
    }
    ensure!(told[0] == told[1] && told[0].contains("messages[0].parts[0].text"), "{told:?}");
    Ok(())
}

/// How many pieces came, and the reason for the end.
async fn read_any(frames: tonic::Streaming<pointsman_proto::inference::v1::Frame>) -> Result<(usize, Option<Reason>)> {
    let read = read(frames).await?;
    Ok((read.pieces, read.error.as_ref().map(|status| Error::from_status(status).reason())))
}
