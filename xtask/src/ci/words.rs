//! Words that only some files may hold: reading the environment, SQL and Redis, hosts of package registries.

use anyhow::Result;

use crate::tree;

/// The folders that may read the environment.
const READ_ENVIRONMENT: [&str; 2] = ["libs/server/", "services/pointsman/"];
/// The folders where code is not part of the product.
const OUTSIDE: [&str; 4] = ["xtask/", "tests/", "examples/", "libs/testkit/"];

/// Checks all files.
pub fn check() -> Result<()> {
    let mut findings = Vec::new();
    for source in tree::sources(&["rs"])? {
        let text = source.text()?;
        if !is_outside(&source.path) {
            findings.extend(environment_finding(&source.path, &text));
            findings.extend(store_finding(&source.path, &text));
        }
    }
    for source in tree::sources(&[])? {
        let text = source.text()?;
        if let Some(host) = registry_hosts().iter().find(|host| text.contains(host.as_str())) {
            findings.push(format!("{}: names {host}; every place has its own registry", source.path));
        }
    }
    super::refuse(&findings)
}

fn is_outside(path: &str) -> bool {
    let is_test = path.split('/').any(|name| name == "tests" || name == "tests.rs");
    is_test || OUTSIDE.iter().any(|folder| path.starts_with(folder))
}

fn environment_finding(path: &str, text: &str) -> Option<String> {
    if READ_ENVIRONMENT.iter().any(|folder| path.starts_with(folder)) {
        return None;
    }
    let reads = code(text).any(|line| line.contains("env::var")) || clap_attributes(text).any(has_env);
    reads.then(|| format!("{path}: only libs/server and services/pointsman read the environment"))
}

/// Returns the insides of `#[arg(…)]`, over as many lines as they take.
fn clap_attributes(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[arg(").skip(1).map(|rest| rest.split_once(")]").map_or(rest, |(inside, _)| inside))
}

fn has_env(attribute: &str) -> bool {
    attribute.split(',').any(|part| part.split('=').next().unwrap_or_default().trim() == "env")
}

fn store_finding(path: &str, text: &str) -> Option<String> {
    let is_store = path.split('/').any(|name| name == "store" || name == "store.rs");
    let names = code(text).any(|line| ["sqlx::", "redis::", "rusqlite::"].iter().any(|word| line.contains(word)));
    (names && !is_store).then(|| format!("{path}: only a module `store` names SQL or Redis"))
}

/// Returns the lines that are not comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// The hosts, put together here so that this file does not hold them.
fn registry_hosts() -> Vec<String> {
    [
        ["index.crates", "io"],
        ["static.crates", "io"],
        ["pypi", "org"],
        ["pythonhosted", "org"],
        ["registry.npmjs", "org"],
        ["deb.debian", "org"],
        ["proxy.golang", "org"],
    ]
    .map(|parts| parts.join("."))
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_read_in_two_places_only() {
        let texts = [
            "let home = std::env::var_os(\"HOME\");",
            "#[arg(long, env)]\nkey: String,",
            "#[arg(\n    long,\n    env = \"KEY\",\n)]\nkey: String,",
        ];
        for text in texts {
            assert!(environment_finding("libs/client/src/lib.rs", text).is_some(), "{text}");
            assert!(environment_finding("services/pointsman/src/main.rs", text).is_none(), "{text}");
        }
        let others = ["// env::var is not for us", "#[arg(long)]\nenvironment: String,", "env!(\"CARGO_PKG_VERSION\")"];
        for text in others {
            assert!(environment_finding("libs/client/src/lib.rs", text).is_none(), "{text}");
        }
    }

    #[test]
    fn databases_are_named_in_stores_only() {
        let text = "use sqlx::PgPool;";
        assert!(store_finding("services/sessions/src/turn.rs", text).is_some());
        assert!(store_finding("services/sessions/src/store/turn.rs", text).is_none());
        assert!(store_finding("services/sessions/src/store.rs", text).is_none());
    }
}
