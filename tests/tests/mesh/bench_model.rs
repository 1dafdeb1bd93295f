//! `pointsman bench-model`, on real runs with the demo model. Nothing here is about how fast they are.

use anyhow::{Context, Result, ensure};
use pointsman_testkit::tools;
use serde_json::Value;

use crate::program::{Ended, pointsman};

const PROMPTS: &str = "\
Hello, who are you?
{\"messages\": [{\"role\": \"user\", \"content\": \"Hi, my name is Maria.\"}, {\"role\": \"assistant\", \"content\": \"Hello Maria!\"}, {\"role\": \"user\", \"content\": \"What is my name?\"}]}
";

async fn bench(prompts: &str, options: &[&str]) -> Result<Ended> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("prompts.txt");
    std::fs::write(&file, prompts)?;
    let file = file.to_str().context("the temporary folder's name is no text")?;
    let model = tools::workspace()?.join("models/demo/model");
    let model = model.to_str().context("the workspace's name is no text")?;
    pointsman(&[&["bench-model", model, "--prompts", file, "--max-tokens", "40"], options].concat()).await
}

fn number(row: &Value, key: &str) -> Result<f64> {
    row[key].as_f64().with_context(|| format!("no {key}: {row}"))
}

#[tokio::test]
async fn quantisations_are_compared_with_the_weights_as_they_are() -> Result<()> {
    let said = bench(PROMPTS, &["--quantizations", "q8_0,none,q4_0", "--json"]).await?.success()?;
    let report: Value = serde_json::from_str(&said)?;
    assert_eq!((&report["prompts"], &report["max_tokens"]), (&2.into(), &40.into()));
    let rows = report["quantizations"].as_array().context("no rows")?;
    let names: Vec<_> = rows.iter().map(|row| &row["name"]).collect();
    assert_eq!(names, ["none", "q8_0", "q4_0"]);

    // What is the same agrees with itself, and every answer of it was scored.
    assert_eq!((number(&rows[0], "exact_match")?, number(&rows[0], "logprob_difference")?), (1.0, 0.0));
    let mut fingerprints = Vec::new();
    for row in rows {
        ensure!((0.0..=1.0).contains(&number(row, "exact_match")?), "{row}");
        ensure!(number(row, "logprob_difference")?.abs() < 1.0, "{row}");
        assert_eq!(row["scored"], 2, "{row}");
        ensure!(number(row, "tokens_per_second")? > 0.0 && number(row, "first_token_seconds")? > 0.0, "{row}");
        // Both prompts have answers of several tokens.
        ensure!((4.0..=80.0).contains(&number(row, "output_tokens")?), "{row}");
        let (resident, peak) = (number(row, "resident_bytes")?, number(row, "peak_bytes")?);
        ensure!(resident > f64::from(1 << 20) && peak >= resident, "{row}");
        fingerprints.push(row["engine_fingerprint"].as_str().context("no fingerprint")?);
    }
    // Each was really loaded so: four bits change what a text's probability is.
    ensure!(fingerprints[1].ends_with("-q8_0") && fingerprints[2].ends_with("-q4_0"), "{fingerprints:?}");
    ensure!(number(&rows[2], "logprob_difference")? != 0.0, "{}", rows[2]);
    Ok(())
}

#[tokio::test]
async fn the_table_says_what_its_columns_are() -> Result<()> {
    let said = bench("Hello\n", &["--quantizations", "none"]).await?.success()?;
    let mut lines = said.lines();
    let columns: Vec<&str> = lines.next().unwrap_or_default().split_ascii_whitespace().collect();
    assert_eq!(columns[..3], ["QUANT", "SAME", "LOGPROB"]);
    let cells: Vec<&str> = lines.next().unwrap_or_default().split_ascii_whitespace().collect();
    assert_eq!(cells[..3], ["none", "100%", "0.0000"]);
    assert!(said.contains("1 prompt of ") && said.contains("LOGPROB:"), "{said}");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_measured_is_told_before_anything_is_loaded() -> Result<()> {
    let ended = bench(PROMPTS, &["--quantizations", "q8_0,q9"]).await?;
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(ended.stderr.contains("`q9` is no quantisation; write `none` or one of q4_0, q8_0,"), "{ended:?}");
    let ended = bench("{\"prompt\": 1}\nHello\n{\n", &[]).await?;
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(ended.stderr.contains("line 1: ") && ended.stderr.contains("line 3: "), "{ended:?}");
    let ended = bench("\n", &[]).await?;
    assert!(ended.code == Some(64) && ended.stderr.contains("has no prompt"), "{ended:?}");
    let ended = pointsman(&["bench-model", "no/such/model", "--quantizations", "none"]).await?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("the model folder no/such/model does not exist"), "{ended:?}");
    Ok(())
}
