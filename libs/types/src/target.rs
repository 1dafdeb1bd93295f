use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The resource name of a model version in the fleet: `models/{model}/versions/{version}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetName {
    model: String,
    version: String,
}

/// The text is no target name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "`{text}` is no target: write models/{{model}}/versions/{{version}}, of letters, digits, `-`, `_`, `.` and `:`"
)]
pub struct ParseTargetError {
    text: String,
}

impl TargetName {
    /// Returns the model, such as `pip`.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Returns the version: a prefix of the digest of the weights.
    pub fn version(&self) -> &str {
        &self.version
    }
}

impl FromStr for TargetName {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let segments: Vec<&str> = text.split('/').collect();
        match segments[..] {
            ["models", model, "versions", version] if is_segment(model) && is_segment(version) => {
                Ok(Self { model: model.to_owned(), version: version.to_owned() })
            }
            _ => Err(ParseTargetError { text: text.to_owned() }),
        }
    }
}

/// Whether a text may name a model or a version: 1 to 63 letters, digits, `-`, `_`, `.` and `:`, all of them ASCII.
pub fn is_segment(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "models/{}/versions/{}", self.model, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::TargetName;

    #[test]
    fn names_are_read_and_written() {
        let name = "models/pip/versions/f5e2d34cd543";
        assert_eq!(name.parse::<TargetName>().map(|target| target.to_string()).as_deref(), Ok(name));
        for text in [
            "",
            "pip",
            "models/pip",
            "models//versions/1",
            "models/pip/aliases/prod",
            "models/pip/versions/1/2",
            "models/a b/versions/1",
        ] {
            assert!(text.parse::<TargetName>().is_err(), "{text}");
        }
    }
}
