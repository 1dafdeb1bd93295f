//! Embeddings: bodies in, lists out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pointsman_dialects::openai::{Encoding, parse_embeddings, render_embeddings};
use pointsman_errors::Reason::{self, InvalidRequest, UnsupportedField};
use pointsman_proto::inference::v1::{EmbedRequest, EmbedResponse, Embedding, Started, Usage};
use proptest::prelude::*;
use serde_json::{Value, json};

fn body(fields: &Value) -> Vec<u8> {
    let mut body = json!({"model": "e5", "input": "Hello"});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    serde_json::to_vec(&body).unwrap()
}

fn check(fields: Value, encoding: Encoding, change: fn(&mut EmbedRequest)) {
    let parsed = parse_embeddings(&body(&fields)).unwrap_or_else(|error| panic!("{fields} is refused: {error}"));
    let inputs = vec!["Hello".to_owned()];
    let mut want = EmbedRequest { model: "e5".to_owned(), inputs, ..EmbedRequest::default() };
    change(&mut want);
    assert_eq!((parsed.request.into_inner(), parsed.encoding), (want, encoding), "{fields}");
}

fn check_refused(fields: Value, reason: Reason, parameters: &[&str]) {
    let error = parse_embeddings(&body(&fields)).err().unwrap_or_else(|| panic!("{fields} is taken"));
    let found: Vec<&str> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!((error.reason(), found.as_slice()), (reason, parameters), "{fields}: {error}");
}

#[test]
fn fields_become_the_contract() {
    check(json!({}), Encoding::Float, |_| {});
    check(json!({"encoding_format": "float", "dimensions": null}), Encoding::Float, |_| {});
    check(json!({"encoding_format": "base64"}), Encoding::Base64, |_| {});
    check(json!({"input": ["a", "b"], "dimensions": 8}), Encoding::Float, |r| {
        (r.inputs, r.dimensions) = (vec!["a".to_owned(), "b".to_owned()], Some(8));
    });
    check(json!({"user": "u", "metadata": {"team": "blue"}}), Encoding::Float, |r| {
        r.end_user = "u".to_owned();
        r.labels = [("team".to_owned(), "blue".to_owned())].into();
    });
}

#[test]
fn mistakes_are_named() {
    check_refused(json!({"input": [1, 2]}), UnsupportedField, &["input"]);
    check_refused(json!({"input": [[1], [2]]}), UnsupportedField, &["input"]);
    check_refused(json!({"input": null}), InvalidRequest, &["input"]);
    check_refused(json!({"input": 7}), InvalidRequest, &["input"]);
    check_refused(json!({"input": []}), InvalidRequest, &["input"]);
    check_refused(json!({"input": ["a", "", null]}), InvalidRequest, &["input[2]", "input[1]"]);
    check_refused(json!({ "input": vec!["a"; 2049] }), InvalidRequest, &["input"]);
    check_refused(json!({"encoding_format": "int8"}), InvalidRequest, &["encoding_format"]);
    check_refused(
        json!({"dimensions": 0, "model": "", "truncate": true}),
        InvalidRequest,
        &["truncate", "model", "dimensions"],
    );
    check_refused(json!({"inputs": ["a"]}), InvalidRequest, &["input"]);
}

fn response(vectors: Vec<Vec<f32>>, input_tokens: Option<u32>) -> EmbedResponse {
    let numbered = (0..).zip(vectors);
    EmbedResponse {
        started: Some(Started { model: "e5".to_owned(), ..Started::default() }),
        embeddings: numbered.map(|(index, values)| Embedding { index, values }).collect(),
        usage: Some(Usage { input_tokens, output_tokens: Some(0), ..Usage::default() }),
    }
}

fn rendered(response: &EmbedResponse, encoding: Encoding) -> Value {
    serde_json::from_slice(&render_embeddings(response, encoding)).unwrap()
}

#[test]
fn embeddings_are_a_list() {
    let response = response(vec![vec![0.5, -1.0], vec![0.25]], Some(3));
    let want = json!({
        "object": "list", "model": "e5", "usage": {"prompt_tokens": 3, "total_tokens": 3},
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, -1.0]},
            {"object": "embedding", "index": 1, "embedding": [0.25]},
        ],
    });
    assert_eq!(rendered(&response, Encoding::Float), want);
    // 0x3f000000 and 0xbf800000, least byte first.
    assert_eq!(rendered(&response, Encoding::Base64)["data"][0]["embedding"], "AAAAPwAAgL8=");
}

#[test]
fn what_is_not_known_is_not_zero() {
    assert_eq!(rendered(&response(vec![], None), Encoding::Float)["usage"], Value::Null);
}

proptest! {
    #[test]
    fn both_encodings_keep_every_number(values in prop::collection::vec(-1e3_f32..1e3, 1..20)) {
        let response = response(vec![values.clone()], Some(1));
        let floats = rendered(&response, Encoding::Float)["data"][0]["embedding"].clone();
        let floats: Vec<f32> = floats.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect();
        let text = rendered(&response, Encoding::Base64)["data"][0]["embedding"].clone();
        let bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
        let decoded: Vec<f32> = bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        prop_assert_eq!(&floats, &values);
        prop_assert_eq!(&decoded, &values);
    }
}
