//! What an error says of which the script gives the reason alone.

use pointsman_errors::Reason;

/// Says that the script is behind it, what it stands for, and what the caller does about it: the last in the words of
/// the reason's page.
pub(super) fn default_message(reason: Reason) -> String {
    format!("the script answers with {reason}: {}", advice(reason))
}

fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::InvalidRequest => "change the request, the same one fails again",
        Reason::UnsupportedField => "leave out what the model cannot do, or choose another model",
        Reason::ContextTooLong => "drop or summarise old messages, or choose a model with a longer context",
        Reason::RequestTooLarge => "send less, such as fewer old messages",
        Reason::KeyInvalid => "send a key that the gateway knows",
        Reason::ScopeMissing => "use a key with the scope, or ask the operators for one",
        Reason::MeshContextRefused => "leave the mesh context out, and authenticate with a key",
        Reason::OriginRefused => "call from outside of a browser, or have the page's origin allowed",
        Reason::ModelNotFound => "take a name from the list of models",
        Reason::RouteNotFound => "check the base URL of your library",
        Reason::MethodNotAllowed => "use a method that the path takes",
        Reason::TraceNotFound | Reason::RequestNotFound => "check the id, and ask the process that has it",
        Reason::Cancelled => "look at your own timeouts, unless you meant to leave",
        Reason::DeadlineExceeded => "give more time, ask for fewer tokens, or use what a stream has brought",
        Reason::QueueFull | Reason::RateLimited | Reason::Overloaded | Reason::NoInstanceReady => {
            "wait a while, at least as long as a retry hint says, and try again"
        }
        Reason::ShuttingDown => "throw away what has come, and try again: another instance answers",
        Reason::EngineLost | Reason::StreamTruncated => "what has come is not whole; throw it away and try again",
        Reason::InstanceUnreachable | Reason::AttemptTimeout => "try again",
        Reason::NoRuleApplies => "send the labels, the data class or the end user that the model's rules ask for",
        Reason::NoTargetAllowed => "ask for another model, or send the request where its data may be",
        Reason::CancelledByOperator => "do not send it again before the operators say so",
        Reason::ContentRefused => "change the content, or ask for a model with other rules",
        Reason::UsageSpoolFull => "try again: another gateway may have room",
        Reason::UsageNotKept => "ask a gateway that keeps usage",
        Reason::RequestIdReused => "give every request an id of its own, or none",
        Reason::FrameLogLost => "ask again with a new request id, if you still want it",
        Reason::SessionNotFound | Reason::BindingNotFound | Reason::TurnNotFound => {
            "check the name, and list what there is"
        }
        Reason::SessionExists => "choose another id, or use the session that there is",
        Reason::TurnInProgress => "send it again when the other turn has ended",
        Reason::TurnConflict => "read the session, and send the turn again",
        Reason::TurnMerged => "show the answer of the turn that has the messages",
        Reason::TurnInterrupted => "nothing: what was heard of the answer is kept",
        Reason::RunNotFound => "look at the session's runs, and name one of them",
        Reason::RunFailed => "ask again with a new request id, if a second answer does no harm",
        Reason::RunCancelled => "nothing, or ask again with a new request id",
        Reason::TurnSuperseded => "show the answer of the later turn",
        Reason::SessionLimitReached => "raise the session's limits, or fork it at an earlier turn",
        Reason::SessionsUnavailable => "try again; with a request id a turn is kept once",
        Reason::SessionsNotServed => "leave the session out, or ask the operators for a store",
        Reason::GenerationFailed => "try once more; if it fails again, give the operators the trace id",
        Reason::Internal => "give the operators the trace id",
    }
}
