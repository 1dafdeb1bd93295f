//! What every response names, on every surface and whatever becomes of the request.

use std::sync::Arc;

use http::HeaderMap;
use pointsman_proto::metadata::{REQUEST_ID, TRACE_ID};
use pointsman_telemetry::propagation;

use crate::attempt::unary::Unary;
use crate::caller::Caller;
use crate::exchange::unary::Asked;
use crate::metrics::SurfaceName;
use crate::span;
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

    /// Makes a call of what a surface has understood, and takes its names over.
    pub(crate) fn asks<C: Unary>(
        &mut self,
        surface: SurfaceName,
        caller: Caller,
        call: C,
        headers: &HeaderMap,
    ) -> Asked<C> {
        let about = call.about();
        let span = span::unary(&about, &caller, surface, headers);
        self.request = about.request_id.to_owned();
        self.trace = propagation::trace_id(&span).map(Into::into);
        let (trace, trail) = (self.trace.clone(), Arc::clone(&self.trail));
        Asked { surface, caller, call, deadline: None, span, trace, trail }
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
