//! The checks that the language's own tools make.

use std::process::Command;

use anyhow::Result;

use crate::shell;

/// The code is formatted.
pub fn fmt() -> Result<()> {
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))
}

/// Clippy finds nothing. xtask is asked alone: beside the others it would change the features they are built with.
pub fn clippy() -> Result<()> {
    shell::run(shell::cargo().args(["clippy", "--package=xtask", "--all-targets", "--", "--deny=warnings"]))?;
    shell::run(shell::cargo().args(["clippy", "--all-targets", "--", "--deny=warnings"]))?;
    // The build that leaves mistral.rs out.
    let small = ["clippy", "--bin=pointsman", "--no-default-features", "--", "--deny=warnings"];
    shell::run(shell::cargo().args(small))
}

/// The tests of xtask, which `cargo test` leaves out with it.
pub fn own_tests() -> Result<()> {
    shell::run(shell::cargo().args(["test", "--quiet", "--package=xtask"]))
}

/// Python files compile.
pub fn python() -> Result<()> {
    let root = crate::root();
    let folders = ["examples", "tests", "models"].into_iter().filter(|folder| root.join(folder).is_dir());
    let mut command = Command::new(crate::tools::python::for_tests()?);
    // The compiled files go below the build folder, not beside the sources.
    command.current_dir(&root).env("PYTHONPYCACHEPREFIX", crate::target_dir().join("tools/pycache"));
    shell::run(command.args(["-m", "compileall", "-q"]).args(folders))
}
