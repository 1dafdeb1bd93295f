//! Bodies of requests.

use pointsman_dialects::openai::{
    Encoding, Endpoint, parse_chat, parse_embeddings, parse_text, parse_tokenize, render_embeddings, render_tokenize,
};
use pointsman_proto::inference::v1::{CountTokensResponse, EmbedResponse, Embedding};
use serde_json::Value;

use super::{check_refusal, write};
use crate::contract::{check, check_generate, nearly};

/// The body of a chat completion: what is taken keeps the rules of the contract and, written as a client would, means the
/// same; what is refused is refused as every body is.
pub fn chat(data: &[u8]) {
    let read = match parse_chat(data) {
        Err(error) => return check_refusal(Endpoint::Chat, &error, data),
        Ok(read) => read,
    };
    check_generate(&read.request);
    let written = write::chat(&read);
    let again = parse_chat(&written).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&written)));
    assert!(nearly(&read, &again), "{read:?}\n{again:?}");
}

/// The body of a completion of a text, held to the same.
pub fn completions(data: &[u8]) {
    let read = match parse_text(data) {
        Err(error) => return check_refusal(Endpoint::Completions, &error, data),
        Ok(read) => read,
    };
    check_generate(&read.request);
    let written = write::completions(&read);
    let again = parse_text(&written).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&written)));
    assert!(nearly(&read, &again), "{read:?}\n{again:?}");
}

/// The body of a count of tokens, held to the same.
pub fn tokenize(data: &[u8]) {
    let read = match parse_tokenize(data) {
        Err(error) => return check_refusal(Endpoint::Tokenize, &error, data),
        Ok(read) => read,
    };
    let written = write::tokenize(read.request.as_ref().expect("it was valid"));
    let again = parse_tokenize(&written).unwrap_or_else(|error| panic!("{error}"));
    assert!(nearly(&read, &again), "{read:?}\n{again:?}");
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let counted = CountTokensResponse { prompt_tokens: length, context_tokens: length % 2, ..Default::default() };
    let counted: Value = serde_json::from_slice(&render_tokenize(&counted)).expect("a count is JSON");
    assert_eq!(counted["count"], length);
    check_generate(&read.into_request());
}

/// The body of a request to embed, held to the same; and an answer to it, whose numbers are the bytes of the body.
pub fn embeddings(data: &[u8]) {
    let read = match parse_embeddings(data) {
        Err(error) => return check_refusal(Endpoint::Embeddings, &error, data),
        Ok(read) => read,
    };
    check(read.request.clone().into_inner(), "EmbedRequest").expect("it was valid");
    let written = write::embeddings(&read);
    let again = parse_embeddings(&written).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(read, again);
    check_answer(data, read.encoding);
}

fn check_answer(data: &[u8], encoding: Encoding) {
    let values: Vec<f32> =
        data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).filter(|value| value.is_finite()).collect();
    let embeddings = vec![Embedding { index: 0, values: values.clone() }];
    let response = EmbedResponse { embeddings, ..EmbedResponse::default() };
    let answer: Value = serde_json::from_slice(&render_embeddings(&response, encoding)).expect("an answer is JSON");
    let told: Vec<f32> = match &answer["data"][0]["embedding"] {
        Value::String(text) => {
            let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).expect("base64");
            bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
        Value::Array(numbers) => numbers.iter().map(|number| number.as_f64().expect("a number") as f32).collect(),
        other => panic!("{other}"),
    };
    assert_eq!(told, values);
}
