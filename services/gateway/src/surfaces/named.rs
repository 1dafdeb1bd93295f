//! What every response names, on every surface and whatever becomes of the request.

use std::sync::Arc;

use pointsman_proto::metadata::{REQUEST_ID, TRACE_ID};

use crate::trail::Trail;

/// The names of a request and of its trace, and how it came to its answer.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) request: String,
    /// `None` until there is a trace.
    pub(crate) trace: Option<Arc<str>>,
    pub(crate) trail: Arc<Trail>,
}

impl Named {
    /// Begins with an id of ours; the caller's takes its place once it was checked.
    pub(crate) fn new(request: String) -> Self {
        Self { request, trace: None, trail: Arc::default() }
    }

    /// Gives each header and its value.
    pub(crate) fn each(&self, mut put: impl FnMut(&'static str, &str)) {
        put(REQUEST_ID, &self.request);
        if let Some(trace) = &self.trace {
            put(TRACE_ID, trace);
        }
        self.trail.each(put);
    }
}
