//! The proof that mistral.rs is compiled once: what `cargo build` made, `cargo test` takes as it is.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use cargo_metadata::Artifact;

use crate::shell;

/// The large ones, and two that every feature of ours would reach first.
const SHARED: [&str; 5] = ["mistralrs-core", "mistralrs", "candle-core", "tonic", "tokio"];

/// Compares the libraries that the two commands use.
pub fn check() -> Result<()> {
    let built = libraries(&["build"])?;
    let tested = libraries(&["test", "--no-run"])?;
    super::refuse(&SHARED.iter().filter_map(|package| finding(package, &built, &tested)).collect::<Vec<_>>())
}

/// The libraries that one command used.
#[derive(Default)]
struct Libraries {
    /// By package: their files, whose names hold a hash of version, features and profile.
    files: BTreeMap<String, BTreeSet<String>>,
    /// The packages of which at least one was compiled just now.
    compiled: BTreeSet<String>,
}

impl Libraries {
    fn add(&mut self, artifact: Artifact) {
        let package = package_name(&artifact.package_id.repr);
        if !SHARED.contains(&package) || artifact.target.is_custom_build() {
            return;
        }
        if !artifact.fresh {
            self.compiled.insert(package.to_owned());
        }
        let files = self.files.entry(package.to_owned()).or_default();
        files.extend(artifact.filenames.iter().map(ToString::to_string));
    }
}

/// Freshness alone proves nothing on the second run, when both of two copies lie in the build folder.
fn finding(package: &str, built: &Libraries, tested: &Libraries) -> Option<String> {
    let Some(files) = built.files.get(package) else {
        return Some(format!("{package}: cargo build does not use it; is the list in xtask still right?"));
    };
    if tested.compiled.contains(package) {
        return Some(format!("{package}: cargo test compiled it again"));
    }
    (tested.files.get(package) != Some(files)).then(|| {
        format!("{package}: cargo test uses another copy than cargo build: look for a feature outside [workspace.dependencies]")
    })
}

fn libraries(arguments: &[&str]) -> Result<Libraries> {
    let mut libraries = Libraries::default();
    shell::artifacts(arguments)?.into_iter().for_each(|artifact| libraries.add(artifact));
    Ok(libraries)
}

/// Returns the name in an id such as `registry+…#tokio@1.52.0`.
fn package_name(id: &str) -> &str {
    let name = id.rsplit('#').next().unwrap_or(id);
    name.split('@').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(file: &str) -> Libraries {
        let files = BTreeMap::from([("tokio".to_owned(), BTreeSet::from([file.to_owned()]))]);
        Libraries { files, compiled: BTreeSet::new() }
    }

    #[test]
    fn a_second_copy_is_found_fresh_or_not() {
        assert_eq!(finding("tokio", &with("libtokio-1.rlib"), &with("libtokio-1.rlib")), None);
        assert!(finding("tokio", &with("libtokio-1.rlib"), &with("libtokio-2.rlib")).is_some());
        let compiled = Libraries { compiled: BTreeSet::from(["tokio".to_owned()]), ..with("libtokio-1.rlib") };
        assert!(finding("tokio", &with("libtokio-1.rlib"), &compiled).is_some());
        assert!(finding("tonic", &with("libtokio-1.rlib"), &with("libtokio-1.rlib")).is_some());
    }

    #[test]
    fn names_stand_in_package_ids() {
        assert_eq!(package_name("registry+https://example.com/index#mistralrs-core@0.8.1"), "mistralrs-core");
    }
}
