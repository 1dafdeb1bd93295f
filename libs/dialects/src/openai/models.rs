use pointsman_proto::inference::v1::{Ability, TargetDescription};
use serde::Serialize;

use super::append;

/// A model that a caller may ask for.
#[derive(Clone, Copy, Debug)]
pub struct ModelEntry<'a> {
    /// The name that a request gives as `model`.
    pub id: &'a str,
    /// When it was made known, in seconds since 1970. 0 where that is not known.
    pub created: i64,
    /// Who serves it.
    pub owned_by: &'a str,
    /// What it can do, which OpenAI's format does not say: it stands under a key of ours.
    pub description: &'a TargetDescription,
}

/// Renders the answer to `GET /v1/models`, in the order given.
pub fn render_models<'a>(models: impl Iterator<Item = ModelEntry<'a>>) -> Vec<u8> {
    let list = List { object: "list", data: models.map(ModelBody::of).collect() };
    let mut out = Vec::new();
    append(&mut out, &list);
    out
}

/// Renders the answer to `GET /v1/models/{id}`.
pub fn render_model(model: ModelEntry<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    append(&mut out, &ModelBody::of(model));
    out
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<ModelBody<'a>>,
}

#[derive(Serialize)]
struct ModelBody<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    owned_by: &'a str,
    pointsman: Extension,
}

impl<'a> ModelBody<'a> {
    fn of(model: ModelEntry<'a>) -> Self {
        let ModelEntry { id, created, owned_by, description } = model;
        Self { id, object: "model", created, owned_by, pointsman: Extension::of(description) }
    }
}

/// What is ours. A number that is not known is left out.
#[derive(Serialize)]
struct Extension {
    abilities: Vec<String>,
    #[serde(skip_serializing_if = "is_unknown")]
    context_tokens: u32,
    #[serde(skip_serializing_if = "is_unknown")]
    embedding_dimensions: u32,
    embeds_only: bool,
}

impl Extension {
    fn of(description: &TargetDescription) -> Self {
        // A newer peer may have abilities that this version has no name for.
        let known = description.abilities.iter().filter_map(|ability| Ability::try_from(*ability).ok());
        Self {
            abilities: known.map(word).collect(),
            context_tokens: description.context_tokens,
            embedding_dimensions: description.embedding_dimensions,
            embeds_only: description.embeds_only,
        }
    }
}

fn is_unknown(number: &u32) -> bool {
    *number == 0
}

/// `json_schema` for `ABILITY_JSON_SCHEMA`.
pub(super) fn word(ability: Ability) -> String {
    ability.as_str_name().trim_start_matches("ABILITY_").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use pointsman_proto::inference::v1::{Ability, TargetDescription};

    use super::{ModelEntry, render_model, render_models};

    #[test]
    fn models_are_listed() {
        let description = TargetDescription {
            context_tokens: 512,
            abilities: vec![Ability::Sampling.into(), Ability::JsonSchema.into(), 999],
            ..TargetDescription::default()
        };
        let pip = ModelEntry { id: "pip", created: 7, owned_by: "pointsman", description: &description };
        let one = concat!(
            r#"{"id":"pip","object":"model","created":7,"owned_by":"pointsman","#,
            r#""pointsman":{"abilities":["sampling","json_schema"],"context_tokens":512,"embeds_only":false}}"#
        );
        assert_eq!(String::from_utf8(render_model(pip)).unwrap(), one);
        let list = String::from_utf8(render_models([pip].into_iter())).unwrap();
        assert_eq!(list, format!(r#"{{"object":"list","data":[{one}]}}"#));
        assert_eq!(render_models(std::iter::empty()), br#"{"object":"list","data":[]}"#);
        let description = TargetDescription {
            abilities: vec![Ability::Embeddings.into()],
            embeds_only: true,
            embedding_dimensions: 384,
            ..TargetDescription::default()
        };
        let body = String::from_utf8(render_model(ModelEntry { description: &description, ..pip })).unwrap();
        let own = r#""pointsman":{"abilities":["embeddings"],"embedding_dimensions":384,"embeds_only":true}}"#;
        assert!(body.ends_with(own), "{body}");
    }
}
