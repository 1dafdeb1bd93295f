//! The policy decides where a request goes: rules, splits, zones, names; and its file is read again when it changes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::GenerateRequest;
use pointsman_testkit::eventually;
use serde_json::{Value, json};

use crate::caller::{Client, chat_body, connect, post_chat, reason, say};
use crate::fleet::{FINISHED, Fleet, LOST, Member, RUNNING, chat};
use crate::program::pointsman;
use crate::service::{LIMIT, Start};

const ONE: Member<'_> = model("target: models/one/versions/1");
const TWO: Member<'_> = model("target: models/two/versions/1");
const ANY: &str = "targets: [{target: one}, {target: two}]";

const fn model(engine: &str) -> Member<'_> {
    Member { engine, replies: "", worker: "slots: 64" }
}

/// A policy with one virtual model of these rules.
fn rules(rules: &str, more: &str) -> String {
    format!("{{virtual_models: [{{name: chat, rules: [{rules}]}}], {more}}}\n")
}

/// Asks over gRPC; returns the target that answered.
async fn target(client: &mut Client, request: GenerateRequest) -> Result<String> {
    let answer = client.generate(request).await?.into_inner().started.context("no Started")?;
    ensure!(answer.model == "chat" && answer.attempts.len() == 1, "{answer:?}");
    Ok(answer.target)
}

#[tokio::test]
async fn a_rule_is_chosen_by_labels() -> Result<()> {
    let policy = rules(
        "{name: search, when: labels.team == \"search\", targets: [{target: two}]}, \
         {name: others, targets: [{target: one}]}",
        "",
    );
    let fleet = Fleet::start(&[ONE, TWO], &policy).await?;
    let mut client = connect(&fleet.gateway.address).await?;
    for (team, want) in [("search", "models/two/versions/1"), ("ads", "models/one/versions/1")] {
        let labels = [("team".to_owned(), team.to_owned())].into();
        assert_eq!(target(&mut client, GenerateRequest { labels, ..say("chat", "Hello") }).await?, want);
        let body =
            json!({"model": "chat", "metadata": {"team": team}, "messages": [{"role": "user", "content": "Hi"}]});
        let answer = post_chat(&fleet.gateway.address, &body).await?;
        let headers = answer.headers();
        assert!(headers["x-pointsman-attempts"].to_str()?.starts_with(want), "{headers:?}");
        assert_eq!(headers["x-pointsman-policy-revision"].len(), 12);
        assert_eq!(headers["x-pointsman-decision-id"].len(), 16);
        let body: Value = answer.json().await?;
        assert_eq!(
            (&body["model"], &body["choices"][0]["message"]["content"]),
            (&json!("chat"), &json!("You said: Hi"))
        );
    }
    let none = rules("{name: search, when: labels.team == \"search\", targets: [{target: two}]}", "");
    std::fs::write(fleet.policy(), none)?;
    eventually!(
        LIMIT,
        async {
            let refused = client.generate(say("chat", "Hello")).await.err()?;
            (reason(&refused).ok()? == Reason::NoRuleApplies).then_some(())
        }
        .await
    )?;
    fleet.stop_after(&[]).await
}

/// The target of each of these users, over gRPC and over HTTP.
async fn by_user(address: &str) -> Result<BTreeMap<String, String>> {
    let mut client = connect(address).await?;
    let mut targets = BTreeMap::new();
    for number in 0..16 {
        let end_user = format!("user-{number}");
        let over_grpc =
            target(&mut client, GenerateRequest { end_user: end_user.clone(), ..say("chat", "Hi") }).await?;
        let body = json!({"model": "chat", "user": end_user, "messages": [{"role": "user", "content": "Hi"}]});
        let over_http = post_chat(address, &body).await?;
        let attempts = over_http.headers()["x-pointsman-attempts"].to_str()?;
        ensure!(attempts.starts_with(&over_grpc), "{end_user}: {over_grpc} and {attempts}");
        targets.insert(end_user, over_grpc);
    }
    Ok(targets)
}

