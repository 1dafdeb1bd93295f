//! What the environment says, as data. Read once at start, on top of the configuration file.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use pointsman_telemetry::{Config, LogFormat, OtlpConfig, OtlpProtocol};

/// Applies the OpenTelemetry standard variables and ours for logs to the configuration of telemetry.
///
/// `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, `OTEL_EXPORTER_OTLP_PROTOCOL`
/// (`grpc`, `http/protobuf`), `OTEL_RESOURCE_ATTRIBUTES`, `POINTSMAN_LOG` (a filter), `POINTSMAN_LOG_FORMAT`
/// (`human`, `json`). Returns every mistake.
pub fn apply(telemetry: &mut Config) -> Vec<String> {
    let variables =
        std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    apply_from(telemetry, &variables.collect())
}

fn apply_from(telemetry: &mut Config, variables: &BTreeMap<String, String>) -> Vec<String> {
    let mut problems = Vec::new();
    let get = |name: &str| variables.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let protocol = match get("OTEL_EXPORTER_OTLP_PROTOCOL") {
        None => None,
        Some("grpc") => Some(OtlpProtocol::Grpc),
        Some("http/protobuf") => Some(OtlpProtocol::HttpProtobuf),
        Some(other) => {
            problems.push(format!("OTEL_EXPORTER_OTLP_PROTOCOL: `{other}` is not `grpc` or `http/protobuf`"));
            None
        }
    };
    // Each of the two by itself, so that either may stand in the file.
    let protocol = protocol.or_else(|| Some(telemetry.otlp.as_ref()?.protocol)).unwrap_or_default();
    // As the specification has it: the general endpoint is a base for HTTP, the one for traces is used as it is.
    let base = get("OTEL_EXPORTER_OTLP_ENDPOINT").map(|base| match protocol {
        OtlpProtocol::Grpc => base.to_owned(),
        OtlpProtocol::HttpProtobuf => format!("{}/v1/traces", base.trim_end_matches('/')),
    });
    let endpoint = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(str::to_owned).or(base);
    if let Some(endpoint) = endpoint.or_else(|| Some(telemetry.otlp.take()?.endpoint)) {
        telemetry.otlp = Some(OtlpConfig { endpoint, protocol });
    }
    for pair in get("OTEL_RESOURCE_ATTRIBUTES").into_iter().flat_map(|pairs| pairs.split(',')) {
        match attribute(pair) {
            Some((key, value)) => {
                telemetry.resource.insert(key, value);
            }
            None => problems.push(format!("OTEL_RESOURCE_ATTRIBUTES: `{pair}` is not KEY=VALUE, percent-encoded")),
        }
    }
    if let Some(filter) = get("POINTSMAN_LOG") {
        filter.clone_into(&mut telemetry.log.filter);
    }
    match get("POINTSMAN_LOG_FORMAT") {
        None => {}
        Some("human") => telemetry.log.format = LogFormat::Human,
        Some("json") => telemetry.log.format = LogFormat::Json,
        Some(other) => problems.push(format!("POINTSMAN_LOG_FORMAT: `{other}` is not `human` or `json`")),
    }
    problems
}

/// Reads one attribute; its value is percent-encoded
/// (<https://opentelemetry.io/docs/specs/otel/resource/sdk/#specifying-resource-information-via-an-environment-variable>).
fn attribute(pair: &str) -> Option<(String, String)> {
    let (key, value) = pair.split_once('=')?;
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    Some((key.trim().to_owned(), value.into_owned()))
}

#[cfg(test)]
mod tests {
    use pointsman_telemetry::{Config, LogFormat, OtlpConfig, OtlpProtocol};

    use super::apply_from;

    fn apply(variables: &[(&str, &str)]) -> (Config, Vec<String>) {
        apply_to(Config::default(), variables)
    }

    fn apply_to(mut config: Config, variables: &[(&str, &str)]) -> (Config, Vec<String>) {
        let variables = variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let problems = apply_from(&mut config, &variables);
        (config, problems)
    }

    #[test]
    fn standard_variables_are_understood() {
        assert_eq!(apply(&[]), (Config::default(), vec![]));
        let (config, _) = apply(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"), ("POINTSMAN_LOG_FORMAT", "json")]);
        let otlp = config.otlp.unwrap();
        assert_eq!((otlp.endpoint.as_str(), otlp.protocol), ("http://c:4317", OtlpProtocol::Grpc));
        assert_eq!(config.log.format, LogFormat::Json);
        let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        let (config, _) = apply(&[http, ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/")]);
        assert_eq!(config.otlp.unwrap().endpoint, "http://c:4318/v1/traces");
        let (config, _) = apply(&[http, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/x")]);
        assert_eq!(config.otlp.unwrap().endpoint, "http://c/x");
    }

    #[test]
    fn the_environment_wins_over_the_file_key_by_key() {
        let of = |endpoint: &str, protocol| Some(OtlpConfig { endpoint: endpoint.to_owned(), protocol });
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://e");
        for (variables, want) in [
            (&[][..], of("http://f/x", OtlpProtocol::HttpProtobuf)),
            (&[grpc], of("http://f/x", OtlpProtocol::Grpc)),
            (&[endpoint], of("http://e/v1/traces", OtlpProtocol::HttpProtobuf)),
            (&[grpc, endpoint], of("http://e", OtlpProtocol::Grpc)),
        ] {
            let file = Config { otlp: of("http://f/x", OtlpProtocol::HttpProtobuf), ..Config::default() };
            assert_eq!(apply_to(file, variables).0.otlp, want, "{variables:?}");
        }
        assert_eq!(apply(&[grpc]).0.otlp, None);
    }

    #[test]
    fn attributes_are_decoded() {
        let (config, problems) = apply(&[("OTEL_RESOURCE_ATTRIBUTES", "team=a%2Cb%20%C3%A4, zone = eu=1")]);
        let resource: Vec<(&str, &str)> =
            config.resource.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!((resource, problems), (vec![("team", "a,b ä"), ("zone", "eu=1")], vec![]));
    }

    #[test]
    fn every_mistake_is_named() {
        let (_, problems) = apply(&[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c,d=%FF"),
            ("POINTSMAN_LOG_FORMAT", "xml"),
        ]);
        assert_eq!(problems.len(), 4, "{problems:?}");
    }
}
