//! An instance that fails again and again is left alone, tried once in a while, and taken back.

use anyhow::{Context, Result};
use pointsman_testkit::eventually;

use crate::caller::{connect, say, told};
use crate::fleet::{Fleet, Member, chat};
use crate::service::LIMIT;

#[tokio::test]
async fn five_failures_open_a_breaker_and_a_probe_closes_it() -> Result<()> {
    // Five open it, and the first probe fails too.
    let fails = "[{times: 6, error: {reason: GENERATION_FAILED}}, {answer: well again}]";
    let fleet = Fleet::start(&[Member::replies(fails), Member::replies("[{answer: instead}]")], &chat("")).await?;
    let mut client = connect(&fleet.gateway.address).await?;
    let mut spared = 0;
    eventually!(
        LIMIT,
        async {
            let answer = client.generate(say("chat", "Hello")).await.map_err(|status| status.to_string())?.into_inner();
            let started = answer.started.unwrap_or_default();
            match &told(&started.attempts)[..] {
                [(_, "w1", _)] => Ok(()),
                [(_, "w2", _)] => {
                    spared += 1;
                    Err("it is left alone".to_owned())
                }
                [(_, "w1", "GENERATION_FAILED"), (_, "w2", _)] => Err("it fails".to_owned()),
                others => Err(format!("{others:?}")),
            }
        }
        .await
    )?;
    // Without a breaker every request would have tried the first, as long as it failed.
    assert!(spared > 0, "the first was always asked");
    let failed = "pointsman_worker_requests_total{outcome=\"GENERATION_FAILED\"}";
    assert_eq!(fleet.workers[0].metric(failed).await?, 6);
    let lines = fleet.gateway.process.lines();
    let open: Vec<&String> = lines.iter().filter(|line| line.contains("its breaker is open")).collect();
    assert!(open.len() == 2 && open[0].contains("open=1s") && open[1].contains("open=2s"), "{open:?}");
    fleet.gateway.process.line_with("its breaker is closed", LIMIT).await?;
    let answer = client.generate(say("chat", "Hello")).await?.into_inner().started.context("no Started")?;
    assert_eq!(told(&answer.attempts).last().map(|attempt| attempt.1), Some("w1"));
    fleet.stop_after(&["an instance failed too often: its breaker is open"]).await
}
