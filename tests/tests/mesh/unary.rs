//! Calls with one answer: what is asked of them goes the way of a generation, and each is answered once.

mod sdks;

use anyhow::{Context, Result, ensure};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::AttemptKind::{First, Retry};
use pointsman_proto::inference::v1::{
    CountTokensRequest, CountTokensResponse, DescribeRequest, EmbedRequest, EmbedResponse, MeshContext, Priority,
};
use pointsman_proto::mesh_context;
use pointsman_testkit::{OtlpReceiver, ports};
use serde_json::{Value, json};
use tonic::{Code, Request};

use crate::caller::{attempts_in, connect, reason, retry_delay, say, told};
use crate::dishonest_instance::{Lie, listen};
use crate::fleet::{FINISHED, Fleet, LOST, Member, QUEUED, RUNNING, chat};
use crate::named::{new_key, refusal};
use crate::program::pointsman;
use crate::service::{Service, Start, gateway_config, simulated_config};

/// A second for each token that is read.
const SLOW: &str = "timing: {prefill_per_token: 1s}";

fn embed(model: &str, inputs: &[&str]) -> EmbedRequest {
    let inputs = inputs.iter().map(|input| (*input).to_owned()).collect();
    EmbedRequest { model: model.to_owned(), inputs, ..EmbedRequest::default() }
}

fn count(model: &str, text: &str) -> CountTokensRequest {
    CountTokensRequest { request: Some(say(model, text)) }
}

/// Embeds a text that takes far longer than a test, beside the test.
fn embed_slowly(address: &str) -> tokio::task::JoinHandle<Result<EmbedResponse>> {
    let address = address.to_owned();
    tokio::spawn(async move {
        let mut client = connect(&address).await?;
        Ok(client.embed(embed("chat", &[&"word ".repeat(1000)])).await?.into_inner())
    })
}

#[tokio::test]
async fn who_is_killed_before_the_answer_is_followed_by_another() -> Result<()> {
    let fast = Member::engine("");
    let slow = Member::engine(SLOW);
    let mut fleet = Fleet::start(&[slow, fast], &chat("")).await?;
    let asked = embed_slowly(&fleet.gateway.address);
    fleet.workers[0].metric_is(RUNNING, 1).await?;
    fleet.workers[0].process.kill9().await?;
    let response = asked.await??;
    let started = response.started.context("nothing says who answered")?;
    let lost = Reason::InstanceUnreachable.name();
    assert_eq!(told(&started.attempts), [(First, "w1", lost), (Retry, "w2", "FINISHED")]);
    assert_eq!((response.embeddings.len(), response.embeddings[0].values.len()), (1, 64));
    // A count finds the one that is left, too.
    let counted = connect(&fleet.gateway.address).await?.count_tokens(count("chat", "one two")).await?;
    assert!(attempts_in(counted.metadata()).contains("@w2 FINISHED"), "{counted:?}");
    assert_eq!(counted.into_inner().prompt_tokens, 6);
    fleet.stop_after(&[LOST]).await
}

#[tokio::test]
async fn an_engine_that_fails_is_followed_by_another_and_told_where_there_is_none() -> Result<()> {
    // The probe is the first request of an engine.
    let fails = Member::engine("faults: [{every: 2, after_tokens: 0, kind: lose}]");
    let fleet = Fleet::start(&[fails, Member::engine("")], &chat("")).await?;
    let mut client = connect(&fleet.gateway.address).await?;
    let response = client.embed(embed("chat", &["a"])).await?.into_inner();
    let attempts = response.started.context("nothing says who answered")?.attempts;
    assert_eq!(told(&attempts), [(First, "w1", "ENGINE_LOST"), (Retry, "w2", "FINISHED")]);
    let Fleet { gateway, workers, .. } = fleet;
    gateway.stop().await?;
    for worker in workers {
        worker.stop_after(&["the engine was lost"]).await?;
    }

    let mesh = Service::simulated("faults: [{every: 2, after_tokens: 0, kind: fail}]").await?;
    let failed = connect(&mesh.address).await?.embed(embed("simulated", &["a"])).await;
    assert_eq!(refusal(failed)?, Reason::GenerationFailed);
    mesh.stop_after(&["the engine failed a request"]).await
}

