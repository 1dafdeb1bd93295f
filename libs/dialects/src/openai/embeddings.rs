//! Embeddings (`POST /v1/embeddings`).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pointsman_errors::Error;
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{EmbedRequest, EmbedResponse, Embedding, Usage};
use serde::{Serialize, Serializer};

use super::append;
use super::generation;
use super::parameter::embeddings_parameter;
use super::read::{check, read};
use super::texts::Texts;
use crate::json::object::object;
use crate::json::{Given, Pairs};
use crate::problems::Problems;

object! {
    EmbeddingsBody {
        model: String,
        input: Texts,
        encoding_format: Cow<'de, str>,
        dimensions: u32,
        user: String,
        metadata: Pairs<String>,
    }
}

/// Embeddings that were asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingsRequest {
    /// What to embed.
    pub request: Valid<EmbedRequest>,
    /// How the numbers are written.
    pub encoding: Encoding,
}

/// How the numbers of an embedding are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As JSON numbers.
    #[default]
    Float,
    /// As base64 of 32-bit floats, little-endian, one after the other.
    Base64,
}

/// Reads the body of `POST /v1/embeddings`. Fails with every mistake in it, like [`parse_chat`](super::parse_chat).
pub fn parse_embeddings(body: &[u8]) -> Result<EmbeddingsRequest, Error> {
    let body: EmbeddingsBody<'_> = read(body, "`model` and `input`")?;
    let mut problems = Problems::default();
    let p = &mut problems;
    let encoding = encoding(body.encoding_format, p);
    let request = EmbedRequest {
        model: body.model.take("model", p).unwrap_or_default(),
        inputs: Texts::take(body.input, "input", p).unwrap_or_default(),
        dimensions: body.dimensions.take("dimensions", p),
        labels: generation::labels(body.metadata, p),
        end_user: body.user.take("user", p).unwrap_or_default(),
        ..EmbedRequest::default()
    };
    body.others.check("", &[], embeddings_parameter, p);
    Ok(EmbeddingsRequest { request: check(request, problems, embeddings_parameter)?, encoding })
}

fn encoding(given: Given<Cow<'_, str>>, problems: &mut Problems) -> Encoding {
    match given.take("encoding_format", problems).as_deref() {
        None | Some("float") => Encoding::Float,
        Some("base64") => Encoding::Base64,
        Some(_) => {
            problems.invalid("encoding_format", "must be float or base64");
            Encoding::Float
        }
    }
}

/// Renders embeddings as a list, in their order.
pub fn render_embeddings(response: &EmbedResponse, encoding: Encoding) -> Vec<u8> {
    let data = response.embeddings.iter().map(|embedding| EmbeddingBody::of(embedding, encoding)).collect();
    let model = response.started.as_ref().map_or("", |started| &started.model);
    let usage = response.usage.as_ref().and_then(UsageBody::of);
    let mut out = Vec::new();
    append(&mut out, &List { object: "list", data, model, usage });
    out
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<EmbeddingBody<'a>>,
    model: &'a str,
    usage: Option<UsageBody>,
}

#[derive(Serialize)]
struct EmbeddingBody<'a> {
    object: &'static str,
    index: u32,
    embedding: Values<'a>,
}

impl<'a> EmbeddingBody<'a> {
    fn of(embedding: &'a Embedding, encoding: Encoding) -> Self {
        Self { object: "embedding", index: embedding.index, embedding: Values(&embedding.values, encoding) }
    }
}

struct Values<'a>(&'a [f32], Encoding);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.1 {
            Encoding::Float => serializer.collect_seq(self.0),
            Encoding::Base64 => {
                let bytes: Vec<u8> = self.0.iter().flat_map(|value| value.to_le_bytes()).collect();
                serializer.serialize_str(&STANDARD.encode(bytes))
            }
        }
    }
}

#[derive(Serialize)]
struct UsageBody {
    prompt_tokens: u32,
    total_tokens: u32,
}

impl UsageBody {
    /// `None` if it is not known: an unknown number is never zero.
    fn of(usage: &Usage) -> Option<Self> {
        usage.input_tokens.map(|tokens| Self { prompt_tokens: tokens, total_tokens: tokens })
    }
}
