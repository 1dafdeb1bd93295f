//! The catalogue of everything that can go wrong, and the one error that crosses service borders.
//!
//! A [`Reason`] says who is at fault, which gRPC code and HTTP status it has, and has a page in
//! `docs/errors`. An [`Error`] is a reason with a message for the caller; it becomes a
//! `google.rpc.Status` with one `ErrorInfo` (domain `pointsman`) and the details that apply, and is read
//! back from one. Internal text (paths, backtraces, hosts) never gets in: log it where it is handled.

mod error;
mod reason;

pub use error::Error;
pub use reason::{Fault, Reason};

/// The domain of every `ErrorInfo` of ours.
pub const DOMAIN: &str = "pointsman";