#[tokio::test]
async fn a_gateway_behind_a_gateway_passes_calls_on() -> Result<()> {
    let worker = Start::new("worker", &simulated_config("")).ready().await?;
    let mesh = ports::free_address()?;
    let (_, entry) = new_key("acme").await?;
    let inner = format!(
        "server: {{instance: inner, mesh_listen: \"{mesh}\"}}\n\
         gateway:\n  instances: [{{name: w, endpoint: \"{}\"}}]\n  keys:{entry}\n",
        worker.address
    );
    let inner = Start::new("gateway", &inner).ready().await?;
    let outer = format!("gateway: {{instances: [{{name: inner, endpoint: \"http://{mesh}\"}}]}}\n");
    let outer = Start::new("gateway", &outer).ready().await?;

    let mut client = connect(&outer.address).await?;
    let response = client.embed(embed("simulated", &["a cat", "a dog"])).await?.into_inner();
    let started = response.started.context("nothing says who answered")?;
    assert_eq!((response.embeddings.len(), started.model.as_str()), (2, "simulated"));
    assert_eq!(told(&started.attempts), [(First, "inner", "FINISHED")]);
    let counted = client.count_tokens(count("simulated", "one two")).await?;
    assert!(attempts_in(counted.metadata()).contains("@inner FINISHED"), "{counted:?}");
    let CountTokensResponse { prompt_tokens, target, .. } = counted.into_inner();
    assert_eq!((prompt_tokens, target.as_str()), (6, "models/simulated/versions/1"));
    // The public has to show a key there.
    let mut public = connect(&inner.address).await?;
    assert_eq!(refusal(public.embed(embed("simulated", &["a"])).await)?, Reason::KeyInvalid);
    assert_eq!(refusal(public.count_tokens(count("simulated", "a")).await)?, Reason::KeyInvalid);
    outer.stop().await?;
    inner.stop().await?;
    worker.stop().await
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_and_with_its_caller() -> Result<()> {
    let fleet = Fleet::start(&[Member::engine(SLOW)], &chat("")).await?;
    let worker = &fleet.workers[0];
    let mut request = Request::new(embed("chat", &[&"word ".repeat(1000)]));
    request.metadata_mut().insert("grpc-timeout", "700m".parse()?);
    // Told by the gateway, or by the library's own clock.
    let late = connect(&fleet.gateway.address).await?.embed(request).await.err().context("it was answered")?;
    ensure!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");
    worker.metric_is(RUNNING, 0).await?;
    fleet.gateway.metric_is("pointsman_gateway_running_requests", 0).await?;
    let cancelled = "pointsman_gateway_requests_total{surface=\"grpc\",outcome=\"CANCELLED\"}";
    let before = fleet.gateway.metric(cancelled).await?;

    let left = embed_slowly(&fleet.gateway.address);
    worker.metric_is(RUNNING, 1).await?;
    left.abort();
    worker.metric_is(RUNNING, 0).await?;
    fleet.gateway.metric_is("pointsman_gateway_running_requests", 0).await?;
    fleet.gateway.metric_is(cancelled, before + 1).await?;
    fleet.stop_after(&[]).await
}

#[tokio::test]
async fn an_instance_that_is_too_slow_is_followed_by_another() -> Result<()> {
    let members = [Member::engine(SLOW), Member::engine("")];
    let fleet = Fleet::start(&members, &chat("timeouts: {first_token: 3s}")).await?;
    let response = embed_slowly(&fleet.gateway.address).await??;
    let attempts = response.started.context("nothing says who answered")?.attempts;
    assert_eq!(told(&attempts), [(First, "w1", "ATTEMPT_TIMEOUT"), (Retry, "w2", "FINISHED")]);
    fleet.workers[0].metric_is(RUNNING, 0).await?;
    fleet.stop_after(&[]).await
}

#[tokio::test]
async fn an_operator_sees_a_call_and_ends_it() -> Result<()> {
    let fleet = Fleet::start(&[Member::engine(SLOW)], &chat("")).await?;
    let asked = embed_slowly(&fleet.gateway.address);
    fleet.workers[0].metric_is(RUNNING, 1).await?;
    let operator = &fleet.gateway.operator;
    let listed = pointsman(&["requests", "--operator-address", operator]).await?.success()?;
    let line = listed.lines().find(|line| line.contains(" w1 ")).with_context(|| listed.clone())?;
    let id = line.split_ascii_whitespace().next_back().context("no id")?.to_owned();
    pointsman(&["cancel", &id, "--operator-address", operator]).await?.success()?;
    let ended = asked.await?.err().context("it was answered")?;
    let status = ended.downcast_ref::<tonic::Status>().context("no status")?;
    assert_eq!(reason(status)?, Reason::CancelledByOperator);
    fleet.workers[0].metric_is(RUNNING, 0).await?;
    fleet.stop_after(&[]).await
}

#[tokio::test]
async fn a_full_queue_refuses_calls_and_priority_goes_first() -> Result<()> {
    let slow = Member { worker: "slots: 1, queue: 2", ..Member::engine("timing: {prefill_per_token: 100ms}") };
    let fleet = Fleet::start(&[slow], &chat("")).await?;
    let worker = &fleet.workers[0];
    let embed_as = |priority: Priority, words: usize| {
        let address = worker.address.clone();
        tokio::spawn(async move {
            let request = EmbedRequest { priority: priority.into(), ..embed("simulated", &[&"word ".repeat(words)]) };
            let answered = connect(&address).await?.embed(request).await.map(|_| ());
            anyhow::Ok((answered, tokio::time::Instant::now()))
        })
    };
    let running = embed_as(Priority::Default, 30);
    worker.metric_is(RUNNING, 1).await?;
    let bulk = embed_as(Priority::Bulk, 5);
    worker.metric_is(QUEUED, 1).await?;
    let first = embed_as(Priority::Interactive, 5);
    worker.metric_is(QUEUED, 2).await?;
    let mut client = connect(&worker.address).await?;
    let full = client.embed(embed("simulated", &["a"])).await.err().context("it was taken")?;
    assert_eq!((reason(&full)?, retry_delay(&full).is_some()), (Reason::QueueFull, true));
    assert_eq!(refusal(client.count_tokens(count("simulated", "a")).await)?, Reason::QueueFull);
    let ((answered, _), (bulk, bulk_at), (first, first_at)) = (running.await??, bulk.await??, first.await??);
    assert!(answered.is_ok() && bulk.is_ok() && first.is_ok());
    assert!(first_at < bulk_at);
    fleet.stop_after(&[]).await
}

#[tokio::test]
async fn a_key_its_limits_and_its_zones_bind_calls() -> Result<()> {
    let slow = Member::engine(SLOW);
    let fleet = Fleet::start(&[slow], "").await?;
    let (key, entry) = new_key("acme").await?;
    let mesh = ports::free_address()?;
    let config = format!(
        "server: {{mesh_listen: \"{mesh}\"}}\n\
         gateway:\n  instances: [{{name: w1, endpoint: \"{}\"}}]\n  keys:{entry}\n        limits: {{concurrent: 1}}\n",
        fleet.workers[0].address
    );
    let gateway = Start::new("gateway", &config).ready().await?;
    let mut client = connect(&gateway.address).await?;
    let by_key = |words: usize| {
        let mut request = Request::new(embed("simulated", &[&"word ".repeat(words)]));
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse()?);
        anyhow::Ok(request)
    };
    let (mut other, long) = (client.clone(), by_key(1000)?);
    let running = tokio::spawn(async move { other.embed(long).await.map(|_| ()) });
    fleet.workers[0].metric_is(RUNNING, 1).await?;
    assert_eq!(refusal(client.embed(by_key(1)?).await)?, Reason::RateLimited);
    running.abort();
    fleet.workers[0].metric_is(RUNNING, 0).await?;

    let elsewhere =
        || MeshContext { tenant: "acme".to_owned(), allowed_zones: vec!["mars".to_owned()], ..MeshContext::default() };
    let mut inside = connect(&format!("http://{mesh}")).await?;
    let mut embedding = Request::new(embed("simulated", &["a"]));
    mesh_context::write(&elsewhere(), embedding.metadata_mut());
    assert_eq!(refusal(inside.embed(embedding).await)?, Reason::NoTargetAllowed);
    let mut counting = Request::new(count("simulated", "a"));
    mesh_context::write(&elsewhere(), counting.metadata_mut());
    assert_eq!(refusal(inside.count_tokens(counting).await)?, Reason::NoTargetAllowed);
    gateway.stop().await?;
    fleet.stop_after(&[]).await
}

