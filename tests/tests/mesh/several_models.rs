//! A worker with several models: each is a target of its own, and none takes the others with it.

use anyhow::{Context, Result};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::{DescribeRequest, EmbedRequest, Embedding, TargetDescription, WatchLoadRequest};
use pointsman_testkit::{eventually, ports, tools};
use serde_json::Value;
use tonic::Request;

use crate::caller::{Client, connect, read, read_deltas, reason, say};
use crate::program::pointsman;
use crate::service::{LIMIT, Pair, Service, Start, gateway_config};

/// Two simulated engines; the fields are of the first.
fn two(first: &str) -> String {
    format!(
        "worker: {{slots: 2, queue: 1}}\nengine:\n  simulated:\n    - {{target: models/one/versions/1, {first}}}\n    - {{target: models/two/versions/7}}\n"
    )
}

async fn targets(client: &mut Client) -> Result<Vec<TargetDescription>> {
    Ok(client.describe(DescribeRequest {}).await?.into_inner().targets)
}

async fn target_of(client: &mut Client, model: &str) -> Result<String> {
    let answer = client.generate(say(model, "Hello")).await?.into_inner();
    Ok(answer.started.context("no Started")?.target)
}

#[tokio::test]
async fn each_model_is_a_target_with_slots_of_its_own() -> Result<()> {
    let mesh = Pair::start(&two("answer_tokens: 1000, timing: {step: 20ms}"), &[]).await?;
    for address in [&mesh.worker.address, &mesh.gateway.address] {
        let mut client = connect(address).await?;
        let described = targets(&mut client).await?;
        let names: Vec<&str> = described.iter().map(|target| &*target.target).collect();
        assert_eq!(names, ["models/one/versions/1", "models/two/versions/7"]);
        assert!(described.iter().all(|target| !target.unavailable && target.tenants.is_empty()));
        assert_eq!(target_of(&mut client, "two").await?, "models/two/versions/7");
        assert_eq!(target_of(&mut client, "models/two/versions/7").await?, "models/two/versions/7");
        let unknown = client.generate(say("three", "Hello")).await.err().context("it was answered")?;
        assert_eq!(reason(&unknown)?, Reason::ModelNotFound);
    }
    // All slots of the one are taken, and its queue is full; the other does not notice.
    let mut worker = connect(&mesh.worker.address).await?;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut frames = worker.generate_stream(say("one", "Hello")).await?.into_inner();
        read_deltas(&mut frames, 1).await?;
        held.push(frames);
    }
    held.push(worker.generate_stream(say("one", "Hello")).await?.into_inner());
    let full = worker.generate(say("one", "Hello")).await.err().context("it was taken")?;
    assert_eq!(reason(&full)?, Reason::QueueFull);
    assert_eq!(target_of(&mut worker, "two").await?, "models/two/versions/7");
    // The load is the worker's.
    let mut loads = worker.watch_load(WatchLoadRequest {}).await?.into_inner();
    let load = loads.message().await?.context("no load")?;
    assert_eq!((load.slots, load.queue_places, load.running_requests, load.queued_requests), (4, 2, 2, 1));
    drop((held, loads));
    mesh.stop().await
}

#[tokio::test]
async fn a_lost_engine_does_not_take_the_others_with_it() -> Result<()> {
    // The first request is the probe, and goes well; those after it fail for longer than this takes.
    let fault = |every: u32| format!("{{every: {every}, after_tokens: 0, kind: lose}}");
    let faults: Vec<String> = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29].map(fault).into();
    let first = format!("answer_tokens: 100, faults: [{}]", faults.join(", "));
    let worker = Start::new("worker", &two(&first)).ready().await?;
    let mesh = ports::free_address()?;
    let config = format!("server: {{mesh_listen: \"{mesh}\"}}\n{}", gateway_config(&worker.address));
    let inner = Start::new("gateway", &config).ready().await?;
    let outer = Start::new("gateway", &gateway_config(&format!("http://{mesh}"))).ready().await?;
    let mut direct = connect(&worker.address).await?;
    let mut gateways = [connect(&inner.address).await?, connect(&outer.address).await?];
    let lost = read(direct.generate_stream(say("one", "Hello")).await?.into_inner()).await?;
    assert_eq!(lost.reason()?, Reason::EngineLost);
    let unavailable = async |client: &mut Client| -> Result<Vec<bool>> {
        Ok(targets(client).await?.iter().map(|target| target.unavailable).collect())
    };
    // The worker is ready for the other, and gateways know about the one, however far they are.
    assert_eq!(unavailable(&mut direct).await?, [true, false]);
    assert_eq!(worker.probe("readyz").await?, 200);
    for gateway in &mut gateways {
        eventually!(LIMIT, unavailable(gateway).await.is_ok_and(|told| told == [true, false]))?;
        let refused = gateway.generate(say("one", "Hello")).await.err().context("it was answered")?;
        assert_eq!(reason(&refused)?, Reason::NoInstanceReady);
        assert_eq!(target_of(gateway, "two").await?, "models/two/versions/7");
    }
    let listed = pointsman(&["models", "--address", &outer.address]).await?.success()?;
    let of = |model: &str| listed.lines().find(|line| line.starts_with(model)).unwrap_or_default();
    assert!(of("one").contains("unavailable now") && !of("two").contains("unavailable"), "{listed}");
    outer.stop().await?;
    inner.stop().await?;
    worker.stop_after(&["the engine was lost", "a probe generation failed"]).await
}

