//! Several gateways that share named requests: each is generated once, whichever of them is asked.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::{Frame, MeshContext};
use pointsman_proto::mesh_context;
use pointsman_testkit::{eventually, ports};
use tonic::{Code, Request, Streaming};

use crate::caller::{chat_body, connect, reason, say};
use crate::named::{
    CANCELLED, ENDLESS, FINISHED, RUNNING, SLOW, Wire, ask, check_whole, frames, generations, lasting, named, new_key,
    post, refusal, resume, text, token,
};
use crate::program::pointsman;
use crate::repeats::events::last_id;
use crate::service::{LIMIT, Service, Start, simulated_config};

/// Names among which each of two gateways owns some.
pub const IDS: usize = 20;

/// Two gateways, each the other's peer, before one worker.
pub struct Peers {
    pub a: Service,
    pub b: Service,
    worker: Service,
    mesh: [SocketAddr; 2],
}

impl Peers {
    pub async fn start(engine: &str) -> Result<Self> {
        let worker = Start::new("worker", &simulated_config(engine)).ready().await?;
        let mesh = [ports::free_address()?, ports::free_address()?];
        let a = Start::new("gateway", &config("a", mesh[0], ("b", mesh[1]), &worker)).ready().await?;
        let b = Start::new("gateway", &config("b", mesh[1], ("a", mesh[0]), &worker)).ready().await?;
        Ok(Self { a, b, worker, mesh })
    }

    /// Starts the second gateway again, where it was.
    async fn restart_b(&mut self) -> Result<()> {
        let config = config("b", self.mesh[1], ("a", self.mesh[0]), &self.worker);
        self.b = Start::new("gateway", &config).ready().await?;
        Ok(())
    }

    pub async fn stop(self) -> Result<()> {
        self.a.stop().await?;
        self.b.stop().await?;
        self.worker.stop().await
    }
}

fn config(name: &str, mesh: SocketAddr, peer: (&str, SocketAddr), worker: &Service) -> String {
    let (peer, at) = peer;
    format!(
        "server: {{instance: {name}, mesh_listen: \"{mesh}\"}}\n\
         gateway:\n  instances: [{{name: w, endpoint: \"{}\"}}]\n  peers: [{{name: {peer}, endpoint: \"http://{at}\"}}]\n",
        worker.address
    )
}

/// Which gateway keeps these frames: a resume token says it, though nobody but gateways need to know.
fn owner(frames: &[Frame]) -> Result<String> {
    let token = token(frames)?;
    let digits: Result<Vec<u8>, _> =
        (0..token.len()).step_by(2).map(|at| u8::from_str_radix(&token[at..at + 2], 16)).collect();
    let text = String::from_utf8(digits?)?;
    Ok(text.split_once('\n').context("no owner")?.0.to_owned())
}

/// Finds a name that this gateway owns.
async fn owned_by(gateway: &str, peers: &Peers, prefix: &str) -> Result<String> {
    let mut client = connect(&peers.a.address).await?;
    for n in 0..100 {
        let id = format!("{prefix}-{n}");
        let mut stream = client.generate_stream(named(&id)).await?.into_inner();
        let first = frames(&mut stream, 1).await?;
        drop(stream);
        peers.worker.metric_is(RUNNING, 0).await?;
        if owner(&first)? == gateway {
            return Ok(id);
        }
    }
    anyhow::bail!("{gateway} owns nothing")
}

