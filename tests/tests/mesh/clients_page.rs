//! What `docs/guides/clients.md` shows is run as it stands there, and prints what it says.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use pointsman_testkit::tools;

use crate::program::run;
use crate::service::{Service, Start, demo_config};

const PAGE: &str = "docs/guides/clients.md";
/// Where the page's mesh is.
const ADDRESS: &str = "127.0.0.1:8080";
/// Behind it stands what the line prints.
const ARROW: &str = "→ ";

#[tokio::test]
async fn the_page_about_clients_says_what_happens() -> Result<()> {
    let demo = Start::new("worker", &demo_config()?).ready().await?;
    let e5 = "engine: {simulated: {target: models/e5/versions/1, embeddings: {only: true}}}\n";
    let e5 = Start::new("worker", e5).ready().await?;
    let gateway = format!(
        "gateway: {{instances: [{{name: demo, endpoint: \"{}\"}}, {{name: e5, endpoint: \"{}\"}}]}}\n",
        demo.address, e5.address
    );
    let gateway = Start::new("gateway", &gateway).ready().await?;
    let page = std::fs::read_to_string(tools::workspace()?.join(PAGE))?;
    let python = snippets(&page, "python");
    let js = snippets(&page, "js");
    ensure!((python.len(), js.len()) == (3, 3), "the page has {} and {} snippets", python.len(), js.len());
    for snippet in python {
        says_what_happens(&snippet, "snippet.py", &tools::langchain()?, &gateway).await?;
    }
    for snippet in js {
        says_what_happens(&snippet, "snippet.mjs", Path::new("node"), &gateway).await?;
    }
    gateway.stop().await?;
    e5.stop().await?;
    demo.stop().await
}

/// Runs a snippet in a folder that finds the packages of `tests/node`.
async fn says_what_happens(snippet: &str, name: &str, program: &Path, mesh: &Service) -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::os::unix::fs::symlink(tools::node_modules()?, folder.path().join("node_modules"))?;
    let file = folder.path().join(name);
    std::fs::write(&file, snippet.replace(ADDRESS, mesh.address.trim_start_matches("http://")))?;
    let printed = run(program, &[&file], &[], "").await?.success().with_context(|| snippet.to_owned())?;
    let mut rest = printed.as_str();
    for line in snippet.lines() {
        if let Some((_, want)) = line.split_once(ARROW) {
            let (_, after) = rest.split_once(want).with_context(|| format!("no `{want}` in:\n{printed}"))?;
            rest = after;
        }
    }
    ensure!(rest.trim().is_empty(), "the page does not say that it prints `{rest}`");
    Ok(())
}

/// The blocks of code in a language.
fn snippets(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = page.split(&fence).skip(1).filter_map(|rest| rest.split_once("```"));
    blocks.map(|(code, _)| code.to_owned()).collect()
}