#[tokio::test]
async fn a_policy_leads_calls_to_those_that_can_answer_them() -> Result<()> {
    // One name for both: who generates is w1, who embeds is w2.
    let generates = Member::engine("target: models/talker/versions/1, embeddings: {width: 0}");
    let embeds = Member::engine("target: models/vector/versions/1, embeddings: {width: 8, only: true}");
    let policy = "virtual_models: [{name: chat, rules: [\
                  {name: bulk, when: 'labels[\"team\"] == \"batch\"', targets: [{target: talker}]}, \
                  {name: all, targets: [{target: talker}, {target: vector}]}]}]\n";
    let fleet = Fleet::start(&[generates, embeds], policy).await?;
    let mut client = connect(&fleet.gateway.address).await?;
    for _ in 0..10 {
        let answer = client.generate(say("chat", "Hello")).await?.into_inner();
        assert_eq!(answer.started.context("no start")?.target, "models/talker/versions/1");
        let response = client.embed(embed("chat", &["a"])).await?.into_inner();
        assert_eq!(response.started.context("no start")?.target, "models/vector/versions/1");
        let counted = client.count_tokens(count("chat", "a")).await?.into_inner();
        assert_eq!(counted.target, "models/talker/versions/1");
    }
    let batch = EmbedRequest { labels: [("team".to_owned(), "batch".to_owned())].into(), ..embed("chat", &["a"]) };
    let refused = client.embed(batch).await.err().context("it was answered")?;
    assert_eq!((refused.code(), reason(&refused)?), (Code::Unimplemented, Reason::UnsupportedField));
    for (model, which) in [("vector", "generate"), ("talker", "embed"), ("vector", "count")] {
        let refused = match which {
            "generate" => client.generate(say(model, "Hello")).await.err(),
            "embed" => client.embed(embed(model, &["a"])).await.err(),
            _ => client.count_tokens(count(model, "a")).await.err(),
        };
        let refused = refused.context("it was answered")?;
        assert_eq!((refused.code(), reason(&refused)?), (Code::Unimplemented, Reason::UnsupportedField), "{which}");
    }
    // A worker that is called directly says the same.
    let refused = connect(&fleet.workers[1].address).await?.generate(say("vector", "Hello")).await;
    assert_eq!(refusal(refused)?, Reason::UnsupportedField);
    let described = client.describe(DescribeRequest {}).await?.into_inner().targets;
    let told: Vec<_> = described.iter().map(|one| (&*one.target, one.embeds_only, one.embedding_dimensions)).collect();
    let talker = ("models/talker/versions/1", false, 0);
    assert_eq!(told, [("chat", false, 8), talker, ("models/vector/versions/1", true, 8)]);
    fleet.stop_after(&[]).await
}

