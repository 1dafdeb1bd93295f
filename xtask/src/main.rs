//! The project's own commands: `cargo xtask ci`, `test`, `mesh`, `codegen`, `bench`, `fuzz`, `demo-model`.
//!
//! One file per command. What a command needs installed it installs itself, below the build folder
//! (`tools`), from pins that stand in this repository.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod bench;
mod ci;
mod codegen;
mod demo_model;
mod fuzz;
mod mesh;
mod probe;
mod process;
mod shell;
mod test;
mod tools;
mod tree;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures, and writes docs/reference/performance.md. Wants a quiet machine with at least two cores.
    Bench(bench::Options),
    /// Runs every check but the tests; fails if one of them fails.
    Ci {
        /// The checks to run, by name; all of them if none is given.
        #[arg(value_parser = ci::names())]
        steps: Vec<String>,
    },
    /// Makes the Rust code of `proto/` anew.
    Codegen {
        /// Fails if the committed code is not what would be made; changes nothing.
        #[arg(long)]
        check: bool,
    },
    /// Gives what reads a stranger's bytes all kinds of them, each target for ten minutes.
    Fuzz(fuzz::Options),
    /// Makes the demo model anew, in about half an hour on two cores, or checks its recipe.
    DemoModel(demo_model::Arguments),
    /// Runs a mesh of processes on this machine, without containers.
    Mesh {
        #[command(subcommand)]
        action: mesh::Action,
    },
    /// Builds the binary once, then runs all tests with it and with the Python and Node packages they drive.
    Test {
        /// What `cargo test` is given, such as `-p pointsman-tests` or a test's name.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Bench(options) => bench::run(&options),
        Command::Ci { steps } => ci::run(&steps),
        Command::Codegen { check } => codegen::run(check),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::DemoModel(arguments) => demo_model::run(&arguments),
        Command::Mesh { action } => mesh::run(&action),
        Command::Test { arguments } => test::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a backtrace: what failed is a check or a program, seldom our own code.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the workspace.
///
/// It is asked for at run time: two checkouts that share a build folder share this binary too, and a path
/// from compile time would be the other's.
fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let manifest = PathBuf::from(manifest);
    manifest.parent().map(Path::to_path_buf).unwrap_or(manifest)
}

/// Where cargo builds, as an absolute path.
fn target_dir() -> PathBuf {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    std::path::absolute(&folder).unwrap_or(folder)
}
