//! LangGraph with its PostgreSQL checkpointer, on the same server and with the same words.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::servers::Postgres;
use super::{BESIDE, Extent};
use crate::shell;
use crate::tools::python;

const SCRIPT: &str = "xtask/rivals/langgraph_turns.py";

/// How it is used, and what that is called.
const WAYS: [(&str, &[&str]); 3] = [
    ("one checkpointer on a pool", &["--shared"]),
    ("a checkpointer for each caller, a process for each core", &[]),
    ("the same, `durability=\"exit\"`", &["--durability", "exit"]),
];

pub(super) fn measure(postgres: &Postgres, extent: Extent) -> Result<Value> {
    let python = python::environment_of("rival-langgraph", "xtask/rivals/langgraph.txt")?.join("bin/python");
    let mut ways = Vec::new();
    for (name, options) in WAYS {
        println!("LangGraph, {name}");
        let url = postgres.database("langgraph")?;
        postgres.sql("postgres", "SELECT pg_stat_statements_reset()")?;
        let mut command = Command::new(&python);
        command.arg(crate::root().join(SCRIPT)).args(["--url", &url, "--callers", &BESIDE.to_string()]);
        command.args(["--warm", &extent.warm.to_string(), "--seconds", &extent.seconds.to_string()]).args(options);
        // It would tell its makers' service what runs, if it were asked to.
        let told = shell::output(command.env("LANGSMITH_TRACING", "false"))?;
        println!("  {told}");
        let mut figures: Value = serde_json::from_str(&told)?;
        let done = figures["done"].as_f64().context("no count")?;
        let statements = postgres.sql(
            "postgres",
            "SELECT SUM(calls) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid WHERE datname = 'langgraph'",
        )?;
        figures["name"] = name.into();
        figures["statements"] = json!(statements.parse::<f64>().unwrap_or(f64::NAN) / done);
        figures["bytes"] = json!(size(postgres)? / done);
        ways.push(figures);
    }
    Ok(json!(ways))
}

/// Bytes of all tables, with their indexes.
fn size(postgres: &Postgres) -> Result<f64> {
    let told = postgres.sql(
        "langgraph",
        "SELECT SUM(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'checkpoint%'",
    )?;
    Ok(told.parse()?)
}
