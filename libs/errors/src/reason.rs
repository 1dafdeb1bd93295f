use std::fmt;
use std::str::FromStr;

use http::StatusCode;
use tonic::Code;

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller: the same request fails again.
    Caller,
    /// Nobody: capacity or time ran out; the same request may succeed later.
    Capacity,
    /// The operators of the mesh.
    Mesh,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $code:ident, $http:literal, $fault:ident;)+) => {
        /// What went wrong. Each has a page: `docs/errors/{name}.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $variant,)+
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)+];

            /// Returns the name that goes over the wire, such as `QUEUE_FULL`.
            pub fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)+ }
            }

            /// Returns the gRPC code.
            pub fn code(self) -> Code {
                match self { $(Reason::$variant => Code::$code,)+ }
            }

            /// Returns the HTTP status.
            pub fn http_status(self) -> StatusCode {
                let status = match self { $(Reason::$variant => $http,)+ };
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// Returns who has to act.
            pub fn fault(self) -> Fault {
                match self { $(Reason::$variant => Fault::$fault,)+ }
            }
        }
    };
}

reasons! {
    /// A field has a value that is not allowed. Every violation is listed.
    InvalidRequest = "INVALID_REQUEST", InvalidArgument, 400, Caller;
    /// The request asks for something that the target cannot do.
    UnsupportedField = "UNSUPPORTED_FIELD", Unimplemented, 400, Caller;
    /// The prompt leaves no room for an answer.
    ContextTooLong = "CONTEXT_TOO_LONG", InvalidArgument, 400, Caller;
    /// The request has more bytes than the surface takes.
    RequestTooLarge = "REQUEST_TOO_LARGE", ResourceExhausted, 413, Caller;
    /// The mesh needs a key, and the request has none or an unknown one.
    KeyInvalid = "KEY_INVALID", Unauthenticated, 401, Caller;
    /// The key does not have the scope that the call needs.
    ScopeMissing = "SCOPE_MISSING", PermissionDenied, 403, Caller;
    /// A mesh context was sent to a public listener.
    MeshContextRefused = "MESH_CONTEXT_REFUSED", PermissionDenied, 403, Caller;
    /// A web page sent the request that may not call, or may have.
    OriginRefused = "ORIGIN_REFUSED", PermissionDenied, 403, Caller;
    /// No model of that name is served here.
    ModelNotFound = "MODEL_NOT_FOUND", NotFound, 404, Caller;
    /// The surface has no such path, or no such gRPC method.
    RouteNotFound = "ROUTE_NOT_FOUND", Unimplemented, 404, Caller;
    /// The path takes other HTTP methods than this one.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", Unimplemented, 405, Caller;
    /// No recent trace has that id.
    TraceNotFound = "TRACE_NOT_FOUND", NotFound, 404, Caller;
    /// The caller went away.
    Cancelled = "CANCELLED", Cancelled, 499, Caller;
    /// The caller's deadline passed.
    DeadlineExceeded = "DEADLINE_EXCEEDED", DeadlineExceeded, 504, Capacity;
    /// The admission queue has no place left.
    QueueFull = "QUEUE_FULL", ResourceExhausted, 429, Capacity;
    /// The process is going down and takes nothing new, or ends what it could not finish.
    ShuttingDown = "SHUTTING_DOWN", Unavailable, 503, Capacity;
    /// The model is known, but no instance of it is ready.
    NoInstanceReady = "NO_INSTANCE_READY", Unavailable, 503, Capacity;
    /// The connection to the chosen instance failed before it answered.
    InstanceUnreachable = "INSTANCE_UNREACHABLE", Unavailable, 503, Mesh;
    /// The engine died and took the generation with it.
    EngineLost = "ENGINE_LOST", Unavailable, 503, Mesh;
    /// The stream of the instance ended before its last frame.
    StreamTruncated = "STREAM_TRUNCATED", Unavailable, 502, Mesh;
    /// No rule of the virtual model applies to the request.
    NoRuleApplies = "NO_RULE_APPLIES", NotFound, 404, Caller;
    /// The request may not run in any zone that has an instance of the model.
    NoTargetAllowed = "NO_TARGET_ALLOWED", FailedPrecondition, 403, Caller;
    /// This process is not answering a request with that id.
    RequestNotFound = "REQUEST_NOT_FOUND", NotFound, 404, Caller;
    /// An operator ended the request.
    CancelledByOperator = "CANCELLED_BY_OPERATOR", Aborted, 503, Mesh;
    /// The key has used up what it may use for the moment.
    RateLimited = "RATE_LIMITED", ResourceExhausted, 429, Capacity;
    /// The mesh has too much to do for a request of this priority.
    Overloaded = "OVERLOADED", ResourceExhausted, 429, Capacity;
    /// The target refused the content.
    ContentRefused = "CONTENT_REFUSED", FailedPrecondition, 400, Caller;
    /// An instance was too slow, by the policy's timeouts.
    AttemptTimeout = "ATTEMPT_TIMEOUT", Unavailable, 504, Mesh;
    /// The gateway has no room to record what a request consumes.
    UsageSpoolFull = "USAGE_SPOOL_FULL", Unavailable, 503, Mesh;
    /// This process keeps no usage records.
    UsageNotKept = "USAGE_NOT_KEPT", FailedPrecondition, 409, Mesh;
    /// Another request has this id.
    RequestIdReused = "REQUEST_ID_REUSED", AlreadyExists, 409, Caller;
    /// The frames of the request are not, or no longer, kept.
    FrameLogLost = "FRAME_LOG_LOST", FailedPrecondition, 409, Caller;
    /// There is no session of that name.
    SessionNotFound = "SESSION_NOT_FOUND", NotFound, 404, Caller;
    /// There is a session of that name already.
    SessionExists = "SESSION_EXISTS", AlreadyExists, 409, Caller;
    /// The person has no session in that channel.
    BindingNotFound = "BINDING_NOT_FOUND", NotFound, 404, Caller;
    /// The session has no such turn.
    TurnNotFound = "TURN_NOT_FOUND", NotFound, 404, Caller;
    /// Another turn of the session runs, and the session lets none wait.
    TurnInProgress = "TURN_IN_PROGRESS", Aborted, 409, Caller;
    /// The session is not, or not any more, where the caller believes it to be.
    TurnConflict = "TURN_CONFLICT", Aborted, 409, Caller;
    /// A later turn of the session took the place of this one.
    TurnSuperseded = "TURN_SUPERSEDED", Aborted, 409, Caller;
    /// The messages are answered in the turn of another request.
    TurnMerged = "TURN_MERGED", Aborted, 409, Caller;
    /// The caller, or somebody for them, broke the turn off.
    TurnInterrupted = "TURN_INTERRUPTED", Aborted, 409, Caller;
    /// The session has no such run.
    RunNotFound = "RUN_NOT_FOUND", NotFound, 404, Caller;
    /// The run came to no whole answer, and is not begun again.
    RunFailed = "RUN_FAILED", FailedPrecondition, 409, Caller;
    /// Somebody cancelled the run.
    RunCancelled = "RUN_CANCELLED", Aborted, 409, Caller;
    /// The session has as many turns, or bytes, as it may have.
    SessionLimitReached = "SESSION_LIMIT_REACHED", FailedPrecondition, 409, Caller;
    /// The session store, or what it depends on, cannot be reached.
    SessionsUnavailable = "SESSIONS_UNAVAILABLE", Unavailable, 503, Mesh;
    /// This gateway has no session store.
    SessionsNotServed = "SESSIONS_NOT_SERVED", Unimplemented, 400, Caller;
    /// The engine failed this request.
    GenerationFailed = "GENERATION_FAILED", Internal, 500, Mesh;
    /// Something that should not happen did.
    Internal = "INTERNAL", Internal, 500, Mesh;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Reason {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_reason_has_its_page_and_every_page_its_reason() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors");
        let mut pages: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "README.md")
            .collect();
        pages.sort();
        let mut reasons: Vec<String> = Reason::ALL.iter().map(|reason| format!("{reason}.md")).collect();
        reasons.sort();
        assert_eq!(pages, reasons);
        for reason in Reason::ALL {
            let page = std::fs::read_to_string(format!("{folder}/{reason}.md")).unwrap();
            let code = format!("{:?}", reason.code());
            for fact in [reason.name(), code.as_str(), reason.http_status().as_str()] {
                assert!(page.contains(fact), "docs/errors/{reason}.md does not say {fact}");
            }
        }
    }
}
