//! What requests consumed is recorded, survives a gateway that dies, and is taken once.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use pointsman_errors::Reason;
use serde_json::Value;
use tempfile::TempDir;

use crate::caller::{connect, post_chat, read, read_deltas, reason, say, say_at_most};
use crate::program::pointsman;
use crate::service::{Service, Start, gateway_config, simulated_config};

/// Long answers, a token each 50 ms; a limit makes them short.
const SLOW: &str = "answer_tokens: 1000, timing: {step: 50ms}";
const WRITTEN: &str = "pointsman_gateway_usage_records_total";
const SEGMENTS: &str = "pointsman_gateway_usage_spool_segments";
const HAS_ROOM: &str = "pointsman_gateway_usage_spool_has_room";

/// A gateway that keeps usage in this folder, before one worker.
struct Kept {
    config: String,
    worker: Service,
    folder: TempDir,
}

impl Kept {
    async fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let worker = Start::new("worker", &simulated_config(SLOW)).ready().await?;
        let gateway = gateway_config(&worker.address).replace(
            "gateway: {",
            &format!("gateway: {{usage_limit: 32MiB, data_dir: \"{}\", ", folder.path().display()),
        );
        Ok(Self { config: gateway, worker, folder })
    }

    async fn gateway(&self) -> Result<Service> {
        Start::new("gateway", &self.config).ready().await
    }
}

