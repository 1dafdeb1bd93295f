//! Markdown: every relative link leads to a file, and every page about an error is listed.

use std::path::Path;

use anyhow::Result;

use crate::tree;

const ERRORS: &str = "docs/errors/";

/// Checks all Markdown files.
pub fn check() -> Result<()> {
    let sources = tree::sources(&["md"])?;
    let mut findings = Vec::new();
    let mut listed = Vec::new();
    for source in &sources {
        let text = source.text()?;
        let folder = source.full.parent().unwrap_or(Path::new(""));
        for link in links(&text) {
            if !folder.join(link).exists() {
                findings.push(format!("{}: `{link}` leads nowhere", source.path));
            }
            if source.path == format!("{ERRORS}README.md") {
                listed.push(format!("{ERRORS}{}", link.trim_start_matches("./")));
            }
        }
    }
    for page in sources.iter().map(|source| &source.path).filter(|path| path.starts_with(ERRORS)) {
        if !page.ends_with("/README.md") && !listed.contains(page) {
            findings.push(format!("{page}: not linked from {ERRORS}README.md"));
        }
    }
    super::refuse(&findings)
}

/// Returns the paths of the relative links outside code blocks, without their `#` parts.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            found.extend(line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link));
        }
    }
    let paths = found.into_iter().map(|link| link.split(['#', ' ']).next().unwrap_or_default());
    paths.filter(|path| !path.is_empty() && !path.contains(':') && !path.contains('`')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_links_outside_code_are_followed() {
        let text = "See [a](b.md#part), [`c`](../c.rs) and [web](https://example.com).\n\
                    ```\n[no](no.md)\n```\n[here](#there) ![picture](p.png \"title\")\n";
        assert_eq!(links(text), ["b.md", "../c.rs", "p.png"]);
    }
}
