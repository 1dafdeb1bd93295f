//! The examples run as their pages say.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use pointsman_testkit::tools;
use tempfile::TempDir;

use crate::program::{python, python_stubs, run};
use crate::script::script;
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

#[tokio::test]
async fn the_node_examples_run() -> Result<()> {
    let mesh = Service::demo().await?;
    let folder = node_examples(&mesh).await?;
    let more = [
        ("deadline", "DEADLINE_EXCEEDED"),
        (
            "openai",
            "get_weather {\"city\": \"Bergen\"}\nIt is 9 degrees and rainy in Bergen.\nmodel_not_found: 404 no model",
        ),
    ];
    let host = mesh.address.trim_start_matches("http://");
    for (name, want) in WANTED.into_iter().chain(more) {
        let script = folder.path().join(format!("{name}.mjs"));
        let printed = run(Path::new("node"), &[script.as_ref(), Path::new(host)], &[], "").await?.success()?;
        assert!(printed.contains(want), "{name}: {printed}");
    }
    mesh.stop().await
}

/// The first is gRPC's own to try again, the second the caller's.
const REPLIES: &str = "\
replies:
  - {when: {contains: weather}, times: 1, error: {reason: QUEUE_FULL, retry_after: 10ms}}
  - {when: {contains: weather}, times: 1, answer: It rai, truncate: {after_pieces: 1}}
  - {when: {contains: weather}, answer: It rains.}
  - {error: {reason: CONTENT_REFUSED}}
";

#[tokio::test]
async fn the_node_example_tries_again_what_is_worth_it() -> Result<()> {
    let (_folder, engine) = script(REPLIES)?;
    let mesh = Service::simulated(&engine).await?;
    let folder = node_examples(&mesh).await?;
    let (retry, host) = (folder.path().join("retry.mjs"), mesh.address.trim_start_matches("http://"));
    let ask = |text: &str| {
        let arguments = [retry.clone(), host.into(), "simulated".into(), text.into()];
        async move { run(Path::new("node"), &arguments, &[], "").await }
    };
    let printed = ask("How is the weather?").await?.success()?;
    assert_eq!(printed, "STREAM_TRUNCATED after \"It\": again in 500 ms\nIt rains.\n");
    let refused = ask("Hello").await?;
    assert!(refused.code == Some(1) && refused.stderr.contains("FAILED_PRECONDITION"), "{refused:?}");
    assert!(!refused.stdout.contains("again in"), "{refused:?}");
    mesh.stop().await
}

#[tokio::test]
async fn the_go_examples_run() -> Result<()> {
    let mesh = Service::demo().await?;
    let folder = tempfile::tempdir()?;
    let program = build_go(&mesh, folder.path()).await?;
    let more = [("openai", "Hello! I am Pip. How can I help you?\n404 MODEL_NOT_FOUND: no model `nobody`")];
    let host = mesh.address.trim_start_matches("http://");
    for (name, want) in WANTED.into_iter().chain(more) {
        let printed = run(&program, &[name, host], &[], "").await?.success()?;
        assert!(printed.contains(want), "{name}: {printed}");
    }
    mesh.stop().await
}

/// What each example prints in every language.
const WANTED: [(&str, &str); 4] = [
    ("unary", "Hello! I am Pip. How can I help you?"),
    ("stream", "Once upon a time there was a small token called Tik."),
    ("cancel", "cancelled"),
    ("errors", "sampling.temperature: must be 0 to 2"),
];

/// Builds the example as its page says for a machine with Debian's packages.
async fn build_go(mesh: &Service, folder: &Path) -> Result<PathBuf> {
    let package = folder.join("src/pointsman");
    copy("examples/go", &package)?;
    let unformatted = run(Path::new("gofmt"), &[Path::new("-l"), &package], &[], "").await?.success()?;
    ensure!(unformatted.is_empty(), "run gofmt on {unformatted}");
    take_protos(mesh, &folder.join("protos")).await?;
    run(&package.join("generate_stubs.sh"), &[folder.join("protos")], &[], "").await?.success()?;
    let program = folder.join("example");
    let (cache, path) = (tools::go_cache()?, format!("{}:/usr/share/gocode", folder.display()));
    let environment: [(&str, &Path); 4] = [
        ("GOCACHE", &cache),
        ("GOPATH", path.as_ref()),
        ("GO111MODULE", "off".as_ref()),
        ("CGO_ENABLED", "0".as_ref()),
    ];
    let arguments = [Path::new("build"), Path::new("-o"), &program, Path::new("pointsman")];
    run(Path::new("go"), &arguments, &environment, "").await?.success()?;
    Ok(program)
}

/// Makes a folder with the examples, the packages of `tests/node`, and the files that the mesh gives away.
async fn node_examples(mesh: &Service) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    copy("examples/node", folder.path())?;
    std::os::unix::fs::symlink(tools::node_modules()?, folder.path().join("node_modules"))?;
    take_protos(mesh, &folder.path().join("protos")).await?;
    Ok(folder)
}

/// Does what the pages do with `curl` and `tar`.
pub async fn take_protos(mesh: &Service, folder: &Path) -> Result<()> {
    std::fs::create_dir(folder)?;
    let archive = reqwest::get(format!("{}/protos.tar.gz", mesh.address)).await?.error_for_status()?.bytes().await?;
    let file = folder.join("protos.tar.gz");
    std::fs::write(&file, archive)?;
    let arguments = [Path::new("-xzf"), &file, Path::new("-C"), folder];
    run(Path::new("tar"), &arguments, &[], "").await?.success()?;
    Ok(())
}

/// Copies the files of a folder of this repository.
pub fn copy(from: &str, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(tools::workspace()?.join(from))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
