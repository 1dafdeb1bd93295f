//! Names of headers and gRPC metadata. They are the same on every surface.

use std::time::Duration;

/// Binary metadata between mesh peers: an encoded [`MeshContext`](crate::inference::v1::MeshContext).
pub const MESH_CONTEXT: &str = "x-pointsman-mesh-context-bin";

/// The request's id, in every answer.
pub const REQUEST_ID: &str = "x-request-id";

/// The reason of an error (`docs/errors`), on the HTTP surfaces.
pub const REASON: &str = "x-pointsman-reason";

/// The trace, as 32 hexadecimal digits: what to give an operator.
pub const TRACE_ID: &str = "x-pointsman-trace-id";

/// The routing decision, as 16 hexadecimal digits.
pub const DECISION_ID: &str = "x-pointsman-decision-id";

/// The revision of the policy that decided.
pub const POLICY_REVISION: &str = "x-pointsman-policy-revision";

/// The attempts so far, separated by commas: `{target}@{instance} {outcome} {milliseconds}ms`.
pub const ATTEMPTS: &str = "x-pointsman-attempts";

/// `true` if the answer is a policy's fixed text and no model's.
pub const STATIC_ANSWER: &str = "x-pointsman-static-answer";

/// How long the work goes on when the caller's connection is lost, in whole seconds, on the HTTP surfaces.
pub const RESUME_WINDOW: &str = "x-pointsman-resume-window";

/// The session that a request is a turn of: `sessions/{id}`, or its id alone.
pub const SESSION: &str = "x-pointsman-session";

/// The revision that the caller believes the session to have.
pub const SESSION_REVISION: &str = "x-pointsman-session-revision";

/// `true`: the request is a run, which goes on whoever leaves, on the HTTP surfaces.
pub const DETACH: &str = "x-pointsman-detach";

/// `true` if the answer was asked for before, and is given again.
pub const REPEATED: &str = "x-pointsman-repeated";

/// The deadline of a call, as gRPC writes it.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Reads a `grpc-timeout`: at most eight digits and a unit
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>). `None` if it is something else.
pub fn parse_grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::parse_grpc_timeout;

    #[test]
    fn timeouts_are_read() {
        for (text, want) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("99999999M", Some(Duration::from_secs(99_999_999 * 60))),
            ("5S", Some(Duration::from_secs(5))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("123456789S", None),
            ("-1S", None),
            ("1.5S", None),
            ("1ä", None),
        ] {
            assert_eq!(parse_grpc_timeout(text), want, "{text:?}");
        }
    }
}
