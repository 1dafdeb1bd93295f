//! A gateway behind a gateway: it is an instance like any other.

use anyhow::{Context, Result};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::DescribeRequest;
use pointsman_testkit::{OtlpReceiver, ports};
use serde_json::Value;

use crate::caller::{chat_body, connect, reason, say};
use crate::named::{ask, check_whole, frames, generations, named, new_key, post, refusal, text, token};
use crate::service::{Start, simulated_config};

#[tokio::test]
async fn a_gateway_stands_behind_another() -> Result<()> {
    let receiver = OtlpReceiver::start().await?;
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint())];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_ref()));
    let worker = Start { environment: &environment, ..Start::new("worker", &simulated_config("")) }.ready().await?;
    let mesh = ports::free_address()?;
    // The one behind wants keys of the public, and none of the mesh.
    let (_, entry) = new_key("acme").await?;
    let inner = format!(
        "server: {{instance: inner, mesh_listen: \"{mesh}\"}}\n\
         gateway:\n  instances: [{{name: w, endpoint: \"{}\"}}]\n  keys:{entry}\n",
        worker.address
    );
    let inner = Start { environment: &environment, ..Start::new("gateway", &inner) }.ready().await?;
    let outer = format!("gateway: {{instances: [{{name: inner, endpoint: \"http://{mesh}\"}}]}}\n");
    let outer = Start { environment: &environment, ..Start::new("gateway", &outer) }.ready().await?;

    let mut client = connect(&outer.address).await?;
    let described = client.describe(DescribeRequest {}).await?.into_inner();
    let targets: Vec<&str> = described.targets.iter().map(|target| target.target.as_str()).collect();
    assert_eq!(targets, ["models/simulated/versions/1"]);
    let response = client.generate_stream(say("simulated", "Hello")).await?;
    let trace = response.metadata().get("x-pointsman-trace-id").context("no trace")?.to_str()?.to_owned();
    let answer = frames(&mut response.into_inner(), usize::MAX).await?;
    check_whole(&answer)?;
    assert_eq!((text(&answer).as_str(), token(&answer)?.as_str()), ("You said: Hello", ""));
    let whole: Value = post(&outer.address, &chat_body("simulated", "Hi", false), &[]).await?.json().await?;
    assert_eq!(
        (&whole["choices"][0]["message"]["content"], &whole["model"]),
        (&"You said: Hi".into(), &"simulated".into())
    );
    // A name is kept once, by the one that was asked for it.
    let named_answer = ask(&mut client, named("order-1")).await?;
    assert_eq!(ask(&mut client, named("order-1")).await?, named_answer);
    assert_eq!(generations(&worker).await?, 3);
    // The public has to show a key there.
    assert_eq!(refusal(connect(&inner.address).await?.generate(say("simulated", "Hello")).await)?, Reason::KeyInvalid);
    assert_eq!(refusal(connect(&inner.address).await?.describe(DescribeRequest {}).await)?, Reason::KeyInvalid);

    outer.stop().await?;
    inner.stop().await?;
    worker.stop().await?;
    let spans = receiver.spans();
    let of_trace: Vec<_> = spans.iter().filter(|span| span.trace_id == trace).collect();
    let services =
        |service: &str| of_trace.iter().filter(|span| span.service == service && span.kind == "server").count();
    assert_eq!((services("pointsman-gateway"), services("pointsman-worker")), (2, 1), "{of_trace:#?}");
    Ok(())
}

#[tokio::test]
async fn gateways_that_ask_each_other_do_not_ask_for_ever() -> Result<()> {
    let worker = Start::new("worker", &simulated_config("")).ready().await?;
    let mesh = [ports::free_address()?, ports::free_address()?];
    let config = |own: usize| {
        format!(
            "server: {{mesh_listen: \"{}\"}}\n\
             gateway: {{instances: [{{name: w, endpoint: \"{}\"}}, {{name: other, endpoint: \"http://{}\"}}]}}\n",
            mesh[own],
            worker.address,
            mesh[1 - own]
        )
    };
    let [config_a, config_b] = [config(0), config(1)];
    let a = Start::new("gateway", &config_a).ready().await?;
    let b = Start::new("gateway", &config_b).ready().await?;
    for gateway in [&a, &b] {
        let mut client = connect(&gateway.address).await?;
        for _ in 0..10 {
            check_whole(&ask(&mut client, say("simulated", "Hello")).await?)?;
        }
    }
    // Without the worker they have nobody but each other.
    worker.stop().await?;
    let mut client = connect(&a.address).await?;
    let asked = || async {
        let text = reqwest::get(format!("{}/metrics", b.operator)).await?.text().await?;
        let lines = text.lines().filter(|line| line.starts_with("pointsman_gateway_requests_total{"));
        let counts = lines.map(|line| Ok(line.rsplit(' ').next().context("no value")?.parse::<u64>()?));
        counts.sum::<Result<u64>>()
    };
    let before = asked().await?;
    let refused = client.generate(say("simulated", "Hello")).await.err().context("it was answered")?;
    reason(&refused)?;
    let after = asked().await?;
    assert!(after - before <= 16, "{before} {after}");
    let expected = ["an instance could not be reached", "an instance failed too often"];
    a.stop_after(&expected).await?;
    b.stop_after(&expected).await
}
