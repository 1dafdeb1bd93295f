//! Policy: which target a request goes to, and which instance of it, decided in process in microseconds.
//!
//! Pure: no clock, no I/O, no lock. Time and chance are arguments, so that a decision can be repeated from
//! its record. Floor 3: knows the contract, nothing of connections.
//!
//! - [`source`]: a policy file to a [`Policy`](pointsman_proto::policy::v1::Policy), with lines and columns.
//! - [`compile`]: a `Policy` to a [`CompiledPolicy`], or every mistake in it.
//! - [`condition`], [`facts`]: CEL over what is known of a request.
//! - [`decide`]: constraints → rule → split → ordered targets, as a [`Decision`].
//! - [`pick`]: filter → score → pick among the instances of one target, at the time of an attempt.

pub mod compile;
pub mod condition;
pub mod decide;
pub mod facts;
pub mod fleet;
pub mod pick;
pub mod rule;
pub mod source;

mod cause;
mod hash;
mod near;
mod unserved;

pub use cause::{Cause, Causes, cause_of};
pub use compile::{CompiledPolicy, compile};
pub use decide::{Decision, decide};
pub use facts::{Fact, Facts, estimate_tokens};
pub use fleet::Fleet;
pub use near::nearest;
pub use pick::{Candidate, pick};
pub use rule::Rule;
pub use unserved::Unserved;