/// What `pointsman usage` prints, by line.
async fn usage(gateway: &Service, options: &[&str]) -> Result<Vec<Value>> {
    let arguments = [&["usage", "--operator-address", &gateway.operator], options].concat();
    let printed = pointsman(&arguments).await?.success()?;
    printed.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Asks for a short answer and returns when its end was seen.
async fn short_answer(gateway: &Service, tokens: u32) -> Result<()> {
    let mut client = connect(&gateway.address).await?;
    let frames = client.generate_stream(say_at_most("simulated", "Hello", tokens)).await?.into_inner();
    ensure!(read(frames).await?.finished, "the answer is not whole");
    Ok(())
}

#[tokio::test]
async fn each_attempt_is_recorded_and_taken_once() -> Result<()> {
    let kept = Kept::new().await?;
    let gateway = kept.gateway().await?;
    short_answer(&gateway, 3).await?;
    let body = serde_json::json!({
        "model": "simulated", "max_completion_tokens": 2, "messages": [{"role": "user", "content": "Hello"}],
    });
    ensure!(post_chat(&gateway.address, &body).await?.status() == 200);
    let mut client = connect(&gateway.address).await?;
    let mut frames = client.generate_stream(say("simulated", "Hello")).await?.into_inner();
    read_deltas(&mut frames, 2).await?;
    drop(frames);
    gateway.metric_is(WRITTEN, 3).await?;

    let records = usage(&gateway, &[]).await?;
    let outcomes: Vec<&Value> = records.iter().map(|record| &record["attempt"]["outcome"]).collect();
    assert_eq!(outcomes, ["FINISHED", "FINISHED", "CANCELLED"]);
    let tokens: Vec<&Value> = records.iter().map(|record| &record["usage"]["outputTokens"]).collect();
    assert_eq!((tokens[0], tokens[1]), (&Value::from(3), &Value::from(2)));
    assert!(tokens[2].as_u64() >= Some(2), "what came before the caller left is counted too");
    let sources: Vec<&Value> = records.iter().map(|record| &record["usage"]["source"]).collect();
    assert_eq!(sources[1..], ["USAGE_SOURCE_COUNTED", "USAGE_SOURCE_PARTIAL"]);
    for record in &records {
        assert_eq!((&record["tenant"], &record["model"]), (&Value::from("local"), &Value::from("simulated")));
        let attempt = record["attemptId"].as_str().context("no attempt id")?;
        assert_eq!(attempt, format!("{}-1", record["decisionId"].as_str().context("no decision id")?));
        let pieces: u64 = record["pieces"].as_str().context("no pieces")?.parse()?;
        assert!(pieces >= 2, "{record}");
    }

    assert_eq!(usage(&gateway, &[]).await?, records, "without --take everything stays");
    assert_eq!(usage(&gateway, &["--take"]).await?, records);
    assert_eq!(usage(&gateway, &["--take"]).await?, Vec::<Value>::new());
    short_answer(&gateway, 1).await?;
    assert_eq!(usage(&gateway, &["--take"]).await?.len(), 1);
    gateway.stop().await?;
    kept.worker.stop().await
}

/// It has its ports by then, and serves nobody.
#[tokio::test]
async fn a_gateway_that_cannot_start_does_not_say_that_it_listens() -> Result<()> {
    let kept = Kept::new().await?;
    let gateway = kept.gateway().await?;
    let file = kept.folder.path().join("second.yaml");
    std::fs::write(&file, &kept.config)?;
    let file = file.to_str().context("the folder's name is no text")?;
    let second = ["gateway", "--config", file, "--listen", "127.0.0.1:0", "--operator-listen", "127.0.0.1:0"];
    let ended = pointsman(&second).await?;
    let told = format!("{}{}", ended.stdout, ended.stderr);
    assert!(ended.code != Some(0) && told.contains("is in use by another process"), "{ended:?}");
    assert!(!told.contains(" listening "), "{told}");
    gateway.stop().await?;
    kept.worker.stop().await
}

#[tokio::test]
async fn what_a_caller_saw_the_end_of_survives_kill_minus_nine() -> Result<()> {
    let kept = Kept::new().await?;
    for round in 1..=3 {
        let mut gateway = kept.gateway().await?;
        short_answer(&gateway, 2).await?;
        gateway.process.kill9().await?;
        let gateway = kept.gateway().await?;
        assert_eq!(usage(&gateway, &[]).await?.len(), round, "round {round}");
        gateway.stop().await?;
    }
    let gateway = kept.gateway().await?;
    let records = usage(&gateway, &["--take"]).await?;
    assert!(records.iter().all(|record| record["attempt"]["outcome"] == "FINISHED"), "{records:?}");
    gateway.stop().await?;
    let gateway = kept.gateway().await?;
    assert_eq!(usage(&gateway, &["--take"]).await?, Vec::<Value>::new(), "what was taken stays taken");
    assert_eq!(gateway.metric(SEGMENTS).await?, 0);
    gateway.stop().await?;
    kept.worker.stop().await
}

#[tokio::test]
async fn a_full_spool_refuses_new_requests_and_ends_those_that_run() -> Result<()> {
    let kept = Kept::new().await?;
    almost_full(&kept.folder.path().join("usage"))?;
    let gateway = kept.gateway().await?;
    let mut client = connect(&gateway.address).await?;
    let mut running = client.generate_stream(say_at_most("simulated", "Hello", 60)).await?.into_inner();
    read_deltas(&mut running, 1).await?;
    // Its record takes the last room.
    short_answer(&gateway, 1).await?;
    gateway.metric_is(HAS_ROOM, 0).await?;
    let refused = client.generate(say("simulated", "Hello")).await.err().context("it was answered")?;
    assert_eq!(reason(&refused)?, Reason::UsageSpoolFull);
    assert!(read(running).await?.finished, "what ran ends well");

    let records = usage(&gateway, &["--take"]).await?;
    assert_eq!(records.len(), 2, "{records:?}");
    gateway.metric_is(HAS_ROOM, 1).await?;
    assert_eq!(gateway.metric("pointsman_gateway_usage_damaged_segments_total").await?, 1);
    assert_eq!(gateway.metric("pointsman_gateway_usage_lost_records_total").await?, 0);
    short_answer(&gateway, 1).await?;
    gateway.stop_after(&["a usage segment is damaged"]).await?;
    kept.worker.stop().await
}

/// Makes a segment that leaves 100 bytes of the 24 MiB up to which new requests are taken: 32 MiB without the
/// reserve. What is in it cannot be read. An empty one behind it is what the next process looks at.
fn almost_full(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let segment = |first: u64| folder.join(format!("{first:020}.spool"));
    let full = fs::File::create(segment(0))?;
    full.set_len((24 << 20) - 100)?;
    Ok(fs::write(segment(1), b"")?)
}

#[tokio::test]
async fn a_process_that_keeps_no_usage_says_so() -> Result<()> {
    let mesh = Service::simulated("").await?;
    short_answer(&mesh, 1).await?;
    mesh.metric_is(WRITTEN, 1).await?;
    for take in [&["--take"][..], &[]] {
        let arguments = [&["usage", "--operator-address", &mesh.operator], take].concat();
        let ended = pointsman(&arguments).await?;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
        for told in ["gateway.data_dir", "docs/errors/USAGE_NOT_KEPT.md"] {
            assert!(ended.stderr.contains(told), "{ended:?}");
        }
    }
    mesh.stop().await
}
