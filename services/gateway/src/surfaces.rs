//! The public surfaces: each reads a request from its wire, and writes an answer to it.

pub(crate) mod contract;
pub(crate) mod grpc;
pub(crate) mod named;
pub(crate) mod openai;
pub(crate) mod sessions;
