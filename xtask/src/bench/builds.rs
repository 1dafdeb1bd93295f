//! How long a newcomer waits.

use std::fs;
use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

use crate::shell;

pub(super) fn measure() -> Result<Value> {
    let target = super::folder().join("clean");
    let clean = || if target.exists() { fs::remove_dir_all(&target) } else { Ok(()) };
    let build = |arguments: &[&str]| -> Result<f64> {
        let begin = Instant::now();
        shell::run(shell::cargo().arg("build").args(arguments).env("CARGO_TARGET_DIR", &target))?;
        Ok(begin.elapsed().as_secs_f64())
    };
    clean()?;
    let without = build(&["--bin", "pointsman", "--no-default-features"])?;
    clean()?;
    let whole = build(&[])?;
    fs::File::options()
        .append(true)
        .open(crate::root().join("services/gateway/src/lib.rs"))?
        .set_modified(std::time::SystemTime::now())?;
    let again = build(&[])?;
    clean()?;
    Ok(json!({ "without_mistralrs_s": without, "whole_s": whole, "after_a_change_s": again }))
}
