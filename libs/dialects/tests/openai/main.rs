//! What callers of the OpenAI surface see: bodies in, bytes out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its own functions too")]

mod answers;
mod embeddings;
mod errors;
mod messages;
mod requests;
mod text;
mod tokenize;
