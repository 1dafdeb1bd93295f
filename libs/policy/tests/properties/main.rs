//! What holds for every policy, fleet and request.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod picks;
mod plans;
mod problems;
mod random;
mod stickiness;
mod weights;
