//! Turns of sessions.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::Value;

use super::{number, text, thousands, verdict};

/// The goal (DESIGN §5): begin and commit together, at this rate, in microseconds.
const RATE: u64 = 1_000;
const GOAL_US: f64 = 5_000.0;
/// More trips than this are more than one: a lease that was looked at twice is none.
const ONE: f64 = 1.01;
/// A rate that was not kept.
const KEPT: f64 = 0.99;

pub(super) fn write(page: &mut String, figures: &Value) -> Result<()> {
    write!(
        page,
        "A turn is a begin, which brings the history, and at once its commit, which is answered when it is durable; 500 bytes\n\
         are said and 1,000 answered, and ten turns make a conversation, whose first turn makes the session. Store (the build\n\
         without an engine), PostgreSQL {}, Redis {} and the load driver share all cores. PostgreSQL has its defaults, fsync among\n\
         them; its data lie on {}. At a rate, turns start at fixed times and count from when they were to start; callers pause\n\
         never. Times in milliseconds.\n\n\
         | kept in | load | turns/s | begin p50 | p99 | commit p50 | p99 | both p50 | p99 | max | failed |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
        text(&figures["postgres"]),
        text(&figures["redis"]),
        text(&figures["disk"]),
    )?;
    for (place, run) in runs(figures) {
        let [begin, commit, total] = ["begin_us", "commit_us", "total_us"].map(|name| &run[name]);
        writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            text(&place["name"]),
            load(run),
            thousands(number(&run["per_second"])),
            millis(&begin["p50"]),
            millis(&begin["p99"]),
            millis(&commit["p50"]),
            millis(&commit["p99"]),
            millis(&total["p50"]),
            millis(&total["p99"]),
            millis(&total["max"]),
            failed(run),
        )?;
    }
    trips(page, figures)?;
    goals(page, figures)?;
    limits(page, figures)?;
    many(page, &figures["many"])?;
    beside(page, figures)
}

/// Runs with their places.
fn runs(figures: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let places = figures["places"].as_array().into_iter().flatten();
    places.flat_map(|place| place["runs"].as_array().into_iter().flatten().map(move |run| (place, run)))
}

/// The run at the goal's rate; of a trial, at the highest that there is.
fn at_rate(place: &Value) -> Option<&Value> {
    let rates = place["runs"].as_array()?.iter().filter(|run| run["how"] == "--rate");
    rates.filter(|run| run["many"].as_u64() <= Some(RATE)).max_by_key(|run| run["many"].as_u64())
}

fn load(run: &Value) -> String {
    let many = thousands(number(&run["many"]));
    if run["how"] == "--rate" { format!("{many}/s") } else { format!("{many} callers") }
}

fn failed(run: &Value) -> String {
    let count = number(&run["failed"]) + number(&run["not_begun"]);
    let first = run["errors"].as_object().and_then(|errors| errors.keys().next());
    match first {
        Some(first) => format!("{} ({})", thousands(count), first.replace(['|', '\n'], " ")),
        None => thousands(count),
    }
}

fn trips(page: &mut String, figures: &Value) -> Result<()> {
    page.push_str(
        "\nRound trips of a turn (statements by `pg_stat_statements` and scripts by `INFO commandstats`, divided by turns), what they\n\
         take in PostgreSQL itself, and processor time of a turn:\n\n\
         | kept in | load | PostgreSQL before the model | after it | Redis before | after it | fsyncs | store | PostgreSQL | Redis | driver |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (place, run) in runs(figures).filter(|(_, run)| run["how"] == "--rate" || run["many"] != 16) {
        let (trips, cpu) = (&run["trips"], &run["cpu_us"]);
        write!(page, "| {} | {} |", text(&place["name"]), load(run))?;
        if trips.is_null() {
            page.push_str(" | | | | |");
        } else {
            write!(
                page,
                " {:.2} ({:.0} µs) | {:.2} ({:.0} µs) | {} | {} | {:.2} |",
                number(&trips["postgres_begin"]),
                number(&trips["postgres_begin_us"]),
                number(&trips["postgres_commit"]),
                number(&trips["postgres_commit_us"]),
                shown(number(&trips["redis_begin"]), |trips| format!("{trips:.2}")),
                shown(number(&trips["redis_commit"]), |trips| format!("{trips:.2}")),
                number(&trips["syncs"]),
            )?;
        }
        let each = ["store", "postgres", "redis", "driver"].map(|name| number(&cpu[name]));
        writeln!(page, " {:.0} µs | {:.0} µs | {:.0} µs | {:.0} µs |", each[0], each[1], each[2], each[3])?;
    }
    let created = at_rate(&figures["places"][0]).map_or(f64::NAN, |run| number(&run["trips"]["postgres_create"]));
    writeln!(
        page,
        "\nThe first turn of a session makes it, which is a trip to PostgreSQL more, with an fsync of its own: {created:.2} a turn here.\n\
         Looks for what other processes tell, four a second, are counted before the model."
    )?;
    Ok(())
}

