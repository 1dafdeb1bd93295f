use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::{DOMAIN, Fault, Reason};

/// What gRPC's own retries heed (gRFC A6): milliseconds to wait, or -1 for never.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// An error as a caller may see it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} ({})", .0.message, .0.reason)]
pub struct Error(Box<Parts>);

// Errors are rare and travel in `Result`s everywhere: one pointer keeps those small.
#[derive(Clone, Debug)]
struct Parts {
    reason: Reason,
    message: String,
    retry_after: Option<Duration>,
    violations: Vec<FieldViolation>,
}

impl Error {
    /// Makes an error. The message says what happened and what to do, in a sentence for the caller.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self(Box::new(Parts { reason, message: message.into(), retry_after: None, violations: Vec::new() }))
    }

    /// Makes the error of a request with these violations, which are named in the message too.
    pub fn invalid(violations: Vec<FieldViolation>) -> Self {
        Self::with_violations(Reason::InvalidRequest, violations)
    }

    /// Makes the error of a request that asks for what the target cannot do.
    pub fn unsupported(violations: Vec<FieldViolation>) -> Self {
        Self::with_violations(Reason::UnsupportedField, violations)
    }

    /// The same with other violations, which are named in the message too.
    #[must_use]
    pub fn blaming(self, violations: Vec<FieldViolation>) -> Self {
        let blamed = Self::with_violations(self.0.reason, violations);
        Self(Box::new(Parts { retry_after: self.0.retry_after, ..*blamed.0 }))
    }

    fn with_violations(reason: Reason, violations: Vec<FieldViolation>) -> Self {
        let named: Vec<String> =
            violations.iter().map(|violation| format!("{}: {}", violation.field, violation.description)).collect();
        let mut error = Self::new(reason, named.join("; "));
        error.0.violations = violations;
        error
    }

    /// Adds how long to wait before the request is worth repeating.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Replaces the sentence for the caller.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.0.message = message.into();
        self
    }

    /// Returns what went wrong.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// Returns the sentence for the caller.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns how long to wait before the request is worth repeating, if that is known.
    pub fn retry_delay(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns the fields that are at fault, if fields are.
    pub fn violations(&self) -> &[FieldViolation] {
        &self.0.violations
    }

    /// Whether the same request would fail again, however long its caller waits.
    pub fn is_for_good(&self) -> bool {
        let is_callers = self.reason().fault() == Fault::Caller && self.retry_delay().is_none();
        is_callers || self.reason() == Reason::CancelledByOperator
    }

    /// How long gRPC's own retries are to wait, in milliseconds; negative: they are in vain. Nothing under codes that are
    /// not retried: a client would count it against its budget of retries, or retry because of it.
    fn pushback(&self) -> Option<i32> {
        if !matches!(self.reason().code(), Code::Unavailable | Code::ResourceExhausted) {
            return None;
        }
        if self.is_for_good() {
            return Some(-1);
        }
        // Never 0, which asks for a retry at once.
        let whole = |delay: Duration| delay.as_micros().div_ceil(1000).max(1);
        self.retry_delay().map(|delay| i32::try_from(whole(delay)).unwrap_or(i32::MAX))
    }

    /// Reads an error of ours back from a status. A status that is not ours becomes the reason that is
    /// nearest to its code; its text is kept only where a caller may see it.
    pub fn from_status(status: &Status) -> Self {
        Self::ours(status).unwrap_or_else(|| Self::foreign(status))
    }

    /// Reads an error of ours back from a status; `None` if the status is a transport's or a stranger's.
    pub fn ours(status: &Status) -> Option<Self> {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN)?;
        let mut error = Self::new(info.reason.parse().ok()?, status.message());
        error.0.retry_after = details.retry_info().and_then(|info| info.retry_delay);
        error.0.violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
        Some(error)
    }

    fn foreign(status: &Status) -> Self {
        match status.code() {
            Code::Cancelled => Self::new(Reason::Cancelled, "the call was cancelled"),
            Code::DeadlineExceeded => Self::new(Reason::DeadlineExceeded, "the deadline passed"),
            Code::OutOfRange => Self::new(Reason::RequestTooLarge, status.message()),
            Code::Unavailable => Self::new(Reason::InstanceUnreachable, "the instance cannot be reached; try again"),
            _ => Self::new(Reason::Internal, "the mesh failed; give its operators the request id"),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let pushback = error.pushback();
        let parts = *error.0;
        let mut details = ErrorDetails::new();
        details.set_error_info(parts.reason.name(), DOMAIN, std::collections::HashMap::new());
        if let Some(delay) = parts.retry_after {
            details.set_retry_info(Some(delay));
        }
        if !parts.violations.is_empty() {
            details.set_bad_request(parts.violations);
        }
        let mut status = Status::with_error_details(parts.reason.code(), parts.message, details);
        if let Some(pushback) = pushback {
            status.metadata_mut().insert(PUSHBACK, MetadataValue::from(pushback));
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::{Code, Status};
    use tonic_types::FieldViolation;

    use super::{Error, PUSHBACK};
    use crate::{Fault, Reason};

    #[test]
    fn errors_survive_the_wire() {
        for error in [
            Error::new(Reason::QueueFull, "wait").retry_after(Duration::from_millis(1500)),
            Error::invalid(vec![FieldViolation::new("model", "is empty"), FieldViolation::new("stop[0]", "is empty")]),
            Error::new(Reason::EngineLost, "try again"),
        ] {
            let back = Error::from_status(&Status::from(error.clone()));
            assert_eq!(format!("{back:?}"), format!("{error:?}"));
        }
    }

    #[test]
    fn what_grpc_clients_try_again_by_themselves_is_worth_it() {
        let file = "pointsman/inference/v1/service_config.json";
        let (_, config) = pointsman_proto::FILES.iter().find(|(path, _)| *path == file).unwrap();
        let config: serde_json::Value = serde_json::from_str(config).unwrap();
        let codes = &config["methodConfig"][0]["retryPolicy"]["retryableStatusCodes"];
        assert_eq!(*codes, serde_json::json!(["UNAVAILABLE", "RESOURCE_EXHAUSTED"]));
        let is_retried = |status: &Status| matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
        let is_tried_again = |status: &Status| {
            is_retried(status) && status.metadata().get(PUSHBACK).is_none_or(|pushback| pushback != "-1")
        };
        for &reason in Reason::ALL {
            let status = Status::from(Error::new(reason, ""));
            let told = Status::from(Error::new(reason, "").retry_after(Duration::from_secs(1)));
            assert_eq!(told.metadata().contains_key(PUSHBACK), is_retried(&told), "{reason}");
            let fails_again = matches!(
                reason,
                // The time is over, somebody wanted the end, or the same request does the same.
                Reason::DeadlineExceeded
                    | Reason::CancelledByOperator
                    | Reason::UsageNotKept
                    | Reason::Internal
                    | Reason::GenerationFailed
            );
            assert_eq!(is_tried_again(&status), reason.fault() != Fault::Caller && !fails_again, "{reason}");
        }
        for (delay, told) in [
            (Duration::from_millis(1500), "1500"),
            (Duration::from_micros(400), "1"),
            (Duration::from_secs(1 << 40), "2147483647"),
        ] {
            let hinted = Status::from(Error::new(Reason::QueueFull, "").retry_after(delay));
            assert_eq!(hinted.metadata().get(PUSHBACK).unwrap(), told);
        }
        assert!(Status::from(Error::new(Reason::EngineLost, "")).metadata().get(PUSHBACK).is_none());
    }

    #[test]
    fn a_foreign_status_keeps_its_text_to_itself() {
        let error = Error::from_status(&Status::new(Code::Unknown, "at /srv/x.rs:3"));
        assert_eq!((error.reason(), error.message().contains("/srv")), (Reason::Internal, false));
    }
}