#[tokio::test]
async fn a_user_stays_with_a_target_over_restarts() -> Result<()> {
    let policy = rules(&format!("{{name: split, {ANY}, sticky_by: request.end_user}}"), "");
    let fleet = Fleet::start(&[ONE, TWO], &policy).await?;
    let before = by_user(&fleet.gateway.address).await?;
    let mut both: Vec<&String> = before.values().collect();
    both.sort_unstable();
    both.dedup();
    assert_eq!(both, ["models/one/versions/1", "models/two/versions/1"]);
    let next = fleet.another_gateway(Start::new("gateway", "")).await?;
    assert_eq!(by_user(&next.address).await?, before);
    next.stop().await?;
    fleet.stop_after(&[]).await
}

#[tokio::test]
async fn models_of_the_fleet_can_be_hidden() -> Result<()> {
    let open = Fleet::start(&[ONE, TWO], &rules(&format!("{{name: all, {ANY}}}"), "")).await?;
    let hidden =
        Fleet::start(&[ONE, TWO], &rules(&format!("{{name: all, {ANY}}}"), "virtual_models_only: true")).await?;
    for (fleet, want) in [(&open, &["chat", "one", "two"][..]), (&hidden, &["chat"])] {
        let address = &fleet.gateway.address;
        let listed: Value = reqwest::get(format!("{address}/v1/models")).await?.json().await?;
        let names: Vec<&str> =
            listed["data"].as_array().context("no list")?.iter().filter_map(|m| m["id"].as_str()).collect();
        assert_eq!(names, want);
    }
    let address = &hidden.gateway.address;
    for name in ["one", "models/one/versions/1"] {
        let refused = connect(address).await?.generate(say(name, "Hello")).await.err().context("it was answered")?;
        assert_eq!(reason(&refused)?, Reason::ModelNotFound);
        assert_eq!(post_chat(address, &chat_body(name, "Hello", false)).await?.status(), 404);
        assert_eq!(post_chat(&open.gateway.address, &chat_body(name, "Hello", false)).await?.status(), 200);
    }
    assert_eq!(reqwest::get(format!("{address}/v1/models/one")).await?.status(), 404);
    assert_eq!(reqwest::get(format!("{address}/v1/models/chat")).await?.status(), 200);
    open.stop_after(&[]).await?;
    hidden.stop_after(&[]).await
}

#[tokio::test]
async fn a_request_never_leaves_its_zones() -> Result<()> {
    let away = chat("allowed_zones: [home], max_attempts: 8, hedge: {after: 0.001s}, fallbacks: [{target: other}]");
    let other = model("target: models/other/versions/1");
    let mut fleet = Fleet::start(&[model(""), model(""), other], &away).await?;
    let mut client = connect(&fleet.gateway.address).await?;
    let answer = client.generate(say("chat", "Hello")).await?.into_inner().started.context("no Started")?;
    assert_eq!(answer.attempts.iter().map(|attempt| &*attempt.instance).collect::<Vec<_>>(), ["w1"]);
    fleet.workers[0].process.kill9().await?;
    // While the gateway does not know it yet, and when it does.
    for _ in 0..2 {
        let refused = client.generate(say("chat", "Hello")).await.err().context("it left its zone")?;
        let told = reason(&refused)?;
        assert!([Reason::NoInstanceReady, Reason::InstanceUnreachable].contains(&told), "{refused:?}");
        fleet.gateway.process.line_with("an instance cannot be reached", LIMIT).await?;
    }
    // The other zones are well, and were not asked.
    assert_eq!(client.generate(say("other", "Hello")).await?.into_inner().choices.len(), 1);
    assert_eq!((fleet.sum(FINISHED).await?, fleet.sum(RUNNING).await?), (1, 0));
    fleet.stop_after(&[LOST]).await
}

