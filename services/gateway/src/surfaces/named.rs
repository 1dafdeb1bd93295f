//! What every response names, on every surface and whatever becomes of the request.

use std::sync::Arc;

use pointsman_proto::metadata::{ATTEMPTS, DECISION_ID, POLICY_REVISION, REPEATED, REQUEST_ID, TRACE_ID};

use crate::exchange::Origins;

/// The names of a request, its trace, and what was decided about it.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) request: String,
    /// `None` until there is a trace.
    pub(crate) trace: Option<Arc<str>>,
    pub(crate) origins: Origins,
}

impl Named {
    /// Begins with an id of ours; the caller's takes its place once it was checked.
    pub(crate) fn new(request: String) -> Self {
        Self { request, trace: None, origins: Origins::default() }
    }

    /// Gives each header and its value.
    pub(crate) fn each(&self, mut put: impl FnMut(&'static str, &str)) {
        put(REQUEST_ID, &self.request);
        if let Some(trace) = &self.trace {
            put(TRACE_ID, trace);
        }
        let Origins { decision_id, policy_revision, trail, repeated } = &self.origins;
        if !decision_id.is_empty() {
            put(DECISION_ID, decision_id);
        }
        if !policy_revision.is_empty() {
            put(POLICY_REVISION, policy_revision);
        }
        if *repeated {
            put(REPEATED, "true");
        }
        if let Some(line) = trail.line() {
            put(ATTEMPTS, &line);
        }
    }
}
