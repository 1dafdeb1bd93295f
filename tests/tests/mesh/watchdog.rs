//! The engine hangs, breaks or dies on schedule, for good. The probe at the start is its first request.

use anyhow::{Context, Result, ensure};
use pointsman_errors::Reason;
use pointsman_testkit::{eventually, tools};
use tonic::Request;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::caller::{
    chat_body, connect, next_health, post_chat, read, read_deltas, reason, retry_delay, say, watch_health,
};
use crate::service::{LIMIT, Service, Start, gateway_config, simulated_config};

/// What the gateway's log says of a worker that went away.
const WARNINGS: [&str; 2] = ["an instance could not be reached, or was lost", "an instance could not be reached"];
const SILENT: &str = "the engine gave an answer nothing for too long";
const HANGS: &str = "the engine hangs";

/// A worker whose engine does this with its second request after two tokens, under these limits.
fn config(fault: &str, watchdog: &str) -> String {
    let engine =
        format!("answer_tokens: 40, timing: {{step: 20ms}}, faults: [{{every: 2, after_tokens: 2, kind: {fault}}}]");
    format!("{}worker: {{watchdog: {{{watchdog}}}}}\n", simulated_config(&engine))
}

/// Waits until the process has ended by itself, as one that failed, and has warned of nothing but this.
async fn fails(mut service: Service, said: &str, expected: &[&str]) -> Result<()> {
    let status = service.process.wait(LIMIT).await?;
    let lines = service.process.lines().join("\n");
    ensure!(status.code() == Some(1), "it ended with {status}:\n{lines}");
    ensure!(
        lines.lines().any(|line| line.starts_with("error: ") && line.contains(said)),
        "it did not say why:\n{lines}"
    );
    let mut unexpected = service.process.unexpected_lines();
    unexpected.retain(|line| !line.contains("going down") && !expected.iter().any(|text| line.contains(text)));
    ensure!(unexpected.is_empty(), "{unexpected:#?}");
    Ok(())
}

#[tokio::test]
async fn an_engine_that_hangs_ends_its_worker_and_the_mesh_goes_on() -> Result<()> {
    let hangs = Start::new("worker", &config("hang", "step: 2s, first_token: 2s")).ready().await?;
    let other = simulated_config("target: models/simulated/versions/2");
    let other = Start::new("worker", &other).ready().await?;
    let instances = format!(
        "gateway: {{instances: [{{name: one, endpoint: \"{}\"}}, {{name: two, endpoint: \"{}\"}}]}}\n",
        hangs.address, other.address
    );
    let gateway = Start::new("gateway", &instances).ready().await?;
    let mut health = watch_health(&hangs.address).await?;
    assert_eq!(next_health(&mut health).await?, ServingStatus::Serving);
    let mut client = connect(&gateway.address).await?;
    let of_one = || say("models/simulated/versions/1", "Hello");
    let on_two = async |client: &mut crate::caller::Client| {
        let answer = client.generate_stream(say("models/simulated/versions/2", "Hello")).await?.into_inner();
        read(answer).await?.whole()
    };
    eventually!(LIMIT, on_two(&mut client).await.is_ok())?;

    let mut frames = client.generate_stream(of_one()).await?.into_inner();
    read_deltas(&mut frames, 2).await?;
    // Nothing of its answer was given on, so its error is whole.
    let neighbour = client.generate_stream(of_one());
    let (broken, neighbour) = tokio::join!(read(frames), neighbour);
    for status in [broken?.error.context("a clean end")?, neighbour.err().context("an answer")?] {
        assert_eq!((reason(&status)?, retry_delay(&status).is_some()), (Reason::EngineLost, true), "{status:?}");
        assert!(status.message().contains("Try again"), "{status:?}");
    }
    assert_eq!(next_health(&mut health).await?, ServingStatus::NotServing);
    fails(hangs, HANGS, &[SILENT]).await?;

    assert_eq!(on_two(&mut client).await?, "You said: Hello");
    eventually!(LIMIT, {
        let refused = client.generate(of_one()).await.err();
        refused.is_some_and(|status| reason(&status).is_ok_and(|reason| reason != Reason::EngineLost))
    })?;
    gateway.stop_after(&WARNINGS).await?;
    other.stop().await
}

