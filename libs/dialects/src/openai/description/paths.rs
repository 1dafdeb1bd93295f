//! The paths, what they take and what they answer.

use pointsman_errors::Reason;
use serde_json::{Map, Value, json};

use super::schema::reference;
use super::{errors, headers};

pub(super) fn paths() -> Value {
    json!({
        "/v1/chat/completions": {"post": generating(Call {
            id: "createChatCompletion",
            summary: "Answers a conversation, whole or as events.",
            request: "ChatCompletionRequest",
            answer: "ChatCompletion",
        }, "ChatCompletionChunk")},
        "/v1/completions": {"post": generating(Call {
            id: "createCompletion",
            summary: "Answers one text, whole or as events.",
            request: "CompletionRequest",
            answer: "Completion",
        }, "CompletionChunk")},
        "/v1/embeddings": {"post": unary(Call {
            id: "createEmbeddings",
            summary: "Embeds texts.",
            request: "EmbeddingsRequest",
            answer: "Embeddings",
        })},
        "/v1/tokenize": {"post": unary(Call {
            id: "countTokens",
            summary: "Counts the tokens of a prompt, template included.",
            request: "TokenizeRequest",
            answer: "TokenCount",
        })},
        "/v1/models": {"get": reading("listModels", "Lists what may be asked for.", "ModelList")},
        "/v1/models/{model}": {"get": one_model()},
        "/openapi.json": {"get": {
            "operationId": "describe",
            "summary": "Gives this description.",
            "security": [],
            "responses": {"200": {
                "description": "An OpenAPI description.",
                "content": {"application/json": {"schema": {"type": "object", "required": ["openapi"]}}},
            }},
        }},
    })
}

/// A call with a body.
struct Call<'a> {
    id: &'a str,
    summary: &'a str,
    request: &'a str,
    answer: &'a str,
}

impl Call<'_> {
    fn operation(&self, mut parameters: Vec<Value>, answer: Value) -> Value {
        parameters.extend(headers::of_traces());
        json!({
            "operationId": self.id,
            "summary": self.summary,
            "parameters": parameters,
            "requestBody": {
                "required": true,
                "content": {"application/json": {"schema": reference(self.request)}},
            },
            "responses": responses(answer, errors::asked()),
        })
    }
}

fn generating(call: Call<'_>, chunk: &str) -> Value {
    let mut answered = headers::of_generated();
    for (name, value) in [("cache-control", "no-cache"), ("x-accel-buffering", "no")] {
        answered[name] = json!({"description": "Of events.", "schema": {"type": "string", "const": value}});
    }
    let answer = json!({
        "description": "The answer: whole, or as events with `stream`.",
        "headers": answered,
        "content": {
            "application/json": {"schema": reference(call.answer)},
            "text/event-stream": {"schema": event(chunk)},
        },
    });
    let parameters = [headers::of_kept(), headers::of_sessions()].concat();
    call.operation(parameters, answer)
}

/// One event of a stream: a piece of JSON, or the word that the answer is complete.
fn event(chunk: &str) -> Value {
    let piece = json!({
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": [reference(chunk), reference("ErrorEvent")]},
    });
    json!({
        "type": "object",
        "description": "One event. An error is the last one; `[DONE]` is sent if, and only if, the answer is complete.",
        "required": ["data"],
        "properties": {
            "data": {"anyOf": [{"const": "[DONE]"}, piece]},
            "id": {"type": "string", "description": "Where the request has an idempotency-key or a resume window."},
        },
    })
}

fn unary(call: Call<'_>) -> Value {
    let answer = json!({
        "description": "The answer.",
        "headers": headers::of_work(),
        "content": {"application/json": {"schema": reference(call.answer)}},
    });
    call.operation(headers::of_names(), answer)
}

fn reading(id: &str, summary: &str, answer: &str) -> Value {
    let answer = json!({
        "description": "The answer.",
        "headers": headers::of_answers(),
        "content": {"application/json": {"schema": reference(answer)}},
    });
    json!({
        "operationId": id,
        "summary": summary,
        "responses": responses(answer, errors::UNASKED.into_iter()),
    })
}

fn one_model() -> Value {
    let mut operation = reading("retrieveModel", "Says what a model can do.", "Model");
    operation["parameters"] = json!([{
        "name": "model",
        "in": "path",
        "required": true,
        "description": "A name of GET /v1/models, or a target's, such as models/pip/versions/1.",
        "schema": {"type": "string", "minLength": 1},
    }]);
    let reasons = errors::UNASKED.into_iter().chain([Reason::ModelNotFound]);
    if let Value::Object(refused) = &mut operation["responses"] {
        refused.extend(errors::responses_of(reasons));
    }
    operation
}

fn responses(answer: Value, refused: impl Iterator<Item = Reason>) -> Value {
    let mut responses = Map::from_iter([("200".to_owned(), answer)]);
    responses.extend(errors::responses_of(refused));
    Value::Object(responses)
}