#[tokio::test]
async fn whichever_is_asked_it_is_generated_once() -> Result<()> {
    let peers = Peers::start("").await?;
    let (mut a, mut b) = (connect(&peers.a.address).await?, connect(&peers.b.address).await?);
    let mut owners = Vec::new();
    for n in 0..IDS {
        let request = named(&format!("order-{n}"));
        let (first, second) = if n.is_multiple_of(2) { (&mut a, &mut b) } else { (&mut b, &mut a) };
        let answer = ask(first, request.clone()).await?;
        check_whole(&answer)?;
        let again = second.generate_stream(request.clone()).await?;
        assert_eq!(again.metadata().get("x-pointsman-repeated").context("it is no repeat")?, "true", "{n}");
        assert_eq!(frames(&mut again.into_inner(), usize::MAX).await?, answer);
        let whole = second.generate(request.clone()).await?;
        assert_eq!(whole.metadata().get("x-pointsman-repeated").context("it is no repeat")?, "true", "{n}");
        let mut other = request;
        other.seed = Some(7);
        assert_eq!(refusal(second.generate(other).await)?, Reason::RequestIdReused);
        owners.push(owner(&answer)?);
        assert_eq!(generations(&peers.worker).await?, n as u64 + 1, "{owners:?}");
    }
    assert!(owners.contains(&"a".to_owned()) && owners.contains(&"b".to_owned()), "{owners:?}");

    // The same over HTTP, and its events from the middle.
    for n in 0..IDS {
        let key = ("idempotency-key", format!("http-{n}"));
        let body = chat_body("simulated", "Hello", true);
        let first = post(&peers.a.address, &body, &[(key.0, &key.1)]).await?;
        assert!(!first.headers().contains_key("x-pointsman-repeated"));
        let first = first.text().await?;
        let (_, generation) = last_id(&first)?;
        let third = format!("3-{generation}");
        let headers = [(key.0, key.1.as_str()), ("last-event-id", third.as_str())];
        let rest = post(&peers.b.address, &body, &headers).await?;
        assert_eq!((rest.status().as_u16(), &rest.headers()["x-pointsman-repeated"]), (200, &"true".parse()?));
        let rest = rest.text().await?;
        assert!(
            first.ends_with(&rest) && rest.len() < first.len() && rest.starts_with(&format!("id: 4-{generation}\n")),
            "{first}\n{rest}"
        );
        // From the middle of what nobody has there is nothing to go on with, wherever it would be.
        let headers = [(key.0, "never"), ("last-event-id", third.as_str())];
        let lost = post(&peers.b.address, &body, &headers).await?;
        assert_eq!((lost.status().as_u16(), &lost.headers()["x-pointsman-reason"]), (409, &"FRAME_LOG_LOST".parse()?));
        assert!(!lost.headers().contains_key("x-pointsman-repeated"), "{:?}", lost.headers());
    }
    assert_eq!(generations(&peers.worker).await?, 2 * IDS as u64);
    peers.stop().await
}

#[tokio::test]
async fn what_runs_at_one_gateway_is_joined_and_taken_up_at_the_other() -> Result<()> {
    let peers = Peers::start(SLOW).await?;
    for (round, owner) in ["a", "b"].into_iter().enumerate() {
        let id = owned_by(owner, &peers, &format!("of-{owner}")).await?;
        let before = generations(&peers.worker).await?;
        let wire = Wire::to(&peers.a).await?;
        let mut lost = connect(&wire.address).await?;
        let mut stream = lost.generate_stream(lasting(&id, 30)).await?.into_inner();
        let mut got = frames(&mut stream, 4).await?;
        let mut b = connect(&peers.b.address).await?;
        let mut joined = b.generate_stream(lasting(&id, 30)).await?.into_inner();
        let mut joined_got = frames(&mut joined, 3).await?;
        assert_eq!(peers.worker.metric(RUNNING).await?, 1);

        wire.cut();
        assert!(stream.message().await.is_err(), "the connection is still there");
        got.extend(frames(&mut resume(&mut b, &token(&got)?, 4).await?, usize::MAX).await?);
        joined_got.extend(frames(&mut joined, usize::MAX).await?);
        check_whole(&got)?;
        assert_eq!(joined_got, got);
        // After the last frame nothing is missing, whichever is asked.
        for gateway in [&peers.a, &peers.b] {
            let mut client = connect(&gateway.address).await?;
            let last = got.len() as u64;
            let nothing = frames(&mut resume(&mut client, &token(&got)?, last).await?, usize::MAX).await?;
            assert_eq!(nothing, []);
            assert_eq!(refusal(resume(&mut client, &token(&got)?, last + 1).await)?, Reason::InvalidRequest);
        }
        peers.worker.metric_is(FINISHED, round as u64 + 1).await?;
        assert_eq!(generations(&peers.worker).await?, before + 1);
    }
    peers.stop().await
}