fn goals(page: &mut String, figures: &Value) -> Result<()> {
    page.push_str("\n| goal | it is | |\n|---|---|---|\n");
    for place in figures["places"].as_array().into_iter().flatten() {
        let Some(run) = at_rate(place) else { continue };
        writeln!(
            page,
            "| begin and commit, 99th percentile at {}/s, {}: under 5 ms | {} ms | {} |",
            thousands(number(&run["many"])),
            text(&place["name"]),
            millis(&run["total_us"]["p99"]),
            verdict(is_fast(run)),
        )?;
    }
    // Of callers, who never have two turns of a session: one that waits for another asks once more who runs there.
    let runs = figures["places"][0]["runs"].as_array();
    let alone = runs.and_then(|runs| runs.last()).unwrap_or(&Value::Null);
    let trips = &alone["trips"];
    for (when, [postgres, redis]) in
        [("before the model", ["postgres_begin", "redis_begin"]), ("after it", ["postgres_commit", "redis_commit"])]
    {
        let (postgres, redis) = (number(&trips[postgres]), number(&trips[redis]));
        writeln!(
            page,
            "| at most one trip to PostgreSQL and one to Redis {when}, in a session that is there and waits for nobody ({}) | {postgres:.2} and {redis:.2} | {} |",
            load(alone),
            verdict(postgres <= ONE && redis <= ONE),
        )?;
    }
    Ok(())
}

/// Whether all turns of a rate were run, and nearly all of them in time.
fn is_fast(run: &Value) -> bool {
    let is_whole = run["failed"] == 0 && run["not_begun"] == 0;
    let is_kept = number(&run["per_second"]) >= KEPT * number(&run["many"]);
    is_whole && is_kept && number(&run["total_us"]["p99"]) < GOAL_US
}

/// What a turn waits for.
fn limits(page: &mut String, figures: &Value) -> Result<()> {
    let Some(run) = at_rate(&figures["places"][0]) else { return Ok(()) };
    let cpu = ["store", "postgres", "redis", "driver"].map(|name| number(&run["cpu_us"][name]));
    let all: f64 = cpu.iter().sum();
    let cores = number(&figures["machine"]["cores"]);
    write!(
        page,
        "\nWhat holds it back: the disk, and the processor. One fdatasync takes {} µs here (`pg_test_fsync`), and no commit is faster;\n\
         commits that come together share one. On PostgreSQL and Redis at {} a turn takes {all:.0} µs of processor, {:.0} µs of them in the\n\
         store and {:.0} µs in the driver, so that {cores} cores end at some {} turns/s; at that rate they are {:.0} % busy, and what comes in\n\
         bursts waits for a core. The driver itself starts turns {} ms late (99th percentile), which is in the times above.\n",
        thousands(number(&figures["fsync_us"])),
        load(run),
        cpu[0],
        cpu[3],
        thousands(cores * 1e6 / all),
        number(&run["per_second"]) * all / 1e4 / cores,
        millis(&run["start_delay_us"]["p99"]),
    )?;
    Ok(())
}

fn many(page: &mut String, many: &Value) -> Result<()> {
    let read = |name: &str| ["p50", "p99"].map(|share| millis(&many[name]["begin_us"][share]));
    let ([cold, cold_p99], [warm, warm_p99]) = (read("database_read"), read("redis_read"));
    let (turns, sessions) = (number(&many["turns_bytes"]), number(&many["sessions_bytes"]));
    let count = number(&many["sessions"]);
    write!(
        page,
        "\n{} sessions of {} turns, at {} begins a second in sessions of no order (they are left again, and nothing is committed):\n\
         a history that comes from PostgreSQL takes {cold} ms, 99th percentile {cold_p99} ms; one that Redis has, {warm} ms and {warm_p99} ms. The\n\
         turns of a session lie as far apart on the disk as if all sessions had grown together. They take {:.1} GB with their\n\
         indexes, {} bytes a turn, and sessions {} bytes each; what Redis remembers of one session, {:.0} KB. The store has\n\
         {:.0} MB before and {:.0} MB after.\n",
        thousands(count),
        number(&many["turns"]),
        text(&many["rate"]),
        turns / 1e9,
        thousands(turns / count / number(&many["turns"])),
        thousands(sessions / count),
        number(&many["redis_bytes_each"]) / 1e3,
        number(&many["idle_mb"]),
        number(&many["resident_mb"]),
    )?;
    Ok(())
}

