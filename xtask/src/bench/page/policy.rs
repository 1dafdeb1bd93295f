//! Decisions and picks, and what picks are worth to a fleet.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::Value;

use super::{number, text, thousands, verdict};

/// Goals of the project (DESIGN §13): nanoseconds by instances.
const DECIDE_GOALS: [(u64, f64); 2] = [(32, 2_000.0), (1000, 20_000.0)];
/// Goodput, of power of two's.
const GOODPUT_GOAL: f64 = 1.2;
/// The fleet that is told in full.
const FLEET: u64 = 16;

pub(super) fn write(page: &mut String, figures: &Value) -> Result<()> {
    decide(page, &figures["decide"])?;
    fleet(page, &figures["fleet"])
}

fn decide(page: &mut String, figures: &Value) -> Result<()> {
    page.push_str(
        "A decision and a pick after it, in one process (`libs/policy/examples/decide.rs`): of 20 rules the last is taken, after\n\
         19 conditions of three comparisons each. Prompts have instructions of 2 KiB, which a pick hashes.\n\n\
         | rules | instances | median | 99th percentile | allocations | goal |\n|---|---|---|---|---|---|\n",
    );
    for row in figures["table"].as_array().into_iter().flatten() {
        let time = number(&row["median_ns"]);
        let goal = DECIDE_GOALS.iter().find(|(instances, _)| row["instances"] == *instances);
        writeln!(
            page,
            "| {} | {} | {} ns | {} ns | {} ({} bytes) | {} |",
            row["rules"],
            thousands(number(&row["instances"])),
            thousands(time),
            thousands(number(&row["p99_ns"])),
            number(&row["allocations"]),
            number(&row["allocated_bytes"]),
            goal.map_or_else(String::new, |(_, most)| format!(
                "under {} ns: {}",
                thousands(*most),
                verdict(time < *most)
            )),
        )?;
    }
    Ok(())
}

fn fleet(page: &mut String, figures: &Value) -> Result<()> {
    let limits = &figures["limits"];
    write!(
        page,
        "\nWhat a pick is worth, in a simulation (`libs/policy/examples/fleet`): instances that batch continuously (32 slots, a step\n\
         of 8 ms + 0.15 ms for each answer, prompts read at 60 µs a token in chunks of 512) and cache 75,000 tokens of prefixes;\n\
         200 prefixes of 500 to 4,000 tokens drawn by Zipf's law, own words and answers of log-normal length, Poisson arrivals,\n\
         one gateway, reports of load every 50 ms. A request is good if its first token comes within {} ms and each further one\n\
         within {} ms on the mean. Medians of {} seeds of {} s, least and most in brackets.\n\n\
         The most requests a second of which 99 % are good:\n\n\
         | way | 8 instances | 16 instances | 32 instances |\n|---|---|---|---|\n",
        limits["first_ms"], limits["each_ms"], figures["seeds"], figures["seconds"],
    )?;
    let most: Vec<&Value> = figures["most"].as_array().into_iter().flatten().collect();
    let served = |way: &Value, instances: u64| {
        most.iter().find(|row| row["way"] == *way && row["instances"] == instances).map(|row| &row["served"])
    };
    for row in most.iter().filter(|row| row["instances"] == FLEET) {
        write!(page, "| {} |", text(&row["way"]))?;
        for instances in [8, 16, 32] {
            write!(page, " {} |", served(&row["way"], instances).map_or_else(|| "?".to_owned(), |of| spread(of, 0)))?;
        }
        page.push('\n');
    }
    write!(
        page,
        "\nAt fixed rates, {FLEET} instances. 100 % is what the fleet ends at most under far too many requests, spread in the way\n\
         that ends the most; the last five lines have 95 % of what it ends when power of two spreads them.\n\n\
         | load | way | good/s | first token, median | 99th | whole answer, median | 99th | prompt tokens cached |\n\
         |---|---|---|---|---|---|---|---|\n",
    )?;
    let loads: Vec<&Value> = figures["loads"].as_array().into_iter().flatten().collect();
    for row in loads.iter().filter(|row| row["instances"] == FLEET) {
        let of = if row["of"] == "the fleet" { String::new() } else { format!(" of {}", text(&row["of"])) };
        writeln!(
            page,
            "| {} %{of}: {:.0}/s | {} | {} | {} | {} | {} | {} | {:.0} % |",
            row["load"],
            number(&row["rate"]),
            text(&row["way"]),
            spread(&row["goodput"], 1),
            milliseconds(&row["first_p50_ms"]),
            milliseconds(&row["first_p99_ms"]),
            milliseconds(&row["total_p50_ms"]),
            milliseconds(&row["total_p99_ms"]),
            100.0 * number(&row["cached"]["median"]),
        )?;
    }
    let ratio = |rows: &[&Value], figure: &str| {
        let of = |way: &str| {
            let row = rows.iter().find(|row| row["way"] == way && row["instances"] == FLEET);
            row.map_or(f64::NAN, |row| number(&row[figure]["median"]))
        };
        of("ours") / of("power of two")
    };
    let at = |of: &str| -> Vec<&Value> {
        loads.iter().copied().filter(|row| row["load"] == 95 && row["of"] == of).collect()
    };
    let (most, fleet, own) =
        (ratio(&most, "served"), ratio(&at("the fleet"), "goodput"), ratio(&at("power of two"), "goodput"));
    let fleet =
        if fleet.is_finite() { format!("{fleet:.1} times as many") } else { "power of two's are none".to_owned() };
    writeln!(
        page,
        "\nThe goal is {GOODPUT_GOAL} times power of two's good requests. In what a fleet serves well it is {most:.2}: {}. At 95 % of what the\n\
         fleet can do: {fleet}. At 95 % of what power of two can do nearly all requests are good either way ({own:.2}); there the\n\
         difference is in the times above.",
        verdict(most >= GOODPUT_GOAL),
    )?;
    Ok(())
}

fn spread(of: &Value, digits: usize) -> String {
    let figure = |name: &str| format!("{:.digits$}", number(&of[name]));
    format!("{} ({}–{})", figure("median"), figure("least"), figure("most"))
}

/// No number: it never came.
fn milliseconds(of: &Value) -> String {
    of["median"].as_f64().map_or_else(|| "never".to_owned(), |time| format!("{} ms", thousands(time)))
}
