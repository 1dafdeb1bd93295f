use pointsman_proto::inference::v1::TokenLogprob;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::openai::logprobs::finite;

/// Log-probabilities as this API writes them: lists, an entry for each token.
#[derive(Serialize)]
pub(super) struct TextLogprobs<'a> {
    tokens: Vec<&'a str>,
    token_logprobs: Vec<f64>,
    top_logprobs: Vec<Top<'a>>,
    /// Where each token begins in the answer, in Unicode characters.
    text_offset: Vec<u64>,
}

impl<'a> TextLogprobs<'a> {
    /// `None` if there are none. The first token begins at `offset`.
    pub(super) fn of(logprobs: &'a [TokenLogprob], mut offset: u64) -> Option<Self> {
        if logprobs.is_empty() {
            return None;
        }
        let begins = logprobs.iter().map(|token| {
            let begin = offset;
            offset += characters(&token.token);
            begin
        });
        Some(Self {
            text_offset: begins.collect(),
            tokens: logprobs.iter().map(|token| token.token.as_str()).collect(),
            token_logprobs: logprobs.iter().map(finite).collect(),
            top_logprobs: logprobs.iter().map(Top).collect(),
        })
    }
}

/// Returns how many characters of an answer these tokens are.
pub(super) fn length(logprobs: &[TokenLogprob]) -> u64 {
    logprobs.iter().map(|token| characters(&token.token)).sum()
}

fn characters(text: &str) -> u64 {
    text.chars().count() as u64
}

/// The most probable tokens at one position, and the chosen one, which may not be among them. A name stands once:
/// different bytes that are no text by themselves are written the same.
struct Top<'a>(&'a TokenLogprob);

impl Serialize for Top<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let mut written: Vec<&str> = Vec::with_capacity(self.0.alternatives.len() + 1);
        for token in self.0.alternatives.iter().chain([self.0]) {
            if !written.contains(&token.token.as_str()) {
                written.push(&token.token);
                map.serialize_entry(&token.token, &finite(token))?;
            }
        }
        map.end()
    }
}
