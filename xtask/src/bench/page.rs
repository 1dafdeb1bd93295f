//! The figures as docs/reference/performance.md.

mod engine;
mod policy;
mod rivals;
mod sessions;

use std::fmt::Write as _;
use std::fs;

use anyhow::Result;
use serde_json::Value;

const PAGE: &str = "docs/reference/performance.md";

/// The parts by their names, and the headings of their sections.
const SECTIONS: [(&str, &str, Section); 6] = [
    ("gateway", "The gateway, per core", gateway),
    ("rivals", "Beside others, per core", rivals::write),
    ("policy", "Decisions and picks", policy::write),
    ("engine", "The model", engine::write),
    ("sessions", "Sessions", sessions::write),
    ("builds", "Builds", builds),
];

/// Writes a section's text from what was measured.
type Section = fn(&mut String, &Value) -> Result<()>;

pub(super) fn write(measured: &[(&'static str, Option<Value>)]) -> Result<()> {
    let path = crate::root().join(PAGE);
    let before = fs::read_to_string(&path).unwrap_or_default();
    let mut page = String::from(
        "# Performance\n\n\
         Written by `cargo xtask bench gateway rivals policy engine sessions builds`; do not edit. Medians of several rounds. Absolute\n\
         figures of one machine are another's halved: compare what stands in one table.\n",
    );
    for (name, heading, section) in SECTIONS {
        write!(page, "\n## {heading}\n\n")?;
        let figures = measured.iter().find(|(part, _)| *part == name).and_then(|(_, figures)| figures.as_ref());
        if let Some(figures) = figures {
            section(&mut page, figures)?;
            machine(&mut page, &figures["machine"])?;
        } else {
            page.push_str(kept(&before, heading).unwrap_or("Not measured yet.\n"));
        }
    }
    fs::write(path, page)?;
    println!("wrote {PAGE}");
    Ok(())
}

/// Shows the section of one part, and leaves the page as it is.
pub(super) fn show(part: &str, figures: &Value) -> Result<()> {
    let mut page = String::new();
    if let Some((_, _, section)) = SECTIONS.iter().find(|(name, ..)| *name == part) {
        section(&mut page, figures)?;
    }
    println!("\n{page}");
    Ok(())
}

/// What the page said of a part, for one that was measured elsewhere.
fn kept<'a>(page: &'a str, heading: &str) -> Option<&'a str> {
    let (_, section) = page.split_once(&format!("\n## {heading}\n\n"))?;
    Some(section.find("\n## ").map_or(section, |end| &section[..end]))
}

fn gateway(page: &mut String, figures: &Value) -> Result<()> {
    page.push_str(
        "The gateway process alone on one core; the load driver and a simulated worker that answers at once share another.\n\
         32 callers without pauses; a request asks for one token, a stream has 64 chunks. The build of the image\n\
         without an engine; traces recorded, log at `warn`. Where the gateway is not near 100 % busy, the core beside it was\n\
         the limit, and the processor time for each request is the figure to read.\n\n\
         | surface | what | per second | processor time each | gateway busy | driver busy |\n\
         |---|---|---|---|---|---|\n",
    );
    for row in figures["throughput"].as_array().into_iter().flatten() {
        writeln!(
            page,
            "| {} | {} | {} | {:.0} µs | {:.0} % | {:.0} % |",
            text(&row["surface"]),
            if row["kind"] == "stream" { "64-chunk stream" } else { "plain request" },
            thousands(number(&row["per_second"])),
            number(&row["cpu_us"]),
            100.0 * number(&row["gateway_busy"]),
            100.0 * number(&row["driver_busy"]),
        )?;
    }
    if let Some(pieces) = figures.get("pieces") {
        write_pieces(page, pieces)?;
    }
    let latency = &figures["latency"];
    let direct = number(&latency["direct_us"]);
    write!(
        page,
        "\nAt 200 requests a second the median is {direct:.0} µs at the worker itself; the gateway adds {:+.0} µs over gRPC and\n\
         {:+.0} µs over the OpenAI surface.\n",
        number(&latency["grpc_us"]) - direct,
        number(&latency["openai_us"]) - direct,
    )?;
    page.push_str(
        "\nHeld against the goals: 43 µs for a plain request over the OpenAI surface, and two thirds of that over gRPC, are not\n\
         reached. By instructions (callgrind), of a plain request about a fifth is spans and their attributes and more than a\n\
         quarter copying and allocating; the rest is mostly HTTP on both sides. Over gRPC a caller with a connection of its own\n\
         and one call at a time uses HTTP/2 in its dearest way; the lines with one connection are how programs use it.\n\
         Figures of different days are not comparable: the machine is a virtual one, and the same binary took 54 µs for a plain\n\
         request on one day and 137 µs on another. The rivals below ran on the day of their own line.\n",
    );
    let memory = &figures["memory"];
    write!(
        page,
        "\nMemory of the gateway: {:.0} MB idle, {:.0} MB after 100,000 requests, {:.0} MB after 200,000. Goal: under 40 MB, and flat.\n",
        number(&memory["idle_mb"]),
        number(&memory["after_100k_mb"]),
        number(&memory["after_200k_mb"]),
    )?;
    Ok(())
}

