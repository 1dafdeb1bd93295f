//! The mesh as its users see it: real processes, real sockets, official client libraries.
//!
//! The tests are one program, `tests/mesh`; there is nothing to link against here. They run the `pointsman`
//! binary that `cargo xtask test` built, so this package does not link the engine.
