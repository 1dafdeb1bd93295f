//! `deploy/docker/Dockerfile`: what it copies is there and not ignored, its stages are, and it copies all that is compiled.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use parse_dockerfile::{CopyInstruction, Dockerfile, Instruction, Source};

use super::DOCKERFILE;
use crate::tree;

pub(super) fn findings(root: &Path) -> Result<Vec<String>> {
    let read = |name: &str| fs::read_to_string(root.join(name)).with_context(|| format!("reading {name}"));
    let text = read(DOCKERFILE)?;
    let mut findings = in_text(&text, &read(".dockerignore")?, root)?;
    for source in tree::sources(&["rs"])?
        .iter()
        .filter(|source| source.path.starts_with("libs/") || source.path.starts_with("services/"))
    {
        findings.extend(not_copied(&text, &source.path, &source.text()?)?);
    }
    Ok(findings)
}

/// What a file of ours compiles in from elsewhere (`include_str!`), and no image would have.
fn not_copied(dockerfile: &str, path: &str, text: &str) -> Result<Vec<String>> {
    let dockerfile = parse(dockerfile)?;
    let copied: Vec<&str> = dockerfile.stages().flat_map(|stage| stage.instructions).flat_map(copied_by).collect();
    let quoted =
        text.split("include_str!(\"").chain(text.split("include_bytes!(\"")).filter_map(|rest| rest.split_once('"'));
    let folders: Vec<&str> = path.split('/').rev().skip(1).collect();
    let mut findings = Vec::new();
    for (included, _) in quoted.filter(|(included, _)| included.starts_with("../")) {
        let ups = included.matches("../").count();
        let above: Vec<&str> = folders.iter().skip(ups).rev().copied().collect();
        let included = [&above[..], &[included.trim_start_matches("../")]].concat().join("/");
        if !copied.iter().any(|folder| included == *folder || included.starts_with(&format!("{folder}/"))) {
            findings.push(format!("{path} compiles in {included}, which {DOCKERFILE} does not copy"));
        }
    }
    Ok(findings)
}

/// The paths of the repository that an instruction copies.
fn copied_by<'a>(instruction: &'a Instruction<'_>) -> Vec<&'a str> {
    let Instruction::Copy(copy) = instruction else { return Vec::new() };
    if copy.options.iter().any(|option| option.name.value == "from") {
        return Vec::new();
    }
    paths(copy).collect()
}

fn paths<'a>(copy: &'a CopyInstruction<'_>) -> impl Iterator<Item = &'a str> {
    copy.src.iter().filter_map(|source| match source {
        Source::Path(path) => Some(&*path.value),
        _ => None,
    })
}

/// Tells whether a Dockerfile has a stage of this name.
pub(super) fn has_stage(text: &str, name: &str) -> Result<bool> {
    Ok(parse(text)?.stage(name).is_some())
}

fn parse(text: &str) -> Result<Dockerfile<'_>> {
    parse_dockerfile::parse(text).map_err(|error| anyhow!("{DOCKERFILE}: {error}"))
}

fn in_text(text: &str, ignored: &str, root: &Path) -> Result<Vec<String>> {
    let dockerfile = parse(text)?;
    let mut findings = Vec::new();
    let mut earlier: Vec<&str> = Vec::new();
    for stage in dockerfile.stages() {
        let image = &*stage.from.image.value;
        // Another stage, or an image of a registry with its version.
        if !earlier.contains(&image) && !image.contains(':') {
            findings.push(format!("`{image}` is no earlier stage, and no image with a version"));
        }
        for instruction in stage.instructions {
            if let Instruction::Copy(copy) = instruction {
                findings.extend(copy_findings(copy, &earlier, ignored, root));
            }
        }
        earlier.extend(stage.from.as_.iter().map(|(_, name)| &*name.value));
    }
    Ok(findings.into_iter().map(|finding| format!("{DOCKERFILE}: {finding}")).collect())
}

fn copy_findings(copy: &CopyInstruction<'_>, earlier: &[&str], ignored: &str, root: &Path) -> Vec<String> {
    let from = copy.options.iter().find(|option| option.name.value == "from");
    if let Some(stage) = from.and_then(|option| option.value.as_ref()) {
        let is_there = earlier.contains(&&*stage.value);
        return if is_there { Vec::new() } else { vec![format!("`{}` is no earlier stage", stage.value)] };
    }
    let finding = |path: &str| {
        if !root.join(path).exists() {
            Some(format!("copies {path}, which is not there"))
        } else if !ignored.lines().any(|line| line.strip_prefix('!') == Some(path)) {
            Some(format!("copies {path}, which .dockerignore leaves out: add `!{path}`"))
        } else {
            None
        }
    };
    paths(copy).filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_found() {
        let text = "
FROM rust:1 AS build
COPY Cargo.toml libs ./
COPY --chown=1:1 not/there .
RUN --mount=type=cache,target=/x \\
    # a comment
    cargo build && \\
    true
FROM builder
COPY --from=build /a /b
COPY --from=other /a /b
";
        let findings = in_text(text, "*\n!Cargo.toml\n", &crate::root()).unwrap();
        let expected = [
            "copies libs, which .dockerignore leaves out: add `!libs`",
            "copies not/there, which is not there",
            "`builder` is no earlier stage, and no image with a version",
            "`other` is no earlier stage",
        ];
        assert_eq!(findings, expected.map(|finding| format!("{DOCKERFILE}: {finding}")));
        let source =
            "include_str!(\"../../../proto/x.proto\"), include_bytes!(\"../../libs/b/y\"), include_str!(\"here.txt\")";
        let findings = not_copied(text, "libs/a/src/lib.rs", source).unwrap();
        assert_eq!(
            findings,
            [format!("libs/a/src/lib.rs compiles in proto/x.proto, which {DOCKERFILE} does not copy")]
        );
        assert!(has_stage(text, "build").unwrap() && !has_stage(text, "other").unwrap());
    }
}
