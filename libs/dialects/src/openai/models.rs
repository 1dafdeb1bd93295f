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
}

impl<'a> ModelBody<'a> {
    fn of(model: ModelEntry<'a>) -> Self {
        Self { id: model.id, object: "model", created: model.created, owned_by: model.owned_by }
    }
}

#[cfg(test)]
mod tests {
    use super::{ModelEntry, render_model, render_models};

    #[test]
    fn models_are_listed() {
        let pip = ModelEntry { id: "pip", created: 7, owned_by: "pointsman" };
        let one = r#"{"id":"pip","object":"model","created":7,"owned_by":"pointsman"}"#;
        assert_eq!(String::from_utf8(render_model(pip)).unwrap(), one);
        let list = String::from_utf8(render_models([pip].into_iter())).unwrap();
        assert_eq!(list, format!(r#"{{"object":"list","data":[{one}]}}"#));
        assert_eq!(render_models(std::iter::empty()), br#"{"object":"list","data":[]}"#);
    }
}
