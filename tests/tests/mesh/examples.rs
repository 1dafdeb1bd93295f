//! The examples run as their pages say.

use anyhow::{Context, Result};
use pointsman_testkit::tools;

use crate::program::{python, python_stubs, run};
use crate::service::Service;

#[tokio::test]
async fn the_python_examples_run() -> Result<()> {
    let mesh = Service::demo().await?;
    let stubs = python_stubs().await?;
    let host = mesh.address.trim_start_matches("http://");
    for (script, want) in WANTED {
        let printed = python(&format!("examples/python/{script}.py"), &[host], Some(&stubs)).await?;
        assert!(printed.contains(want), "{script}: {printed}");
    }
    mesh.stop().await
}

#[tokio::test]
async fn the_rust_examples_run() -> Result<()> {
    let mesh = Service::demo().await?;
    let folder = tools::binary()?.parent().context("the binary is in no folder")?.to_owned();
    for (name, want) in WANTED {
        let printed = run(&folder.join("pointsman-example"), &[name, &mesh.address], &[], "").await?.success()?;
        assert!(printed.contains(want), "{name}: {printed}");
    }
    mesh.stop().await
}

/// What each example prints in both languages.
const WANTED: [(&str, &str); 4] = [
    ("unary", "Hello! I am Pip. How can I help you?"),
    ("stream", "Once upon a time there was a small token called Tik."),
    ("cancel", "cancelled"),
    ("errors", "sampling.temperature: must be 0 to 2"),
];
