use std::time::Duration;

use pointsman_errors::Reason;
use pointsman_proto::inference::v1::MeshContext;
use pointsman_proto::mesh_context;
use pointsman_proto::metadata::{MESH_CONTEXT, parse_grpc_timeout};
use pointsman_types::{ByteSize, TargetName, is_tenant_name};
use tonic::metadata::{MetadataMap, MetadataValue};

/// What is read of headers and of the command line: a deadline, a mesh context, the names of targets, tenants and
/// reasons, sizes. What is read is written as it was, or reads the same again.
///
/// The bytes: a letter that says which, and the text.
pub fn headers(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    let text = str::from_utf8(bytes).unwrap_or_default();
    match which {
        b'd' => deadline(text),
        b'm' => context_of_bytes(bytes),
        b'h' => context_of_header(bytes),
        b't' => target(text),
        b's' => size(text),
        b'r' => assert_eq!(text.parse().ok(), Reason::ALL.iter().find(|reason| reason.name() == text).copied()),
        _ => assert!(!is_tenant_name(text) || text.bytes().all(|byte| byte.is_ascii_graphic())),
    }
}

fn deadline(text: &str) {
    let unit = text.chars().next_back().and_then(|unit| match unit {
        'H' => Some(3600 * 1_000_000_000),
        'M' => Some(60 * 1_000_000_000),
        'S' => Some(1_000_000_000),
        'm' => Some(1_000_000),
        'u' => Some(1000),
        'n' => Some(1_u128),
        _ => None,
    });
    let digits = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    let is_number = (1..=8).contains(&digits.len()) && digits.chars().all(|digit| digit.is_ascii_digit());
    let expected = unit.filter(|_| is_number).map(|unit| unit * digits.parse::<u128>().unwrap());
    assert_eq!(parse_grpc_timeout(text).map(|timeout: Duration| timeout.as_nanos()), expected);
}

fn context_of_bytes(bytes: &[u8]) {
    let mut metadata = MetadataMap::new();
    metadata.insert_bin(MESH_CONTEXT, MetadataValue::from_bytes(bytes));
    context(&metadata);
}

/// What stands in the header itself, base64 or not.
fn context_of_header(bytes: &[u8]) {
    let Ok(value) = http_value(bytes) else { return };
    let mut metadata = MetadataMap::new();
    metadata.as_mut().insert(MESH_CONTEXT, value);
    context(&metadata);
}

fn context(metadata: &MetadataMap) {
    match mesh_context::read(metadata) {
        Ok(context) => {
            let context: MeshContext = context.expect("there is one");
            assert!(!context.tenant.is_empty());
            let mut again = MetadataMap::new();
            mesh_context::write(&context, &mut again);
            assert_eq!(mesh_context::read(&again).expect("it was written"), Some(context));
        }
        Err(violation) => assert_eq!(violation.field, MESH_CONTEXT),
    }
}

fn http_value(bytes: &[u8]) -> Result<tonic::codegen::http::HeaderValue, tonic::codegen::http::Error> {
    Ok(tonic::codegen::http::HeaderValue::from_bytes(bytes)?)
}

fn target(text: &str) {
    match text.parse::<TargetName>() {
        Ok(target) => {
            assert_eq!(target.to_string(), text);
            assert_eq!(text, format!("models/{}/versions/{}", target.model(), target.version()));
        }
        Err(error) => assert!(error.to_string().contains(text)),
    }
}

fn size(text: &str) {
    if let Ok(size) = text.parse::<ByteSize>() {
        assert_eq!(size.to_string().parse(), Ok(size), "{text} is written {size}");
    }
}