#[tokio::test]
async fn events_end_at_the_last_one_whichever_gateway_is_asked() -> Result<()> {
    let peers = Peers::start("answer_tokens: 10, timing: {step: 50ms}").await?;
    let body = chat_body("simulated", "Hello", true);
    for owner in ["a", "b"] {
        let id = owned_by(owner, &peers, &format!("of-{owner}")).await?;
        let key = ("idempotency-key", id.as_str());
        let mut running = post(&peers.b.address, &body, &[key]).await?;
        let begin = running.chunk().await?.context("the stream ended")?;
        // The owner knows at once that there is no such event. The other waits for it, to the end.
        let (_, generation) = last_id(std::str::from_utf8(&begin)?)?;
        let thousandth = format!("1000-{generation}");
        let never = [key, ("last-event-id", thousandth.as_str())];
        let (at_a, at_b, rest) =
            tokio::join!(post(&peers.a.address, &body, &never), post(&peers.b.address, &body, &never), running.text());
        let whole = std::str::from_utf8(&begin)?.to_owned() + &rest?;
        let (last, _) = last_id(&whole)?;
        let [end, beyond] = [last, last + 1].map(|number| format!("{number}-{generation}"));
        let mut told = Vec::new();
        for refused in [at_a?, at_b?] {
            assert_eq!(refused.headers()["x-pointsman-reason"], "INVALID_REQUEST");
            told.push(refused.text().await?);
        }
        assert!(told.iter().any(|told| told.contains(&format!("must be at most {last}"))), "{told:?}");
        for gateway in [&peers.a, &peers.b] {
            let done = post(&gateway.address, &body, &[key, ("last-event-id", &end)]).await?;
            assert_eq!((done.status().as_u16(), done.text().await?), (200, format!("id: {end}\ndata: [DONE]\n\n")));
            let refused = post(&gateway.address, &body, &[key, ("last-event-id", &beyond)]).await?;
            assert_eq!(
                (refused.status().as_u16(), &refused.headers()["x-pointsman-reason"]),
                (400, &"INVALID_REQUEST".parse()?)
            );
        }
    }
    peers.stop().await
}

/// What has no name gets one, which is as good as one of the caller's.
#[tokio::test]
async fn an_unnamed_stream_with_a_window_is_taken_up_at_the_other() -> Result<()> {
    let peers = Peers::start("").await?;
    let body = chat_body("simulated", "Hello", true);
    for n in 0..5 {
        let window = ("x-pointsman-resume-window", "30");
        let first = post(&peers.a.address, &body, &[window]).await?;
        let id = first.headers()["x-request-id"].to_str()?.to_owned();
        let first = first.text().await?;
        let (_, generation) = last_id(&first)?;
        let fourth = format!("4-{generation}");
        let headers = [window, ("idempotency-key", id.as_str()), ("last-event-id", fourth.as_str())];
        let rest = post(&peers.b.address, &body, &headers).await?.text().await?;
        assert!(rest.starts_with(&format!("id: 5-{generation}\n")) && first.ends_with(&rest), "{rest}");
        assert_eq!(generations(&peers.worker).await?, n + 1);
    }
    peers.stop().await
}

/// The gateway that was asked keeps a key to its limits, though another answers.
#[tokio::test]
async fn a_limit_holds_for_what_another_gateway_owns() -> Result<()> {
    let worker = Start::new("worker", &simulated_config(ENDLESS)).ready().await?;
    let mesh = [ports::free_address()?, ports::free_address()?];
    let (key, entry) = new_key("acme").await?;
    let keys = format!("  keys:{entry}\n        limits: {{concurrent: 1}}\n");
    let [config_a, config_b] = [("a", "b", 0, 1), ("b", "a", 1, 0)]
        .map(|(own, peer, at, other)| config(own, mesh[at], (peer, mesh[other]), &worker) + &keys);
    let a = Start::new("gateway", &config_a).ready().await?;
    let b = Start::new("gateway", &config_b).ready().await?;
    let mut client = connect(&a.address).await?;
    let by_key = |id: &str| {
        let mut request = Request::new(named(id));
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse()?);
        anyhow::Ok(request)
    };
    let mut owners = Vec::new();
    for n in 0..IDS {
        let mut running = client.generate_stream(by_key(&format!("order-{n}"))?).await?.into_inner();
        owners.push(owner(&frames(&mut running, 2).await?)?);
        let refused = client.generate(by_key(&format!("other-{n}"))?).await;
        assert_eq!(refusal(refused)?, Reason::RateLimited, "{owners:?}");
        drop(running);
        worker.metric_is(CANCELLED, n as u64 + 1).await?;
        a.metric_is("pointsman_gateway_running_requests", 0).await?;
    }
    assert!(owners.contains(&"a".to_owned()) && owners.contains(&"b".to_owned()), "{owners:?}");
    a.stop().await?;
    b.stop().await?;
    worker.stop().await
}

