//! A script as YAML says it.
//!
//! Numbers, durations and names are read as text, so that [`super::check`] can tell its mistakes beside all others.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Mistake;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) replies: Spanned<Vec<Spanned<ReplyEntry>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplyEntry {
    pub(super) when: Option<Spanned<WhenEntry>>,
    pub(super) times: Option<Spanned<String>>,
    pub(super) answer: Option<String>,
    pub(super) pieces: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) delay: Option<DelayEntry>,
    pub(super) error: Option<Spanned<ErrorEntry>>,
    pub(super) truncate: Option<Spanned<PlaceEntry>>,
    pub(super) hang: Option<Spanned<PlaceEntry>>,
    pub(super) finish_reason: Option<Spanned<String>>,
    pub(super) usage: Option<Spanned<UsageEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhenEntry {
    pub(super) contains: Option<Spanned<String>>,
    pub(super) equals: Option<Spanned<String>>,
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DelayEntry {
    pub(super) first_piece: Option<Spanned<String>>,
    pub(super) per_piece: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ErrorEntry {
    pub(super) reason: Spanned<String>,
    pub(super) message: Option<String>,
    pub(super) retry_after: Option<Spanned<String>>,
    pub(super) after_pieces: Option<Spanned<String>>,
}

/// How far an answer comes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaceEntry {
    pub(super) after_pieces: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageEntry {
    pub(super) input_tokens: Option<Spanned<String>>,
    pub(super) output_tokens: Option<Spanned<String>>,
}

/// Reads the YAML; it ends at the first thing that it does not understand.
pub(super) fn read(yaml: &str) -> Result<File, Mistake> {
    let says_nothing = yaml.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#'));
    if says_nothing {
        let what = "is empty; a script has replies, such as `replies: [{answer: Hello}]`".to_owned();
        return Err(Mistake { place: Some((1, 1)), what });
    }
    serde_saphyr::from_str(yaml).map_err(|error| unreadable(&error))
}

/// What the parser of the YAML says, its place in our form.
fn unreadable(error: &serde_saphyr::Error) -> Mistake {
    let what = error.without_snippet().to_string();
    let Some(place) = error.location().map(|at| (at.line(), at.column())) else {
        return Mistake { place: None, what };
    };
    let told = format!(" at line {}, column {}", place.0, place.1);
    let what = what.strip_suffix(&told).unwrap_or(&what).to_owned();
    Mistake { place: Some(place), what }
}
