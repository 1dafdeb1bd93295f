//! `deploy/docker/Dockerfile`: what it copies is there and not ignored, and its stages are.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use parse_dockerfile::{CopyInstruction, Dockerfile, Instruction, Source};

use super::DOCKERFILE;

pub(super) fn findings(root: &Path) -> Result<Vec<String>> {
    let read = |name: &str| fs::read_to_string(root.join(name)).with_context(|| format!("reading {name}"));
    in_text(&read(DOCKERFILE)?, &read(".dockerignore")?, root)
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
    let paths = copy.src.iter().filter_map(|source| match source {
        Source::Path(path) => Some(&*path.value),
        _ => None,
    });
    let finding = |path: &str| {
        if !root.join(path).exists() {
            Some(format!("copies {path}, which is not there"))
        } else if !ignored.lines().any(|line| line.strip_prefix('!') == Some(path)) {
            Some(format!("copies {path}, which .dockerignore leaves out: add `!{path}`"))
        } else {
            None
        }
    };
    paths.filter_map(finding).collect()
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
        assert!(has_stage(text, "build").unwrap() && !has_stage(text, "other").unwrap());
    }
}