#[tokio::test]
async fn a_changed_policy_is_taken_and_a_broken_one_is_not() -> Result<()> {
    let to = |name: &str| rules(&format!("{{name: all, targets: [{{target: {name}}}]}}"), "");
    let fleet = Fleet::start(&[ONE, TWO], &to("one")).await?;
    let mut client = connect(&fleet.gateway.address).await?;
    let first = client.generate(say("chat", "Hello")).await?.into_inner().started.context("no Started")?;
    std::fs::write(fleet.policy(), to("two"))?;
    let second = eventually!(
        LIMIT,
        async {
            let started = client.generate(say("chat", "Hello")).await.ok()?.into_inner().started?;
            (started.policy_revision != first.policy_revision).then_some(started)
        }
        .await
    )?;
    assert_eq!((&*first.target, &*second.target), ("models/one/versions/1", "models/two/versions/1"));
    assert_ne!(first.decision_id, second.decision_id);

    let file = fleet.policy().display().to_string();
    let meaning = "virtual_models:\n- name: chat\n  rules:\n  - name: all\n    targets: [{target: one, weight: 0}]\n    max_attempts: 17\n";
    for (broken, places) in [("virtual_models: [{\n", &[":1:18: "][..]), (meaning, &[":5:37: ", ":6:19: "])] {
        std::fs::write(fleet.policy(), broken)?;
        let line = fleet.gateway.process.line_with(&format!("{file}{}", places[0]), LIMIT).await;
        let line = line.with_context(|| places[0].to_owned())?;
        // All of them in one line, with nothing in it that a line would not have.
        assert!(places.iter().all(|place| line.contains(&format!("{file}{place}"))), "{line}");
        assert!(!line.contains("\\n") && line.matches("; /").count() == places.len() - 1, "{line}");
        assert!(line.contains("the changed policy is refused; the last good one stays"), "{line}");
        let still = client.generate(say("chat", "Hello")).await?.into_inner().started.context("no Started")?;
        assert_eq!((still.policy_revision, still.target), (second.policy_revision.clone(), second.target.clone()));
    }
    fleet.gateway.metric_is("pointsman_gateway_policy_changes_total{outcome=\"taken\"}", 1).await?;
    fleet.gateway.metric_is("pointsman_gateway_policy_changes_total{outcome=\"refused\"}", 2).await?;
    fleet.stop_after(&["the changed policy is refused"]).await
}

#[tokio::test]
async fn a_misspelt_target_is_warned_of_and_named() -> Result<()> {
    let to = |names: &str| rules(&format!("{{name: all, targets: [{names}]}}"), "");
    let fleet = Fleet::start(&[ONE, TWO], &to("{target: onne}, {target: models/one/versions/2}")).await?;
    let words = |near: &str| format!("the policy names a target that no instance serves; did you mean `{near}`?");
    let warned = async |near: &str, target: &str| {
        let line = fleet.gateway.process.line_with(&words(near), LIMIT).await?;
        assert!(line.contains("WARN") && line.contains("chat") && line.contains(target), "{line}");
        anyhow::Ok(())
    };
    warned("one", "onne").await?;
    warned("models/one/versions/1", "models/one/versions/2").await?;
    let mut client = connect(&fleet.gateway.address).await?;
    let refused = client.generate(say("chat", "Hello")).await.err().context("nobody serves it")?;
    assert_eq!(reason(&refused)?, Reason::NoInstanceReady);
    assert!(refused.message().contains("`chat` leads to `models/one/versions/2` and `onne`, which"), "{refused:?}");

    std::fs::write(fleet.policy(), to("{target: one}, {target: twwo}"))?;
    warned("two", "twwo").await?;
    assert_eq!(target(&mut client, say("chat", "Hello")).await?, "models/one/versions/1");
    let told = fleet.gateway.process.unexpected_lines();
    assert_eq!(told.len(), 3, "each is told once: {told:#?}");
    fleet.stop_after(&["the policy names a target that no instance serves"]).await
}

#[tokio::test]
async fn a_request_that_may_not_run_is_told_where_it_may() -> Result<()> {
    let fleet = Fleet::start(&[ONE, TWO], &rules(&format!("{{name: all, {ANY}, allowed_zones: [south]}}"), "")).await?;
    let mut client = connect(&fleet.gateway.address).await?;
    let refused = client.generate(say("chat", "Hello")).await.err().context("it left its zone")?;
    assert_eq!(reason(&refused)?, Reason::NoTargetAllowed);
    let words = "it may run in `south`; there are instances in `away` and `home`";
    assert!(refused.message().ends_with(words), "{refused:?}");
    fleet.stop_after(&[]).await
}