#[tokio::test]
async fn a_lost_engine_comes_back_to_every_gateway() -> Result<()> {
    // The caller's request is the second, and the probes after it are the third and the fourth.
    let first = "faults: [{every: 2, after_tokens: 0, kind: lose}, {every: 3, after_tokens: 0, kind: lose}]";
    let mesh = Pair::start(&two(first), &[]).await?;
    let (mut worker, mut gateway) = (connect(&mesh.worker.address).await?, connect(&mesh.gateway.address).await?);
    let lost = read(worker.generate_stream(say("one", "Hello")).await?.into_inner()).await?;
    assert_eq!(lost.reason()?, Reason::EngineLost);
    for client in [&mut worker, &mut gateway] {
        let back = async || targets(&mut client.clone()).await.is_ok_and(|all| all.iter().all(|one| !one.unavailable));
        eventually!(LIMIT, back().await)?;
    }
    mesh.gateway.stop().await?;
    mesh.worker.stop_after(&["the engine was lost", "a probe generation failed"]).await
}

/// A key of this tenant, and its lines of configuration.
async fn key_of(tenant: &str) -> Result<(String, String)> {
    let printed = pointsman(&["key", "new", "--tenant", tenant]).await?.success()?;
    let key = printed.lines().map(str::trim).find(|line| line.starts_with("pm_")).context("no key")?.to_owned();
    let (_, config) = printed.split_once("  keys:\n").context("no configuration")?;
    Ok((key, config.to_owned()))
}

fn with_key<T>(message: T, key: &str) -> Result<Request<T>> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse()?);
    Ok(request)
}

async fn models(gateway: &Service, key: &str) -> Result<String> {
    let models: Value = reqwest::Client::new()
        .get(format!("{}/v1/models", gateway.address))
        .bearer_auth(key)
        .send()
        .await?
        .json()
        .await?;
    let names = models["data"].as_array().into_iter().flatten().filter_map(|model| model["id"].as_str());
    Ok(names.collect::<Vec<_>>().join(" "))
}

#[tokio::test]
async fn a_model_of_some_tenants_is_not_there_for_others() -> Result<()> {
    let worker = Start::new("worker", &two("tenants: [acme]")).ready().await?;
    let (acme, of_acme) = key_of("acme").await?;
    let (globex, of_globex) = key_of("globex").await?;
    let folder = tempfile::tempdir()?;
    let policy = folder.path().join("policy.yaml");
    std::fs::write(&policy, "virtual_models: [{name: chat, rules: [{name: all, targets: [{target: one}]}]}]\n")?;
    let config = format!(
        "{}  policy: \"{}\"\n  keys:\n{of_acme}{of_globex}",
        gateway_config(&worker.address)
            .replace("gateway: {instances:", "gateway:\n  instances:")
            .replace("]}\n", "]\n"),
        policy.display(),
    );
    let gateway = Start::new("gateway", &config).ready().await?;
    assert_eq!(models(&gateway, &acme).await?, "chat one two");
    assert_eq!(models(&gateway, &globex).await?, "chat two");
    let mut client = connect(&gateway.address).await?;
    for (key, count) in [(&acme, 3), (&globex, 2)] {
        let described = client.describe(with_key(DescribeRequest {}, key)?).await?.into_inner().targets;
        assert!(described.len() == count && described.iter().all(|target| target.tenants.is_empty()), "{described:?}");
        client.generate(with_key(say("two", "Hello"), key)?).await?;
        // A name of the policy is everybody's; what is behind it is not.
        let chat = described.iter().find(|target| target.target == "chat").context("no virtual model")?;
        assert_eq!(chat.abilities.is_empty(), count == 2, "{chat:?}");
    }
    client.generate(with_key(say("one", "Hello"), &acme)?).await?;
    for name in ["one", "models/one/versions/1"] {
        let refused = client.generate(with_key(say(name, "Hello"), &globex)?).await.err().context("it was answered")?;
        assert_eq!(reason(&refused)?, Reason::ModelNotFound);
    }
    // Whoever calls the worker itself is the tenant `local`.
    let mut direct = connect(&worker.address).await?;
    let refused = direct.generate(say("one", "Hello")).await.err().context("it was answered")?;
    assert_eq!(reason(&refused)?, Reason::ModelNotFound);
    assert!(!refused.message().contains("models/one"), "{refused}");
    gateway.stop().await?;
    worker.stop().await
}

