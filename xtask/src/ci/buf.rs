//! `buf lint` over `proto/`; its rules stand in `proto/buf.yaml`.

use std::process::Command;

use anyhow::Result;

use crate::{shell, tools};

/// Lints `proto/`.
pub fn check() -> Result<()> {
    let buf = tools::node::program("@bufbuild/buf", "1.75.0", "buf")?;
    shell::run(Command::new(buf).current_dir(crate::root().join("proto")).arg("lint"))
}