#[tokio::test]
async fn a_policy_is_checked_and_explained_without_a_mesh() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (good, bad, request) = (path("good.yaml"), path("bad.yaml"), path("request.json"));
    std::fs::write(&good, rules(&format!("{{name: split, {ANY}, fallbacks: [{{target: three}}]}}"), ""))?;
    let told = pointsman(&["policy", "check", &good]).await?.success()?;
    assert!(told.contains("the policy is good: revision ") && told.contains(", 1 virtual model\n"), "{told}");

    let meaning = "virtual_models:\n- name: chat\n  rules:\n  - name: all\n    when: request.tools > 3 && request.tools < 3\n    targets: [{target: one}]\n    max_attempts: 17\n";
    let form = "virtual_models:\n- name: chat\n  rules:\n  - nam: all\n    targets: [{target: a, weight: -1}]\n    timeouts: {first_token: 30}\n    max_attempts: 17\n";
    for (text, places) in [
        ("virtual_models:\n- name: chat\n  rules: 5\n", &[":3:10: "][..]),
        ("virtual_models: [{\n", &[":1:18: "]),
        (meaning, &[":5:11: ", ":7:19: "]),
        (form, &[":4:5: ", ":5:35: ", ":6:29: ", ":7:19: "]),
    ] {
        std::fs::write(&bad, text)?;
        let ended = pointsman(&["policy", "check", &bad]).await?;
        assert_eq!(ended.code, Some(64), "{ended:?}");
        assert!(ended.stderr.contains(&format!("the policy file {bad} has mistakes:")), "{ended:?}");
        for place in places {
            assert!(ended.stderr.contains(&format!("{bad}{place}")), "{place}: {ended:?}");
        }
        // A gateway does not start with it either.
        let refused = pointsman(&["gateway", "--policy", &bad, "--check-config"]).await?;
        assert!(refused.code == Some(64) && refused.stderr.contains(&format!("{bad}{}", places[0])), "{refused:?}");
    }

    std::fs::write(
        &request,
        "{\"model\": \"chat\", \"messages\": [{\"role\": \"ROLE_USER\", \"parts\": [{\"text\": \"Hi\"}]}]}",
    )?;
    let mut drawn = Vec::new();
    for seed in ["7", "7", "8", "9", "10", "11", "12", "13"] {
        let told = pointsman(&["policy", "explain", &good, "--request", &request, "--seed", seed]).await?.success()?;
        assert!(told.contains("split") && told.contains("applies") && told.contains(" 2. models/three/"), "{told}");
        drawn.push(told);
    }
    assert_eq!(drawn[0], drawn[1], "the same seed, the same decision");
    let first = |name: &str| drawn.iter().filter(|told| told.contains(&format!(" 1. models/{name}/"))).count();
    assert!(first("one") > 0 && first("two") > 0 && first("one") + first("two") == 8, "{drawn:?}");

    let (_, rest) = drawn[0].split_once("--seed ").context("no seed is told")?;
    let (id, _) = rest.split_once(')').context("no seed is told")?;
    assert_eq!(id, "0000000000000007");
    let again = pointsman(&["policy", "explain", &good, "--request", &request, "--seed", id]).await?.success()?;
    assert_eq!(again, drawn[0], "a decision is repeated by its id");

    std::fs::write(&request, "{\"model\": \"chat\"}")?;
    let refused = pointsman(&["policy", "explain", &good, "--request", &request]).await?;
    assert!(refused.code == Some(1) && refused.stdout.is_empty(), "{refused:?}");
    assert!(refused.stderr.contains("messages: give 1 to 4,096 messages"), "{refused:?}");

    let asking = |model: &str| {
        format!(
            "{{\"model\": \"{model}\", \"messages\": [{{\"role\": \"ROLE_USER\", \"parts\": [{{\"text\": \"Hi\"}}]}}]}}"
        )
    };
    std::fs::write(&request, asking("two"))?;
    let told = pointsman(&["policy", "explain", &good, "--request", &request]).await?.success()?;
    assert!(told.contains(" 1. models/two/") && told.contains("at most 3 attempts;"), "{told}");
    for (model, why) in [("chatt", "; did you mean `chat`?"), ("gpt-4o", "of which a policy says nothing\n")] {
        std::fs::write(&request, asking(model))?;
        let ended = pointsman(&["policy", "explain", &good, "--request", &request]).await?;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stdout.contains(&format!("`{model}` is no virtual model")), "{ended:?}");
        assert!(ended.stdout.ends_with(&format!("{}\n", why.trim_end())), "{ended:?}");
        assert!(ended.stderr.contains("no decision can be made for this request"), "{ended:?}");
    }
    Ok(())
}