/// The window is the owner's to keep, whoever has lost the caller.
#[tokio::test]
async fn what_was_lost_at_one_gateway_goes_on_at_the_other() -> Result<()> {
    let peers = Peers::start(SLOW).await?;
    let id = owned_by("b", &peers, "order").await?;
    let wire = Wire::to(&peers.a).await?;
    let mut lost = connect(&wire.address).await?;
    let mut stream = lost.generate_stream(lasting(&id, 30)).await?.into_inner();
    let mut got = frames(&mut stream, 4).await?;
    wire.cut();
    peers.worker.metric_is(FINISHED, 1).await?;
    let mut a = connect(&peers.a.address).await?;
    got.extend(frames(&mut resume(&mut a, &token(&got)?, 4).await?, usize::MAX).await?);
    check_whole(&got)?;
    assert_eq!(peers.worker.metric(FINISHED).await?, 1);
    peers.stop().await
}

#[tokio::test]
async fn who_leaves_a_gateway_that_asks_another_stops_the_work() -> Result<()> {
    let peers = Peers::start(ENDLESS).await?;
    let id = owned_by("b", &peers, "order").await?;
    let cancelled = peers.worker.metric(CANCELLED).await?;
    let wire = Wire::to(&peers.a).await?;
    let mut lost = connect(&wire.address).await?;
    let mut stream = lost.generate_stream(named(&id)).await?.into_inner();
    frames(&mut stream, 3).await?;
    wire.cut();
    peers.worker.metric_is(CANCELLED, cancelled + 1).await?;
    peers.worker.metric_is(RUNNING, 0).await?;
    peers.stop().await
}

/// Checks that operators see this stream at the gateway that it came in at, and ends it there.
async fn is_listed_and_ended(peers: &Peers, id: &str, mut stream: Streaming<Frame>) -> Result<()> {
    frames(&mut stream, 1).await?;
    let requests = pointsman(&["requests", "--operator-address", &peers.a.operator]).await?.success()?;
    let line = requests.lines().find(|line| line.ends_with(id)).context("it is not listed")?;
    assert!(line.contains(" answering ") && line.contains(" b "), "{line}");
    pointsman(&["cancel", id, "--operator-address", &peers.a.operator]).await?.success()?;
    let end = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => anyhow::bail!("a good end"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&end)?, Reason::CancelledByOperator);
    Ok(())
}

#[tokio::test]
async fn what_another_gateway_answers_is_listed_and_ended_where_it_came_in() -> Result<()> {
    let peers = Peers::start(ENDLESS).await?;
    let id = owned_by("b", &peers, "order").await?;
    let mut client = connect(&peers.a.address).await?;
    let mut stream = client.generate_stream(lasting(&id, 60)).await?.into_inner();
    let begun = frames(&mut stream, 3).await?;
    is_listed_and_ended(&peers, &id, stream).await?;
    // So is a stream that is taken up.
    let rest = resume(&mut client, &token(&begun)?, 3).await?;
    is_listed_and_ended(&peers, &id, rest).await?;
    assert_eq!(peers.worker.metric(RUNNING).await?, 1);
    pointsman(&["cancel", &id, "--operator-address", &peers.b.operator]).await?.success()?;
    peers.worker.metric_is(RUNNING, 0).await?;
    peers.stop().await
}