#[tokio::test]
async fn a_fixed_text_is_no_answer_to_a_call() -> Result<()> {
    let text = "static_answer: {text: later, causes: [CAUSE_UNAVAILABLE]}";
    let mut fleet = Fleet::start(&[Member::engine("")], &chat(text)).await?;
    fleet.workers[0].process.kill9().await?;
    let mut client = connect(&fleet.gateway.address).await?;
    let answer = client.generate(say("chat", "Hello")).await?.into_inner();
    ensure!(answer.started.context("no start")?.static_answer, "no fixed text");
    let refused = client.embed(embed("chat", &["a"])).await.err().context("it was answered")?;
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    ensure!(client.count_tokens(count("chat", "a")).await.is_err(), "it was answered");
    fleet.stop_after(&[LOST]).await
}

#[tokio::test]
async fn an_embedding_is_billed_and_a_count_is_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let worker = Start::new("worker", &simulated_config("")).ready().await?;
    let config = gateway_config(&worker.address)
        .replace("gateway: {", &format!("gateway: {{data_dir: \"{}\", ", folder.path().display()));
    let gateway = Start::new("gateway", &config).ready().await?;
    let mut client = connect(&gateway.address).await?;
    client.count_tokens(count("simulated", "one two")).await?;
    let request = EmbedRequest { request_id: "order-1".to_owned(), ..embed("simulated", &["one two", "three"]) };
    let response = client.embed(request).await?.into_inner();
    let printed = pointsman(&["usage", "--operator-address", &gateway.operator]).await?.success()?;
    let records: Vec<Value> = printed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(records.len() == 1, "{records:?}");
    let record = &records[0];
    assert_eq!((&record["requestId"], &record["model"]), (&json!("order-1"), &json!("simulated")));
    assert_eq!((&record["attempt"]["outcome"], &record["usage"]["inputTokens"]), (&json!("FINISHED"), &json!(3)));
    assert_eq!(record["usage"]["outputTokens"], json!(0));
    let decision = response.started.context("no start")?.decision_id;
    assert_eq!((&record["decisionId"], &record["attemptId"]), (&json!(decision), &json!(format!("{decision}-1"))));
    worker.metric_is(FINISHED, 2).await?;
    gateway.stop().await?;
    worker.stop().await
}