fn beside(page: &mut String, figures: &Value) -> Result<()> {
    let callers = &figures["beside"];
    let first = &figures["langgraph"][0];
    write!(
        page,
        "\nBeside LangGraph's checkpointer (langgraph-checkpoint-postgres {}), on the same PostgreSQL with the same words: a graph of one\n\
         node that appends an answer to `MessagesState`. {callers} callers without pauses, conversations of ten turns.\n\n\
         | what | turns/s | p50 | p99 | statements a turn | on the disk, a turn |\n|---|---|---|---|---|---|\n",
        text(&first["version"]),
    )?;
    for place in figures["places"].as_array().into_iter().flatten() {
        let mut runs = place["runs"].as_array().into_iter().flatten();
        let Some(run) = runs.find(|run| run["how"] == "--callers" && run["many"] == *callers) else { continue };
        let trips = &run["trips"];
        let statements = ["postgres_begin", "postgres_commit", "postgres_create"].map(|name| number(&trips[name]));
        row(page, &format!("pointsman, {}", text(&place["name"])), run, (statements.iter().sum(), f64::NAN))?;
    }
    for way in figures["langgraph"].as_array().into_iter().flatten() {
        let name = format!("LangGraph, {}", text(&way["name"]));
        row(page, &name, way, (number(&way["statements"]), number(&way["bytes"])))?;
    }
    let ours = figures["many"].pointer("/turns_bytes").map_or(f64::NAN, number);
    let each = ours / number(&figures["many"]["sessions"]) / number(&figures["many"]["turns"]);
    writeln!(
        page,
        "\nOurs take {} bytes a turn on the disk with their indexes, however long the conversation is; LangGraph keeps the whole\n\
         conversation again with every turn, so that its figure grows with the length. Its callers run the graph in their own\n\
         process, which is part of its figures; ours ask a service over gRPC, which is part of ours.",
        thousands(each),
    )?;
    Ok(())
}

fn row(page: &mut String, name: &str, run: &Value, (statements, bytes): (f64, f64)) -> Result<()> {
    writeln!(
        page,
        "| {name} | {} | {} ms | {} ms | {} | {} |",
        thousands(number(&run["per_second"])),
        millis(&run["total_us"]["p50"]),
        millis(&run["total_us"]["p99"]),
        shown(statements, |statements| format!("{statements:.1}")),
        shown(bytes, |bytes| format!("{} bytes", thousands(bytes))),
    )?;
    Ok(())
}

/// Nothing for what there is not.
fn shown(value: f64, shown: impl Fn(f64) -> String) -> String {
    if value.is_finite() { shown(value) } else { String::new() }
}

/// Microseconds as milliseconds.
fn millis(microseconds: &Value) -> String {
    match microseconds.as_f64() {
        Some(time) if time < 99_950.0 => format!("{:.1}", time / 1e3),
        Some(time) => thousands(time / 1e3),
        None => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{is_fast, millis};

    #[test]
    fn a_rate_that_was_not_kept_is_no_goal_that_was_reached() {
        let run = |per_second, p99, failed| {
            let total = json!({ "p99": p99 });
            json!({ "many": 1000, "per_second": per_second, "total_us": total, "failed": failed, "not_begun": 0 })
        };
        assert!(is_fast(&run(999.2, 4_900, 0)));
        assert!(!is_fast(&run(999.2, 5_100, 0)));
        assert!(!is_fast(&run(999.2, 4_900, 1)));
        assert!(!is_fast(&run(900.0, 4_900, 0)));
    }

    #[test]
    fn times_are_milliseconds() {
        assert_eq!([json!(1_234), json!(123_456), json!(null)].each_ref().map(millis), ["1.2", "123", "?"]);
    }
}