#[tokio::test]
async fn when_its_owner_is_gone_a_request_is_not_generated_again() -> Result<()> {
    let mut peers = Peers::start(SLOW).await?;
    let mut a = connect(&peers.a.address).await?;
    let (theirs, ours) = (owned_by("b", &peers, "order").await?, owned_by("a", &peers, "order").await?);
    let of_b = ask(&mut a, named(&theirs)).await?;
    let of_a = ask(&mut a, named(&ours)).await?;
    let running = owned_by("b", &peers, "running").await?;
    let mut broken = a.generate_stream(lasting(&running, 30)).await?.into_inner();
    let first = frames(&mut broken, 3).await?;

    peers.b.process.kill9().await?;
    let end = loop {
        match broken.message().await {
            Ok(Some(_)) => {}
            Ok(None) => anyhow::bail!("a good end"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&end)?, Reason::StreamTruncated);
    // Its work is not: whoever asked for it has gone.
    eventually!(LIMIT, peers.worker.metric(CANCELLED).await.is_ok_and(|cancelled| cancelled > 0))?;
    let before = generations(&peers.worker).await?;
    let refused = a.generate(named(&theirs)).await.err().context("it was answered")?;
    assert_eq!((refused.code(), reason(&refused)?), (Code::FailedPrecondition, Reason::FrameLogLost));
    assert_eq!(refusal(resume(&mut a, &token(&of_b)?, 1).await)?, Reason::FrameLogLost);
    assert_eq!(refusal(resume(&mut a, &token(&first)?, 3).await)?, Reason::FrameLogLost);
    let refused =
        post(&peers.a.address, &chat_body("simulated", "Hello", true), &[("idempotency-key", &theirs)]).await?;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["x-pointsman-reason"]),
        (409, &"FRAME_LOG_LOST".parse()?)
    );
    assert_eq!(generations(&peers.worker).await?, before, "a second generation");

    // What has no name, or is this gateway's own, is answered as ever.
    assert_eq!(ask(&mut a, named(&ours)).await?, of_a);
    assert_eq!(generations(&peers.worker).await?, before);
    check_whole(&ask(&mut a, say("simulated", "Hello")).await?)?;
    for _ in 0..5 {
        let mut unnamed = a.generate_stream(lasting("", 30)).await?.into_inner();
        assert_eq!(owner(&frames(&mut unnamed, 1).await?)?, "a", "it is owned where it arrives");
    }

    // One that has come back has forgotten everything: it says so of a token, and cannot tell of a name.
    peers.restart_b().await?;
    let token = token(&of_b)?;
    let lost = || async {
        let status = resume(&mut a.clone(), &token, 1).await.err()?;
        // Refused by the one that is back, and not for want of it.
        (reason(&status).ok()? == Reason::FrameLogLost && status.metadata().contains_key("x-request-id")).then_some(())
    };
    eventually!(LIMIT, lost().await)?;
    let again = || async {
        let answer = ask(&mut a.clone(), named(&theirs)).await?;
        ensure!(owner(&answer)? == "b");
        anyhow::Ok(answer)
    };
    assert_eq!(text(&eventually!(LIMIT, again().await)?), text(&of_b));
    let expected =
        ["a gateway could not be reached", "an instance could not be reached", "an instance failed too often"];
    peers.a.stop_after(&expected).await?;
    peers.b.stop().await?;
    peers.worker.stop().await
}

#[tokio::test]
async fn an_owner_that_goes_down_ends_what_it_has() -> Result<()> {
    let mut peers = Peers::start(SLOW).await?;
    let id = owned_by("b", &peers, "order").await?;
    let mut a = connect(&peers.a.address).await?;
    let mut stream = a.generate_stream(named(&id)).await?.into_inner();
    let mut got = frames(&mut stream, 3).await?;
    peers.b.process.interrupt().await?;
    eventually!(LIMIT, peers.b.probe("readyz").await.is_ok_and(|status| status == 503))?;
    got.extend(frames(&mut stream, usize::MAX).await?);
    check_whole(&got)?;
    let status = peers.b.process.wait(LIMIT).await?;
    peers.b.check(status, &[])?;
    peers.a.stop().await?;
    peers.worker.stop().await
}

#[tokio::test]
async fn a_mesh_context_is_believed_where_the_mesh_is_only() -> Result<()> {
    let peers = Peers::start("").await?;
    let request = || {
        let context = MeshContext { tenant: "acme".to_owned(), keep_frames: true, ..MeshContext::default() };
        let mut request = Request::new(say("simulated", "Hello"));
        mesh_context::write(&context, request.metadata_mut());
        request
    };
    for gateway in [&peers.a, &peers.b] {
        let refused = connect(&gateway.address).await?.generate(request()).await.err().context("it was let in")?;
        assert_eq!((refused.code(), reason(&refused)?), (Code::PermissionDenied, Reason::MeshContextRefused));
    }
    let mut inside = connect(&format!("http://{}", peers.mesh[0])).await?;
    inside.generate(request()).await?;
    peers.stop().await
}