#[tokio::test]
async fn calls_have_spans_of_their_own() -> Result<()> {
    let receiver = OtlpReceiver::start().await?;
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint())];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_ref()));
    let mesh = Start { environment: &environment, ..Start::new("up", &simulated_config("")) }.ready().await?;
    let mut client = connect(&mesh.address).await?;
    client.embed(embed("simulated", &["a cat"])).await?;
    client.count_tokens(count("simulated", "a cat")).await?;
    mesh.stop().await?;
    let spans = receiver.spans();
    for (name, inside) in [("embeddings simulated", "embeddings"), ("count_tokens simulated", "count_tokens")] {
        let outer = spans.iter().find(|span| span.name == name).with_context(|| format!("{spans:#?}"))?;
        let of_trace = |name: &str| spans.iter().any(|span| span.trace_id == outer.trace_id && span.name == name);
        ensure!(of_trace("attempt models/simulated/versions/1") && of_trace(inside), "{name}: {spans:#?}");
        let text = format!("{outer:?}");
        ensure!(text.contains("pointsman.instance") && text.contains("pointsman.decision_id"), "{text}");
        ensure!(!format!("{spans:?}").contains("a cat"), "what was sent is in a span");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_not_whole_is_none_and_an_older_instance_no_worse() -> Result<()> {
    let liar = listen(Lie::Nothing).await?;
    let gateway = Start::new("gateway", &gateway_config(&liar)).ready().await?;
    let mut client = connect(&gateway.address).await?;
    assert_eq!(refusal(client.embed(embed("liar", &["a"])).await)?, Reason::StreamTruncated);
    // As often as opens a breaker: it is open for none of them.
    for _ in 0..20 {
        let older = client.count_tokens(count("liar", "a")).await.err().context("it was answered")?;
        assert_eq!((older.code(), reason(&older)?), (Code::Unimplemented, Reason::RouteNotFound));
    }
    gateway.stop().await
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_the_callers_to_divide() -> Result<()> {
    // 65 MiB of numbers.
    let mesh = Service::simulated("embeddings: {width: 16384}").await?;
    let mut client = connect(&mesh.address).await?;
    let refused = client.embed(embed("simulated", &["a"; 1040])).await.err().context("it was answered")?;
    assert_eq!(reason(&refused)?, Reason::RequestTooLarge);
    // The instance is none the worse for it.
    assert_eq!(client.embed(embed("simulated", &["a"; 2])).await?.into_inner().embeddings.len(), 2);
    mesh.stop().await
}