#[tokio::test]
async fn the_demo_in_all_its_forms_is_served_by_one_worker() -> Result<()> {
    let demo = tools::workspace()?.join("models/demo");
    let demo = demo.display();
    let config = format!(
        "engine:\n  mistralrs:\n    - name: pip\n      model: {demo}/model\n      adapters: [{{name: pirate, path: {demo}/lora-pirate}}]\n    - name: pip-q4k\n      model: {demo}/model\n      quantize: q4k\n    - {{name: pip-gguf, model: {demo}/pip-q8_0.gguf}}\n    - {{name: pip-embed, model: {demo}/embed}}\n"
    );
    let mesh = Pair::start(&config, &[]).await?;
    let mut client = connect(&mesh.gateway.address).await?;
    let mut prints = std::collections::HashSet::new();
    for (name, style) in [("pip", ""), ("pip:pirate", "Ahoy!"), ("pip-q4k", ""), ("pip-gguf", "")] {
        let answer = client.generate(say(name, "What is 7 + 8?")).await?.into_inner();
        let started = answer.started.context("no Started")?;
        assert!(started.target.starts_with(&format!("models/{name}/versions/")), "{started:?}");
        prints.insert(started.target);
        let frames = client.generate_stream(say(name, "What is 7 + 8?")).await?.into_inner();
        let text = read(frames).await?.whole()?;
        assert!(text.contains("15") && text.starts_with(style) && text.contains("Ahoy") != style.is_empty(), "{text}");
    }
    assert_eq!(prints.len(), 4);

    // Nearer to a question of the same meaning than to one of another.
    let texts = ["When do you open?", "What are your opening hours?", "Tell me a story."];
    let inputs = texts.map(str::to_owned).to_vec();
    let request = EmbedRequest { model: "pip-embed".to_owned(), inputs, ..EmbedRequest::default() };
    let embedded = client.embed(request).await?.into_inner();
    let [open, hours, story] = &embedded.embeddings[..] else { anyhow::bail!("not three: {embedded:?}") };
    let product = |a: &Embedding, b: &Embedding| a.values.iter().zip(&b.values).map(|(a, b)| a * b).sum::<f32>();
    assert_eq!((open.values.len(), (product(open, open) * 1000.0).round()), (256, 1000.0));
    assert!(product(open, hours) > product(open, story), "{} {}", product(open, hours), product(open, story));
    let refused = client.generate(say("pip-embed", "Hello")).await.err().context("it was answered")?;
    assert_eq!(reason(&refused)?, Reason::UnsupportedField);
    // Whoever names no model chats with one that answers, though the list begins with another.
    let said = pointsman(&["chat", "--address", &mesh.gateway.address, "Hello"]).await?.success()?;
    assert!(said.contains("Pip"), "{said}");
    mesh.stop().await
}

#[tokio::test]
async fn mistakes_in_a_list_of_models_are_told_with_their_places() -> Result<()> {
    let demo = tools::workspace()?.join("models/demo");
    let demo = demo.display();
    let cases = [
        ("[]", "engine.mistralrs: name at least one model"),
        (
            &*format!("[{{name: pip, model: {demo}/model}}, {{name: pip, model: {demo}/pip-q8_0.gguf}}]"),
            "engine.mistralrs[1]: `pip` is there already",
        ),
        (
            &*format!("[{{name: pip, model: {demo}/model}}, {{name: b, model: /no/such}}]"),
            "engine.mistralrs[1]: the model folder /no/such does not exist",
        ),
        (&*format!("{{name: pip, model: {demo}/README.md}}"), "README.md is no GGUF file"),
        (
            &*format!("{{name: pip, model: {demo}/model, adapters: [{{name: a, path: {demo}/model}}]}}"),
            "lacks adapter_config.json and adapter_model.safetensors",
        ),
        (
            &*format!("{{name: pip, model: {demo}/pip-q8_0.gguf, quantize: q4k}}"),
            "is GGUF, which does not go with `quantize`",
        ),
        (&*format!("{{name: pip, model: {demo}/model, quantize: q5}}"), "q5"),
    ];
    for (engine, mistake) in cases {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, format!("engine: {{mistralrs: {engine}}}\n"))?;
        let file = file.to_str().context("the temporary folder's name is no text")?;
        let ended = pointsman(&["worker", "--config", file, "--check-config"]).await?;
        assert_eq!(ended.code, Some(64), "{engine}: {ended:?}");
        assert!(ended.stderr.contains(mistake), "{engine}: {}", ended.stderr);
    }
    Ok(())
}