#[tokio::test]
async fn up_says_that_its_engine_hangs_and_stays() -> Result<()> {
    let mesh = Start::new("up", &config("hang", "step: 1s, first_token: 1s")).ready().await?;
    let mut client = connect(&mesh.address).await?;
    let broken = read(client.generate_stream(say("simulated", "Hello")).await?.into_inner()).await?;
    assert_eq!(broken.reason()?, Reason::EngineLost);

    eventually!(LIMIT, mesh.probe("readyz").await.is_ok_and(|status| status == 503))?;
    mesh.metric_is("pointsman_worker_engine_given_up", 1).await?;
    assert_eq!(mesh.metric("pointsman_worker_engine_ready").await?, 0);
    assert_eq!(mesh.metric("pointsman_worker_engine_failures_total{kind=\"STUCK\"}").await?, 1);
    let refused = post_chat(&mesh.address, &chat_body("simulated", "Hello", false)).await?;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["x-pointsman-reason"]),
        (503, &"NO_INSTANCE_READY".parse()?)
    );
    assert_eq!((mesh.probe("livez").await?, mesh.probe("readyz").await?), (200, 503));
    mesh.stop_after(&[SILENT, "will not be"]).await
}

#[tokio::test]
async fn the_span_says_what_the_engine_did() -> Result<()> {
    let mesh = Start::new("up", &config("hang", "step: 1s, first_token: 1s")).ready().await?;
    let request = chat_body("simulated", "Hello", true);
    let answer = post_chat(&mesh.address, &request).await?;
    let trace = answer.headers()["x-pointsman-trace-id"].to_str()?.to_owned();
    assert!(answer.text().await?.contains("engine_lost"));
    let shown = crate::program::pointsman(&["trace", &trace, "--operator-address", &mesh.operator]).await?.success()?;
    assert!(shown.contains("engine.failure=STUCK") && shown.contains("error.type=ENGINE_LOST"), "{shown}");
    mesh.stop_after(&[SILENT, "will not be"]).await
}

#[tokio::test]
async fn an_engine_that_hangs_is_found_though_every_caller_leaves() -> Result<()> {
    let worker = Start::new("worker", &config("hang", "step: 8s, first_token: 8s")).ready().await?;
    let mut client = connect(&worker.address).await?;
    let mut request = Request::new(say("simulated", "Hello"));
    request.metadata_mut().insert("grpc-timeout", "1500m".parse()?);
    let left = read(client.generate_stream(request).await?.into_inner()).await?;
    assert_eq!(left.reason()?, Reason::DeadlineExceeded);
    // Nobody asks for anything more: the worker asks itself.
    fails(worker, HANGS, &[SILENT, "a probe generation failed"]).await
}

#[tokio::test]
async fn a_broken_device_is_found_by_its_failures() -> Result<()> {
    let worker = Start::new("worker", &config("break", "recovery: 1s")).ready().await?;
    let mut client = connect(&worker.address).await?;
    let mut health = watch_health(&worker.address).await?;
    assert_eq!(next_health(&mut health).await?, ServingStatus::Serving);
    for _ in 0..3 {
        let failed = client.generate(say("simulated", "Hello")).await.err().context("it was answered")?;
        assert_eq!(reason(&failed)?, Reason::GenerationFailed);
    }
    assert_eq!(next_health(&mut health).await?, ServingStatus::NotServing);
    let expected = ["the engine failed a request", "a probe generation failed"];
    fails(worker, "the engine did not generate within 1s", &expected).await
}

#[tokio::test]
async fn an_engine_is_lost_no_oftener_than_it_may() -> Result<()> {
    let worker = Start::new("worker", &config("lose", "restarts: 1")).ready().await?;
    let mut client = connect(&worker.address).await?;
    let mut health = watch_health(&worker.address).await?;
    assert_eq!(next_health(&mut health).await?, ServingStatus::Serving);
    let lost = client.generate(say("simulated", "Hello")).await.err().context("it was answered")?;
    assert_eq!(reason(&lost)?, Reason::EngineLost);
    assert_eq!(next_health(&mut health).await?, ServingStatus::NotServing);
    assert_eq!(next_health(&mut health).await?, ServingStatus::Serving);
    worker.metric_is("pointsman_worker_engine_restarts_total", 1).await?;
    // The third request was the probe's.
    let lost = client.generate(say("simulated", "Hello")).await.err().context("it was answered")?;
    assert_eq!(reason(&lost)?, Reason::EngineLost);
    fails(worker, "the engine was lost 2 times within an hour", &["the engine was lost"]).await
}

