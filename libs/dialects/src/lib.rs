//! The wire formats of public APIs: their bytes to valid requests, and frames back to their bytes.
//!
//! Pure: no I/O, no clock, no async. The prost types are the domain model; what a dialect says has no
//! second copy here. Floor 3: sees `proto` and `errors`, and knows nothing of services.
//!
//! - [`openai`]: OpenAI's completions, whole and streamed, embeddings, errors and model list.
//!
//! A dialect takes what it knows, refuses the rest by name, and names every mistake of a request at once,
//! in the words of its own API.

mod json;
mod problems;

pub mod openai;