fn write_pieces(page: &mut String, pieces: &Value) -> Result<()> {
    let piece = |pointer: &str| pieces.pointer(pointer).map_or(f64::NAN, number);
    write!(
        page,
        "\nA piece that comes alone (one each 2 ms for each of 16 streams) takes {:.0} µs of the gateway's processor over the OpenAI\n\
         surface and {:.0} µs over gRPC, and {:.0} µs of the worker's, its simulated engine included.\n",
        piece("/openai/gateway_us"),
        piece("/grpc/gateway_us"),
        piece("/openai/worker_us"),
    )?;
    Ok(())
}

fn builds(page: &mut String, figures: &Value) -> Result<()> {
    write!(
        page,
        "| build | time |\n|---|---|\n\
         | `cargo build --bin pointsman --no-default-features`, clean (goal: 3 minutes) | {} |\n\
         | `cargo build`, clean: everything, mistral.rs with it | {} |\n\
         | `cargo build` after a change in the gateway | {} |\n",
        minutes(number(&figures["without_mistralrs_s"])),
        minutes(number(&figures["whole_s"])),
        minutes(number(&figures["after_a_change_s"])),
    )?;
    page.push_str(
        "\nWhat holds the small build back: some 250 crates, all optimised as for a release, since one profile serves `cargo run`,\n\
         tests and benchmarks. The processor is busy throughout.\n",
    );
    Ok(())
}

fn machine(page: &mut String, machine: &Value) -> Result<()> {
    writeln!(
        page,
        "\n<sub>{} × {}, {}, commit {}, {}</sub>",
        machine["cores"],
        text(&machine["processor"]),
        text(&machine["rustc"]),
        text(&machine["commit"]),
        text(&machine["date"]),
    )?;
    Ok(())
}

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "not reached" }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn minutes(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{:.0} min {:.0} s", (seconds / 60.0).floor(), seconds % 60.0)
    }
}

/// A whole number with commas.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && digit != '-' {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{kept, minutes, thousands};

    #[test]
    fn a_section_that_was_not_measured_stays() {
        let page = "# P\n\n## One\n\nfirst\n\n## Two\n\nsecond\n";
        assert_eq!(
            [kept(page, "One"), kept(page, "Two"), kept(page, "Three")],
            [Some("first\n"), Some("second\n"), None]
        );
    }

    #[test]
    fn numbers_are_written_as_people_read_them() {
        assert_eq!([7.0, 999.6, 12_345.0, 1_234_567.0].map(thousands), ["7", "1,000", "12,345", "1,234,567"]);
        assert_eq!([59.0, 135.0].map(minutes), ["59 s", "2 min 15 s"]);
    }
}
