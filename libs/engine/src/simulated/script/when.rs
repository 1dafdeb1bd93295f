//! Whether a reply fits a request.

use std::collections::BTreeMap;

use pointsman_proto::inference::v1::GenerateRequest;
use pointsman_types::TargetName;

/// What a request must have; everything that is named.
#[derive(Clone, Debug, Default)]
pub(super) struct When {
    pub(super) text: Option<TextTest>,
    /// A model's name or a target's.
    pub(super) model: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
}

/// What the last text of a user must be. Upper and lower case differ.
#[derive(Clone, Debug)]
pub(super) enum TextTest {
    Contains(String),
    Equals(String),
}

impl When {
    pub(super) fn fits(&self, request: &GenerateRequest, asked: Option<&str>) -> bool {
        self.text.as_ref().is_none_or(|test| asked.is_some_and(|text| test.fits(text)))
            && self.model.as_ref().is_none_or(|name| means(name, &request.model))
            && self.labels.iter().all(|(key, value)| request.labels.get(key) == Some(value))
    }

    /// Whether this fits wherever the other does.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let text = match (&self.text, &other.text) {
            (None, _) => true,
            (Some(test), Some(TextTest::Equals(text))) => test.fits(text),
            (Some(TextTest::Contains(part)), Some(TextTest::Contains(whole))) => whole.contains(part),
            (Some(_), _) => false,
        };
        let model = match (&self.model, &other.model) {
            (None, _) => true,
            (Some(name), Some(other)) => means(name, other),
            (Some(_), None) => false,
        };
        text && model && self.labels.iter().all(|(key, value)| other.labels.get(key) == Some(value))
    }
}

impl TextTest {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Contains(part) => text.contains(part),
            Self::Equals(whole) => text == whole,
        }
    }
}

/// Whether a name means this model or target: a gateway replaces the model by the target that it chose.
fn means(name: &str, asked: &str) -> bool {
    name == asked || asked.parse::<TargetName>().is_ok_and(|target| target.model() == name)
}