#[tokio::test]
async fn neither_the_queue_nor_a_long_prompt_is_the_engines_silence() -> Result<()> {
    // An answer takes 4 s, and so does reading the long prompt; a step may take 2 s.
    let engine = "answer_tokens: 100, timing: {step: 40ms, prefill_per_token: 20ms}";
    let limits = "slots: 2, watchdog: {step: 2s, first_token: 2s, per_prompt_token: 50ms}";
    let worker = Start::new("worker", &format!("{}worker: {{{limits}}}\n", simulated_config(engine))).ready().await?;
    let gateway = Start::new("gateway", &gateway_config(&worker.address)).ready().await?;
    let client = connect(&gateway.address).await?;
    let long = "word ".repeat(200);
    let asked = ["short", &long, "waits", "waits too"].map(|text| {
        let mut client = client.clone();
        let request = say("simulated", text);
        async move { read(client.generate_stream(request).await?.into_inner()).await?.whole() }
    });
    for answer in futures::future::join_all(asked).await {
        answer?;
    }
    gateway.stop().await?;
    worker.stop().await
}

#[tokio::test]
async fn an_engine_that_hangs_ends_its_worker_with_what_works_beside_it() -> Result<()> {
    let first = "target: models/one/versions/1, answer_tokens: 40, timing: {step: 20ms}, faults: [{every: 2, after_tokens: 2, kind: hang}]";
    let two = format!("engine: {{simulated: [{{{first}}}, {{target: models/two/versions/1}}]}}\n");
    let limits = "worker: {watchdog: {step: 1s, first_token: 1s}}\n";
    let worker = Start::new("worker", &format!("{two}{limits}")).ready().await?;
    let mesh = Start::new("up", &format!("{two}{limits}")).ready().await?;
    for service in [&worker, &mesh] {
        let mut client = connect(&service.address).await?;
        let broken = read(client.generate_stream(say("one", "Hello")).await?.into_inner()).await?;
        assert_eq!(broken.reason()?, Reason::EngineLost);
    }
    fails(worker, "models/one/versions/1: the engine hangs", &[SILENT]).await?;

    // One process for everything goes on with the other.
    mesh.metric_is("pointsman_worker_engine_given_up", 1).await?;
    assert_eq!(mesh.metric("pointsman_worker_engine_ready").await?, 1);
    let mut client = connect(&mesh.address).await?;
    let answer = read(client.generate_stream(say("two", "Hello")).await?.into_inner()).await?;
    assert_eq!(answer.whole()?, "You said: Hello");
    assert_eq!(mesh.probe("readyz").await?, 200);
    eventually!(LIMIT, {
        let refused = client.generate(say("one", "Hello")).await.err();
        refused.is_some_and(|status| reason(&status).is_ok_and(|reason| reason == Reason::NoInstanceReady))
    })?;
    mesh.stop_after(&[SILENT, "will not be"]).await
}

/// A template that never ends where a message says so: mistral.rs renders it on the engine's own thread.
const ENDLESS: &str = "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endfor %}<|im_start|>assistant\n\
{%- if 'hang' in messages[-1].content %}{%- for a in range(99999) %}{%- for b in range(99999) %}{%- endfor %}{%- endfor %}{%- endif %}";

#[tokio::test]
async fn mistralrs_hangs_and_is_given_up() -> Result<()> {
    let (demo, folder) = (tools::workspace()?.join("models/demo/model"), tempfile::tempdir()?);
    for entry in std::fs::read_dir(demo)? {
        let entry = entry?;
        std::fs::copy(entry.path(), folder.path().join(entry.file_name()))?;
    }
    std::fs::write(folder.path().join("chat_template.jinja"), ENDLESS)?;
    let config = format!(
        "engine: {{mistralrs: {{name: pip, model: \"{}\"}}}}\nworker: {{watchdog: {{step: 6s, first_token: 6s, per_prompt_token: 1ms}}}}\n",
        folder.path().display()
    );
    let worker = Start::new("worker", &config).ready().await?;
    let mut client = connect(&worker.address).await?;
    assert!(client.generate(say("pip", "Hello")).await.is_ok());
    let mut health = watch_health(&worker.address).await?;
    assert_eq!(next_health(&mut health).await?, ServingStatus::Serving);
    let mut others = connect(&worker.address).await?;
    let (hangs, waits) = tokio::join!(client.generate(say("pip", "hang")), others.generate(say("pip", "hang, too")));
    for answer in [hangs, waits] {
        assert_eq!(reason(&answer.err().context("an answer")?)?, Reason::EngineLost);
    }
    assert_eq!(next_health(&mut health).await?, ServingStatus::NotServing);
    fails(worker, HANGS, &[SILENT]).await
}
