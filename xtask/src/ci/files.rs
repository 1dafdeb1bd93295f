//! Sizes and names of files.

use anyhow::Result;

use crate::tree::{self, Source};

/// More lines than this are refused.
const LIMIT: usize = 800;
/// More lines than this are told.
const LOOK_TWICE: usize = 400;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 9] = ["mod", "util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"];

/// Refuses long files, `mod.rs`, and names that say nothing.
pub fn check() -> Result<()> {
    let mut findings = Vec::new();
    for source in tree::sources(&["rs"])? {
        findings.extend(name_finding(&source.path));
        if is_measured(&source.path) {
            findings.extend(size_finding(&source)?);
        }
    }
    super::refuse(&findings)
}

fn name_finding(path: &str) -> Option<String> {
    let names = path.trim_end_matches(".rs").split('/');
    let name = names.into_iter().find(|name| EMPTY_NAMES.contains(name))?;
    Some(format!("{path}: `{name}` does not say what is inside"))
}

/// Generated code and tables of tests have the length they have.
fn is_measured(path: &str) -> bool {
    let is_test = path.split('/').any(|name| name == "tests" || name == "tests.rs");
    !is_test && !path.starts_with("libs/proto/src/generated/")
}

fn size_finding(source: &Source) -> Result<Option<String>> {
    let lines = source.text()?.lines().count();
    if lines > LOOK_TWICE {
        println!("{}: {lines} lines: look twice", source.path);
    }
    Ok((lines > LIMIT).then(|| format!("{}: {lines} lines are more than {LIMIT}", source.path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_nothing_are_found_in_folders_too() {
        for path in ["a/src/mod.rs", "a/src/utils.rs", "a/src/common/http.rs"] {
            assert!(name_finding(path).is_some(), "{path}");
        }
        for path in ["a/src/model.rs", "libs/types/src/common_name.rs"] {
            assert!(name_finding(path).is_none(), "{path}");
        }
    }

    #[test]
    fn generated_code_and_tests_are_not_measured() {
        for path in ["libs/proto/src/generated/pointsman.inference.v1.rs", "tests/src/mesh.rs", "a/src/b/tests.rs"] {
            assert!(!is_measured(path), "{path}");
        }
        assert!(is_measured("libs/proto/src/lib.rs"));
    }
}
