//! The OpenAPI description of the whole surface (<https://spec.openapis.org/oas/v3.1.1>).
//!
//! It is written beside the parser, and what can be is made of what the parser itself goes by: the fields that are not
//! carried to a model, the reasons of errors, the names of headers. The tests hold the rest to the parser.
//!
//! What JSON Schema cannot say stands in the descriptions: lengths are in bytes of UTF-8, so that `maxLength` is the
//! limit for ASCII; names of tools differ from each other; a tool that is chosen by name is there.

mod answers;
mod errors;
mod headers;
mod messages;
mod paths;
mod requests;
mod schema;
#[cfg(test)]
mod tests;
mod tools;

use serde_json::{Value, json};

/// Returns the description, as JSON.
pub fn describe() -> Vec<u8> {
    let mut out = Vec::new();
    super::append(&mut out, &description());
    out
}

fn description() -> Value {
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Pointsman",
            "summary": "A serving mesh for language models, in OpenAI's format.",
            "description": "null is absent, in every field. What is not described here is refused by name unless it is null. \
                Lengths of texts are in bytes of UTF-8: maxLength is the limit for ASCII.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "servers": [{"url": "/", "description": "The gateway that gave this away."}],
        "security": [{"key": []}],
        "paths": paths::paths(),
        "components": {
            "schemas": schemas(),
            "responses": errors::responses(),
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of the mesh; anything, or nothing, where none is needed.",
                },
            },
        },
    })
}

fn schemas() -> Value {
    let parts = [requests::schemas(), messages::schemas(), tools::schemas(), answers::schemas(), errors::schemas()];
    Value::Object(parts.into_iter().flatten().collect())
}
