//! Every check but the tests, each a step with a name.

mod accelerators;
mod buf;
mod built_once;
mod deny;
mod deploy;
mod docs;
mod files;
mod floors;
mod rust;
mod words;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;

/// One check.
struct Step {
    name: &'static str,
    holds: &'static str,
    check: fn() -> Result<()>,
}

/// The quick ones first: a mistake in a name should not wait for a compiler.
const STEPS: &[Step] = &[
    Step { name: "fmt", holds: "the code is formatted", check: rust::fmt },
    Step { name: "files", holds: "files are small and well named", check: files::check },
    Step { name: "floors", holds: "a crate sees lower floors only", check: floors::check },
    Step { name: "words", holds: "what one crate may name, no other does", check: words::check },
    Step { name: "docs", holds: "links lead somewhere, and error pages are listed", check: docs::check },
    Step { name: "python", holds: "Python files compile", check: rust::python },
    Step {
        name: "demo-model",
        holds: "the demo's files are what its recipe makes",
        check: crate::demo_model::check_files,
    },
    Step { name: "codegen", holds: "the generated code is what proto/ says", check: || crate::codegen::run(true) },
    Step { name: "buf", holds: "proto/ keeps the rules of buf", check: buf::check },
    Step { name: "deploy", holds: "what Docker is given fits together", check: deploy::check },
    Step { name: "accelerators", holds: "their features reach mistral.rs", check: accelerators::check },
    Step { name: "deny", holds: "dependencies have licences and sources we accept", check: deny::check },
    Step { name: "clippy", holds: "clippy finds nothing", check: rust::clippy },
    Step { name: "xtask", holds: "the checks themselves work", check: rust::own_tests },
    Step { name: "built-once", holds: "build and tests share one mistral.rs", check: built_once::check },
];

/// The names of the steps, as clap takes them.
pub fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(STEPS.iter().map(|step| step.name))
}

/// Runs the named steps, or all; a step that fails does not keep the next from running.
pub fn run(wanted: &[String]) -> Result<()> {
    let chosen = STEPS.iter().filter(|step| wanted.is_empty() || wanted.iter().any(|name| name == step.name));
    let outcomes: Vec<_> = chosen.map(run_step).collect();
    println!("\n== summary");
    for (step, took, outcome) in &outcomes {
        let mark = if outcome.is_ok() { "ok    " } else { "FAILED" };
        println!("{mark} {:<10} {:>6.1} s  {}", step.name, took.as_secs_f64(), step.holds);
    }
    let failed: Vec<_> =
        outcomes.iter().filter(|(_, _, outcome)| outcome.is_err()).map(|(step, ..)| step.name).collect();
    if !failed.is_empty() {
        bail!("failed: {0}; run one alone with `cargo xtask ci {0}`", failed.join(" "));
    }
    Ok(())
}

fn run_step(step: &'static Step) -> (&'static Step, Duration, Result<()>) {
    println!("\n== {}: {}", step.name, step.holds);
    let begun = Instant::now();
    let outcome = (step.check)();
    if let Err(error) = &outcome {
        println!("FAILED: {error:#}");
    }
    (step, begun.elapsed(), outcome)
}

/// Fails with one line for each finding, if there are any.
fn refuse(findings: &[String]) -> Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    bail!("{} to mend:\n  {}", findings.len(), findings.join("\n  "))
}
