//! The floors of the workspace (ARCHITECTURE.md, code map): a crate sees lower floors only.

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Where a crate stands, and what it may depend on.
struct Floor {
    /// The crate's folder, or the beginning of it where it ends in `/`; the first line that fits counts.
    folder: &'static str,
    /// Those below it may not see it.
    stands: u8,
    /// It sees the floors under this one.
    sees_below: u8,
}

const fn floor(folder: &'static str, stands: u8, sees_below: u8) -> Floor {
    Floor { folder, stands, sees_below }
}

const FLOORS: &[Floor] = &[
    floor("libs/types", 0, 0),
    floor("libs/body", 0, 0),
    floor("libs/tls", 0, 0),
    floor("libs/proto", 1, 1),
    floor("libs/errors", 2, 2),
    floor("libs/telemetry", 3, 3),
    floor("libs/policy", 3, 3),
    floor("libs/dialects", 3, 3),
    floor("libs/engine", 3, 3),
    floor("libs/server", 4, 4),
    floor("libs/client", 4, 4),
    floor("libs/engine-mistralrs", 4, 4),
    floor("libs/testkit", 5, 3),
    floor("services/pointsman", 6, 6),
    floor("services/", 5, 5),
    floor("examples/", 6, 5),
    floor("tests", 6, 6),
    floor("fuzz", 6, 4),
    floor("xtask", 6, 0),
];

/// Dependencies that only some crates may have, whatever their floor.
const ONLY: &[(&str, &[&str])] = &[
    ("mistralrs", &["libs/engine-mistralrs"]),
    ("mistralrs-core", &["libs/engine-mistralrs"]),
    ("candle-core", &["libs/engine-mistralrs"]),
    ("pointsman-engine-mistralrs", &["services/pointsman"]),
    ("pointsman-testkit", &["tests"]),
    ("opentelemetry-otlp", &["libs/telemetry", "libs/testkit"]),
    ("opentelemetry-proto", &["libs/telemetry", "libs/testkit"]),
];

/// Dependencies that need a module `store` in the crate.
const FOR_STORES: [&str; 3] = ["redis", "sqlx", "rusqlite"];

/// Checks normal and build dependencies; tests inside a crate may use what they like.
pub fn check() -> Result<()> {
    let root = crate::root();
    let metadata = MetadataCommand::new().current_dir(&root).no_deps().exec().context("asking cargo metadata")?;
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let folder = folder_of(package, &root)?;
        let has_store = root.join(&folder).join("src/store.rs").is_file();
        for dependency in package.dependencies.iter().filter(|it| it.kind != DependencyKind::Development) {
            let target = dependency.path.as_ref().and_then(|path| path.strip_prefix(&root).ok());
            findings.extend(refusal(&folder, &dependency.name, target.map(|path| path.as_str()), has_store));
        }
    }
    println!("{} crates", metadata.packages.len());
    super::refuse(&findings)
}

fn folder_of(package: &Package, root: &std::path::Path) -> Result<String> {
    let manifest = package.manifest_path.strip_prefix(root).context("a package outside the workspace")?;
    Ok(manifest.parent().context("a manifest without a folder")?.to_string())
}

/// Says why the crate in `folder` may not have this dependency; `target` is its folder if it is ours.
fn refusal(folder: &str, dependency: &str, target: Option<&str>, has_store: bool) -> Option<String> {
    if let Some((_, allowed)) = ONLY.iter().find(|(name, _)| *name == dependency)
        && !allowed.contains(&folder)
    {
        return Some(format!("{folder}: only {} may depend on {dependency}", allowed.join(" and ")));
    }
    if FOR_STORES.contains(&dependency) && !has_store {
        return Some(format!("{folder}: only a crate with a module `store` may depend on {dependency}"));
    }
    let Some(here) = floor_of(folder) else {
        return Some(format!("{folder}: has no floor; give it one in xtask/src/ci/floors.rs"));
    };
    let there = floor_of(target?)?;
    (there.stands >= here.sees_below).then(|| {
        format!("{folder} sees the floors below {}, and {dependency} stands on {}", here.sees_below, there.stands)
    })
}

fn floor_of(folder: &str) -> Option<&'static Floor> {
    FLOORS.iter().find(|floor| {
        let is_prefix = floor.folder.ends_with('/');
        if is_prefix { folder.starts_with(floor.folder) } else { folder == floor.folder }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(folder: &str, target: &str) -> bool {
        let package = format!("pointsman-{}", target.rsplit('/').next().unwrap());
        refusal(folder, &package, Some(target), false).is_some()
    }

    #[test]
    fn lower_floors_are_seen() {
        for (folder, target) in [
            ("libs/errors", "libs/proto"),
            ("libs/server", "libs/telemetry"),
            ("services/gateway", "libs/client"),
            ("services/pointsman", "services/gateway"),
            ("services/pointsman", "libs/engine-mistralrs"),
            ("tests", "services/worker"),
            ("tests", "libs/testkit"),
            ("libs/testkit", "libs/errors"),
            ("examples/rust", "libs/client"),
        ] {
            assert!(!is_refused(folder, target), "{folder} -> {target}");
        }
    }

    #[test]
    fn others_are_not() {
        for (folder, target) in [
            ("libs/types", "libs/proto"),
            ("libs/telemetry", "libs/engine"),
            ("libs/client", "libs/server"),
            ("services/gateway", "services/worker"),
            ("services/worker", "libs/engine-mistralrs"),
            ("libs/server", "libs/testkit"),
            ("libs/testkit", "libs/telemetry"),
            ("examples/rust", "services/gateway"),
            ("tests", "services/pointsman"),
            ("libs/nowhere", "libs/types"),
        ] {
            assert!(is_refused(folder, target), "{folder} -> {target}");
        }
    }

    #[test]
    fn stores_alone_have_databases() {
        assert!(refusal("services/sessions", "sqlx", None, false).is_some());
        assert!(refusal("services/sessions", "sqlx", None, true).is_none());
    }
}
