//! What a key may use of a gateway: requests in a second, and at the same time.

use std::time::Duration;

use anyhow::{Context, Result};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::GenerateRequest;
use tonic::{Code, Request};

use crate::caller::{Client, chat_body, connect, reason, retry_delay, say};
use crate::named::{CANCELLED, ENDLESS, RUNNING, frames, named, new_key};
use crate::service::{Service, Start, simulated_config};

/// More than a second's worth, however slow the machine.
const MANY: usize = 50;

/// A mesh with a key that has these limits, and one that has none.
struct Limited {
    mesh: Service,
    limited: String,
    free: String,
}

impl Limited {
    async fn start(engine: &str, limits: &str) -> Result<Self> {
        let [(limited, limited_entry), (free, free_entry)] = [new_key("acme").await?, new_key("acme").await?];
        let config = format!(
            "{}gateway:\n  keys:{limited_entry}\n        limits: {{{limits}}}{free_entry}\n",
            simulated_config(engine)
        );
        Ok(Self { mesh: Start::new("up", &config).ready().await?, limited, free })
    }

    async fn post(&self, key: &str) -> Result<reqwest::Response> {
        let post = reqwest::Client::new().post(format!("{}/v1/chat/completions", self.mesh.address));
        Ok(post.bearer_auth(key).json(&chat_body("simulated", "Hello", false)).send().await?)
    }

    async fn generate(&self, client: &mut Client, key: &str) -> Result<Result<(), tonic::Status>> {
        Ok(client.generate(by(key, say("simulated", "Hello"))?).await.map(drop))
    }
}

/// A request that is sent with a key.
fn by(key: &str, request: GenerateRequest) -> Result<Request<GenerateRequest>> {
    let mut request = Request::new(request);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse()?);
    Ok(request)
}

#[tokio::test]
async fn a_key_may_send_so_many_requests_in_a_second() -> Result<()> {
    let limited = Limited::start("", "requests_per_second: 1").await?;
    let mut refused = None;
    for _ in 0..MANY {
        let response = limited.post(&limited.limited).await?;
        if response.status() != 200 {
            refused = Some(response);
            break;
        }
    }
    let refused = refused.context("nothing was refused")?;
    let headers = refused.headers();
    assert_eq!((refused.status().as_u16(), &headers["x-pointsman-reason"]), (429, &"RATE_LIMITED".parse()?));
    assert_eq!(headers["retry-after"], "1");
    assert_eq!(limited.post(&limited.free).await?.status(), 200, "another key of the same tenant");

    let mut client = connect(&limited.mesh.address).await?;
    let mut refused = None;
    for _ in 0..MANY {
        refused = limited.generate(&mut client, &limited.limited).await?.err();
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.context("nothing was refused")?;
    assert_eq!((refused.code(), reason(&refused)?), (Code::ResourceExhausted, Reason::RateLimited));
    let wait = retry_delay(&refused).context("no hint")?;
    assert!(Duration::ZERO < wait && wait <= Duration::from_secs(1), "{wait:?}");
    limited.generate(&mut client, &limited.free).await??;
    limited.mesh.stop().await
}

#[tokio::test]
async fn a_key_may_have_so_many_answers_at_the_same_time() -> Result<()> {
    let limited = Limited::start(ENDLESS, "concurrent: 1").await?;
    let mut client = connect(&limited.mesh.address).await?;
    for round in 1..=2 {
        let request = by(&limited.limited, say("simulated", "Hello"))?;
        let mut running = client.generate_stream(request).await?.into_inner();
        frames(&mut running, 3).await?;
        // For as long as it streams, on both surfaces.
        let refused = limited.generate(&mut client, &limited.limited).await?.err().context("a second was answered")?;
        assert_eq!((refused.code(), reason(&refused)?), (Code::ResourceExhausted, Reason::RateLimited));
        assert!(retry_delay(&refused).is_some(), "{refused:?}");
        let refused = limited.post(&limited.limited).await?;
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["x-pointsman-reason"]),
            (429, &"RATE_LIMITED".parse()?)
        );
        assert!(refused.headers().contains_key("retry-after"));
        let mut other = client.generate_stream(by(&limited.free, say("simulated", "Hello"))?).await?.into_inner();
        frames(&mut other, 3).await?;
        drop((running, other));
        limited.mesh.metric_is(CANCELLED, 2 * round).await?;
        limited.mesh.metric_is(RUNNING, 0).await?;
    }
    limited.mesh.stop().await
}

/// Who joins what runs uses up nothing: a caller that was lost may come back to its own answer.
#[tokio::test]
async fn a_repeat_of_what_runs_is_no_second_answer() -> Result<()> {
    let limited = Limited::start(ENDLESS, "concurrent: 1").await?;
    let mut client = connect(&limited.mesh.address).await?;
    let mut running = client.generate_stream(by(&limited.limited, named("order-1"))?).await?.into_inner();
    frames(&mut running, 2).await?;
    let mut joined = client.generate_stream(by(&limited.limited, named("order-1"))?).await?.into_inner();
    frames(&mut joined, 2).await?;
    let refused = client.generate(by(&limited.limited, named("order-2"))?).await.err().context("it was answered")?;
    assert_eq!(reason(&refused)?, Reason::RateLimited);
    // What was refused was not begun: its name is free for another request.
    drop((running, joined));
    limited.mesh.metric_is(RUNNING, 0).await?;
    let other = GenerateRequest { request_id: "order-2".to_owned(), ..say("simulated", "Goodbye") };
    let mut next = client.generate_stream(by(&limited.limited, other)?).await?.into_inner();
    frames(&mut next, 2).await?;
    drop(next);
    limited.mesh.stop().await
}
