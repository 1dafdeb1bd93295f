//! The description and the parser say the same.

mod fields;
mod places;
mod validity;

use pointsman_errors::{Error, Reason};
use serde_json::{Value, json};

use super::{description, errors};
use crate::openai::{
    Endpoint, parse_chat, parse_embeddings, parse_text, parse_tokenize, render_error, render_error_event,
};
use crate::problems::{related, without_later_indices};
use places::Place;
use validity::Schemas;

/// A request: the schema of its body, a body that fits whatever one field of it is changed to, and who reads it.
struct Request {
    schema: &'static str,
    body: Value,
    parse: fn(&[u8]) -> Result<(), Error>,
}

fn requests() -> Vec<Request> {
    let tools = json!([{"type": "function", "function": {"name": "weather"}}]);
    let messages = json!([{"role": "user", "content": "Hello"}]);
    let plain = json!({"model": "pip", "stream": true, "logprobs": true, "tools": tools, "messages": messages});
    vec![
        Request { schema: "ChatCompletionRequest", body: plain, parse: |body| parse_chat(body).map(drop) },
        Request {
            schema: "CompletionRequest",
            body: json!({"model": "pip", "prompt": "Hello", "stream": true}),
            parse: |body| parse_text(body).map(drop),
        },
        Request {
            schema: "EmbeddingsRequest",
            body: json!({"model": "e5", "input": "Hello"}),
            parse: |body| parse_embeddings(body).map(drop),
        },
        Request {
            schema: "TokenizeRequest",
            body: json!({"model": "pip", "messages": messages, "tools": tools}),
            parse: |body| parse_tokenize(body).map(drop),
        },
        Request {
            schema: "TokenizeRequest",
            body: json!({"model": "pip", "prompt": "Hello", "tools": tools}),
            parse: |body| parse_tokenize(body).map(drop),
        },
    ]
}

/// What JSON Schema cannot say.
const RULES_BETWEEN_FIELDS: [&str; 2] =
    ["names no tool of `tools`", "must be `n`: answers are not ranked; ask for more with `n`"];

/// What became of what was tried.
#[derive(Debug, Default)]
struct Found {
    taken: usize,
    refused: usize,
    mistakes: Vec<String>,
}

/// Tries each field with values around its limits and of every kind. What fits the description is taken, what does not is
/// refused, and the refusal names the field.
fn borders(request: &Request) -> Found {
    let description = description();
    let schemas = Schemas(&description);
    let schema = schemas.named(request.schema);
    let mut found = Found::default();
    places::each(schemas, Place::of(schema, request.body.clone()), &mut |place| {
        for value in places::candidates(schemas, place.schema) {
            let body = (place.put)(value.clone());
            let outcome = (request.parse)(&serde_json::to_vec(&body).unwrap());
            let mistake = match (schemas.fits(schema, &body), &outcome) {
                (true, Ok(())) => "",
                (false, Err(error)) if names(error, &place.path) || is_either(error, &place.path) => "",
                (true, Err(error)) if RULES_BETWEEN_FIELDS.contains(&description_of(error)) => "",
                (false, Err(_)) => "does not fit, and is refused for something else",
                (true, Err(_)) => "fits, and is refused",
                (false, Ok(())) => "does not fit, and is taken",
            };
            match outcome {
                Ok(()) => found.taken += 1,
                Err(_) => found.refused += 1,
            }
            if !mistake.is_empty() {
                let message = outcome.err().map(|error| error.message().to_owned()).unwrap_or_default();
                found.mistakes.push(format!("{} = {:.80} {mistake}: {message:.200}", place.path, value.to_string()));
            }
        }
    });
    found
}

fn description_of(error: &Error) -> &str {
    error.violations().first().map_or("", |violation| &violation.description)
}

/// Whether an error is about a field, or something in it. Rules of the contract know the first index only.
fn names(error: &Error, path: &str) -> bool {
    let mut fields = error.violations().iter().map(|violation| &violation.field);
    fields.any(|field| related(field, path) || related(field, &without_later_indices(path)))
}

/// Whether an error and a place are about the two fields that stand for each other.
fn is_either(error: &Error, path: &str) -> bool {
    const EITHER: [&str; 2] = ["messages", "prompt"];
    EITHER.contains(&path) && EITHER.iter().any(|field| names(error, field))
}

#[test]
fn a_chat_that_fits_is_taken_and_one_that_does_not_is_refused() {
    what_fits_is_taken("ChatCompletionRequest");
}

#[test]
fn a_text_that_fits_is_taken_and_one_that_does_not_is_refused() {
    what_fits_is_taken("CompletionRequest");
    what_fits_is_taken("EmbeddingsRequest");
}

#[test]
fn a_count_that_fits_is_taken_and_one_that_does_not_is_refused() {
    what_fits_is_taken("TokenizeRequest");
}

fn what_fits_is_taken(schema: &str) {
    for request in requests().into_iter().filter(|request| request.schema == schema) {
        let found = borders(&request);
        assert!(found.mistakes.is_empty(), "{}:\n{}", request.schema, found.mistakes.join("\n"));
        assert!(found.taken > 50 && found.refused > 50, "{found:?}");
    }
}

#[test]
fn every_error_is_described() {
    let description = description();
    let schemas = Schemas(&description);
    for reason in errors::asked() {
        let error = Error::new(reason, "no");
        let (status, body) = render_error(Endpoint::Chat, &error);
        let response = &description["components"]["responses"][format!("Error{status}")];
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert!(schemas.fits(&response["content"]["application/json"]["schema"], &body), "{body}");
        let header = &response["headers"]["x-pointsman-reason"]["schema"];
        assert!(schemas.fits(header, &reason.name().into()), "{reason}");
        assert!(!schemas.fits(header, &"NO_REASON".into()));
        for (path, operations) in description["paths"].as_object().unwrap() {
            if let Some(post) = operations.get("post") {
                assert!(post["responses"].get(status.to_string()).is_some(), "{path} has no {status}");
            }
        }
        let event = String::from_utf8(render_error_event(Endpoint::Chat, &error, "7")).unwrap();
        let event: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        assert!(schemas.fits(schemas.named("ErrorEvent"), &event), "{event}");
    }
    assert!(errors::asked().any(|reason| reason == Reason::QueueFull));
}

#[test]
fn the_description_leads_nowhere_else() {
    let description = description();
    let text = description.to_string();
    let named = text.split(r##""$ref":"#"##).skip(1).map(|rest| rest.split('"').next().unwrap());
    let dangling: Vec<&str> = named.filter(|path| description.pointer(path).is_none()).collect();
    assert_eq!(dangling, Vec::<&str>::new());
    let components = description["components"]["schemas"].as_object().unwrap();
    let unused: Vec<&String> =
        components.keys().filter(|name| !text.contains(&format!("#/components/schemas/{name}\""))).collect();
    assert_eq!(unused, Vec::<&String>::new());
}
