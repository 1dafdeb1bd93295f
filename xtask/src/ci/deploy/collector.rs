//! The collector's configuration: a pipeline names only components that are declared, and all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::COLLECTOR;

type Declared = BTreeMap<String, IgnoredAny>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Collector {
    receivers: Declared,
    #[serde(default)]
    processors: Declared,
    exporters: Declared,
    #[serde(default)]
    connectors: Declared,
    #[serde(default)]
    extensions: Declared,
    service: Service,
}

#[derive(Deserialize)]
struct Service {
    #[serde(default)]
    extensions: Vec<String>,
    pipelines: BTreeMap<String, Pipeline>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pipeline {
    receivers: Vec<String>,
    #[serde(default)]
    processors: Vec<String>,
    exporters: Vec<String>,
}

pub(super) fn findings(root: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(root.join(COLLECTOR)).with_context(|| format!("reading {COLLECTOR}"))?;
    in_text(&text)
}

fn in_text(text: &str) -> Result<Vec<String>> {
    let collector: Collector = serde_saphyr::from_str(text).context(COLLECTOR)?;
    let pipelines = || collector.service.pipelines.values();
    let connectors: Vec<&String> = collector.connectors.keys().collect();
    // A connector is the end of one pipeline and the beginning of another.
    let kinds: [(&str, Vec<&String>, Vec<&String>); 4] = [
        (
            "receiver",
            collector.receivers.keys().chain(connectors.clone()).collect(),
            pipelines().flat_map(|pipeline| &pipeline.receivers).collect(),
        ),
        (
            "processor",
            collector.processors.keys().collect(),
            pipelines().flat_map(|pipeline| &pipeline.processors).collect(),
        ),
        (
            "exporter",
            collector.exporters.keys().chain(connectors).collect(),
            pipelines().flat_map(|pipeline| &pipeline.exporters).collect(),
        ),
        ("extension", collector.extensions.keys().collect(), collector.service.extensions.iter().collect()),
    ];
    let mut findings = Vec::new();
    for (kind, declared, named) in kinds {
        let (declared, named) = (BTreeSet::from_iter(declared), BTreeSet::from_iter(named));
        let undeclared = named.difference(&declared).map(|name| format!("no {kind} `{name}` is declared"));
        findings.extend(undeclared);
        findings.extend(declared.difference(&named).map(|name| format!("nothing uses the {kind} `{name}`")));
    }
    Ok(findings.into_iter().map(|finding| format!("{COLLECTOR}: {finding}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_declared_or_not_used_is_found() {
        let text = "
receivers: {otlp: {protocols: {grpc: {}}}}
processors: {batch: }
exporters: {otlp/one: {endpoint: \"a:1\"}}
service:
  pipelines:
    traces: {receivers: [otlp], processors: [memory_limiter], exporters: [otlp/one]}
";
        let expected = ["no processor `memory_limiter` is declared", "nothing uses the processor `batch`"];
        assert_eq!(in_text(text).unwrap(), expected.map(|finding| format!("{COLLECTOR}: {finding}")));
        assert!(in_text(&text.replace("exporters: [", "exporter: [")).is_err());
    }
}
