//! The model.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::Value;

use super::{number, text, thousands};

/// Goal of the project: the worker's tokens, of the engine's.
const WORKER_GOAL: f64 = 0.98;

pub(super) fn write(page: &mut String, figures: &Value) -> Result<()> {
    page.push_str(
        "The demo model on the CPU, `Tell me a story.` (about 200 tokens, greedy), everything on the same two cores.\n\
         `mistral.rs` is called directly and batches its sequences, which on the CPU mixes up the answers of different\n\
         prompts ([ADR 4](../adr/0004-one-generation-at-a-time-on-the-cpu.md)); `engine` is our crate around it, which\n\
         therefore generates one at a time, and is what the worker is held against: at least 98 % of its tokens.\n\n\
         | streams | way | tokens/s | of the engine's | first token |\n\
         |---|---|---|---|---|\n",
    );
    let rows: Vec<&Value> = figures["table"].as_array().into_iter().flatten().collect();
    let mut reached = true;
    for row in &rows {
        let engine = rows.iter().find(|other| other["streams"] == row["streams"] && other["way"] == "engine");
        let share =
            engine.map_or(f64::NAN, |engine| number(&row["tokens_per_second"]) / number(&engine["tokens_per_second"]));
        reached &= row["way"] != "worker" || share >= WORKER_GOAL;
        writeln!(
            page,
            "| {} | {} | {} | {:.1} % | {:.1} ms |",
            text(&row["streams"]),
            text(&row["way"]),
            thousands(number(&row["tokens_per_second"])),
            100.0 * share,
            number(&row["first_us"]) / 1000.0,
        )?;
    }
    let verdict = if reached {
        "reached at every number of streams"
    } else {
        "not reached everywhere. What holds it back on two cores: mistral.rs computes on both, and whatever\n\
         else runs takes time from it: the worker's frame and the driver's read of each token, some tens of µs against\n\
         1.2 ms for the token itself. Rounds differ by as much (16 streams through the worker equal 16 at the engine)"
    };
    writeln!(page, "\nThe goal for the worker is {verdict}.")?;
    page.push_str(
        "\nWith more to do for each token, one stream through the gateway in the OpenAI format, answers of up to 300 tokens:\n\n\
         | with | tokens/s | first token |\n|---|---|---|\n",
    );
    for row in figures["forms"].as_array().into_iter().flatten() {
        let (speed, first) = (thousands(number(&row["tokens_per_second"])), number(&row["first_us"]) / 1000.0);
        writeln!(page, "| {} | {speed} | {first:.1} ms |", text(&row["with"]))?;
    }
    page.push_str(
        "\nThe answers differ, and so do their lengths: a call of a tool is short, and its prompt longer than what comes of it.\n\n\
         Embeddings of texts of about ten tokens, by the demo's embedding model, one caller:\n\n\
         | texts in a request | texts/s | request |\n|---|---|---|\n",
    );
    for row in figures["embeddings"].as_array().into_iter().flatten() {
        let (speed, total) = (thousands(number(&row["per_second"])), number(&row["total_us"]) / 1000.0);
        writeln!(page, "| {} | {speed} | {total:.1} ms |", text(&row["batch"]))?;
    }
    Ok(())
}
