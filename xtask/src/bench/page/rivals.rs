//! Our gateway beside others.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::Value;

use super::{number, text, thousands, verdict};

/// Goals of the project (DESIGN §13), as ratios: ours to that rival's.
const REQUESTS_GOAL: f64 = 1.2;
const STREAMS_GOAL: f64 = 2.5;
const ADDED_GOAL: f64 = 0.6;
/// More late requests than this, and a rate was not kept.
const LATE: f64 = 0.01;

pub(super) fn write(page: &mut String, figures: &Value) -> Result<()> {
    page.push_str(
        "Each gateway alone with one core; the load driver and the upstream share another. 32 callers without pauses; a\n\
         request asks for one token, a stream has 64 chunks, each as fast as it is read. Rounds take turns; medians. Ours\n\
         answers in the OpenAI format and speaks gRPC to a simulated worker; the others speak HTTP/1.1 to a server that\n\
         answers with fixed words. Every one has the defaults that it comes with, but logs warnings only; nginx is told to\n\
         reuse connections and to buffer nothing. Where a gateway is not near 100 % busy, the core beside it was the limit\n\
         (busy: gateway / driver and upstream), and the processor time is the figure to read. Paced is the processor time of\n\
         a stream whose upstream writes a chunk each millisecond, as models do; as fast as it is read, it comes in a write or two.\n\n\
         | gateway | requests/s | processor time each | busy | streams/s | processor time each | busy | paced | memory after |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    let rows: Vec<&Value> = figures["table"].as_array().into_iter().flatten().collect();
    for row in &rows {
        write!(page, "| {} {} |", text(&row["name"]), text(&row["version"]))?;
        if !row["failed"].is_null() {
            writeln!(page, " not measured: {} | | | | | | | |", text(&row["failed"]).replace(['|', '\n'], " "))?;
            continue;
        }
        for kind in ["request", "stream"] {
            let figures = &row[kind];
            write!(
                page,
                " {} | {} µs | {:.0} / {:.0} % |",
                thousands(number(&figures["per_second"])),
                thousands(number(&figures["cpu_us"])),
                100.0 * number(&figures["gateway_busy"]),
                100.0 * (number(&figures["driver_busy"]) + number(&figures["upstream_busy"])),
            )?;
        }
        let paced = thousands(number(&row["paced"]["cpu_us"]));
        writeln!(page, " {paced} µs | {:.0} MB |", number(&row["resident_mb"]))?;
    }
    write!(
        page,
        "\nAt {} requests a second, and against the upstream asked directly just before (ours: the worker, over gRPC):\n\n\
         | gateway | median | added median | added 99th percentile |\n|---|---|---|---|\n",
        text(&figures["rate"]),
    )?;
    for row in rows.iter().filter(|row| row["failed"].is_null()) {
        let late = number(&row["late_share"]);
        let note = if late > LATE {
            format!(" ({:.0} % of the requests found no place)", 100.0 * late)
        } else {
            String::new()
        };
        writeln!(
            page,
            "| {}{note} | {} µs | {} µs | {} µs |",
            text(&row["name"]),
            thousands(number(&row["p50_us"])),
            thousands(number(&row["added_p50_us"])),
            thousands(number(&row["added_p99_us"])),
        )?;
    }
    page.push_str("\n| goal | it is | |\n|---|---|---|\n");
    let ratio = |rival: &str, pointer: &str| {
        let of = |name: &str| {
            let row = rows.iter().find(|row| row["name"] == name);
            row.and_then(|row| row.pointer(pointer)).map_or(f64::NAN, number)
        };
        of("pointsman") / of(rival)
    };
    for (goal, at_least, it_is) in [
        (
            "requests/s, of sglang-router's: at least 1.2",
            Some(REQUESTS_GOAL),
            ratio("sglang-router", "/request/per_second"),
        ),
        ("streams/s, of smg's: at least 2.5", Some(STREAMS_GOAL), ratio("smg", "/stream/per_second")),
        ("added median, of sglang-router's: at most 0.6", None, ratio("sglang-router", "/added_p50_us")),
    ] {
        let reached = at_least.map_or(it_is <= ADDED_GOAL, |least| it_is >= least);
        if it_is.is_finite() {
            writeln!(page, "| {goal} | {it_is:.3} | {} |", verdict(reached))?;
        } else {
            writeln!(page, "| {goal} | | not measured |")?;
        }
    }
    page.push_str(
        "\nOurs is the build that is shipped without an engine, as the rivals' are theirs. What is left, by instructions (callgrind): of\n\
         some 230,000 for a plain request a fifth is spans, a quarter allocating and copying; by samples a quarter of the time is the\n\
         kernel's TCP. A paced stream takes one `epoll_wait`, one read and one write for each frame, and some 16,000 instructions\n\
         around them. Ratios of two runs of the same programs differ by a\n\
         tenth; those of added medians by more: 0.603 with a build that was slower (commit 2d9d12b), in the same day.\n",
    );
    Ok(())
}
