use pointsman_proto::inference::v1::TokenLogprob;
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

/// Log-probabilities as OpenAI writes them; null where there are none.
#[derive(Serialize)]
pub(super) struct Logprobs<'a> {
    #[serde(serialize_with = "tokens")]
    content: &'a [TokenLogprob],
    refusal: (),
}

impl<'a> Logprobs<'a> {
    pub(super) fn of(logprobs: &'a [TokenLogprob]) -> Option<Self> {
        (!logprobs.is_empty()).then_some(Self { content: logprobs, refusal: () })
    }
}

/// JSON has no infinity; OpenAI writes -9999.0 for a token that is very unlikely.
pub(super) fn finite(token: &TokenLogprob) -> f64 {
    if token.logprob.is_finite() { token.logprob.max(-9999.0) } else { -9999.0 }
}

#[derive(Serialize)]
struct Token<'a> {
    token: &'a str,
    logprob: f64,
    bytes: &'a [u8],
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "alternatives")]
    top_logprobs: Option<&'a [TokenLogprob]>,
}

impl<'a> Token<'a> {
    fn new(token: &'a TokenLogprob, top_logprobs: Option<&'a [TokenLogprob]>) -> Self {
        Self { token: &token.token, logprob: finite(token), bytes: &token.token_bytes, top_logprobs }
    }
}

fn tokens<S: Serializer>(tokens: &[TokenLogprob], serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(tokens.len()))?;
    for token in tokens {
        list.serialize_element(&Token::new(token, Some(&token.alternatives)))?;
    }
    list.end()
}

fn alternatives<S: Serializer>(tokens: &Option<&[TokenLogprob]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(tokens.unwrap_or_default().iter().map(|token| Token::new(token, None)))
}
