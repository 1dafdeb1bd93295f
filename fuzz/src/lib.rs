//! What is held of everything that reads a stranger's bytes, as functions of any bytes: the targets of fuzzing.
//!
//! Each function in [`TARGETS`] panics where something does not hold that should, beside whatever panics by
//! itself. `cargo xtask fuzz` looks for bytes that bring one down (`fuzz_targets`, with libFuzzer);
//! `tests/replay.rs` gives each its kept bytes (`corpus`) on every run of the tests, and needs no libFuzzer.
//! What each holds stands in `docs/reference/fuzzing.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a target says what it found"
)]

mod condition;
mod contract;
mod headers;
mod openai;
mod policy;
mod script;
mod status;
mod stop;

pub use condition::condition;
pub use contract::{embed_and_count, generate};
pub use headers::headers;
pub use openai::answers::answers;
pub use openai::bodies::{chat, completions, embeddings, tokenize};
pub use policy::{policy_file, policy_message};
pub use script::script;
pub use status::status;
pub use stop::stop;

/// A name, and what is held of any bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, by the name of its corpus and of its program.
pub const TARGETS: &[Target] = &[
    ("answers", answers),
    ("chat", chat),
    ("completions", completions),
    ("condition", condition),
    ("embed_and_count", embed_and_count),
    ("embeddings", embeddings),
    ("generate", generate),
    ("headers", headers),
    ("policy_file", policy_file),
    ("policy_message", policy_message),
    ("script", script),
    ("status", status),
    ("stop", stop),
    ("tokenize", tokenize),
];
