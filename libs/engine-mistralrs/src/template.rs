//! What a model's chat template knows: tools, thoughts, and how it wants them.

use std::fs;
use std::path::Path;

use mistralrs::core::ReasoningEffort as Degree;
use pointsman_proto::inference::v1::ReasoningEffort;
use serde_json::Value;

use crate::LoadError;
use crate::folder::json;

/// What begins and ends a call, in the form of Hermes and Qwen.
pub(crate) const CALL_BEGINS: &str = "<tool_call>";
pub(crate) const CALL_ENDS: &str = "</tool_call>";

/// What begins and ends a thought.
pub(crate) const THOUGHT_BEGINS: &str = "<think>";
pub(crate) const THOUGHT_ENDS: &str = "</think>";

/// What a chat template knows, as far as its text tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Template {
    text: String,
}

impl Template {
    /// Reads the template of a model folder where mistral.rs finds it.
    pub(crate) fn read(folder: &Path) -> Result<Self, LoadError> {
        let file = folder.join("chat_template.jinja");
        if file.is_file() {
            let text = fs::read_to_string(&file).map_err(|source| LoadError::Unreadable { path: file, source })?;
            return Ok(Self { text });
        }
        let beside = folder.join("chat_template.json");
        let mut template = json(&folder.join("tokenizer_config.json"))?;
        if template.get("chat_template").is_none_or(Value::is_null) && beside.is_file() {
            template = json(&beside)?;
        }
        Ok(Self { text: texts(template.get("chat_template")).join("\n") })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it puts tools into the prompt, and calls into a form that is understood here.
    pub(crate) fn knows_tools(&self) -> bool {
        self.text.contains("tools") && self.text.contains(CALL_BEGINS) && !self.has_channels()
    }

    /// Whether arguments of calls are to be given as text. Templates that do not say so make JSON of them, and
    /// would put a text between quotation marks.
    pub(crate) fn takes_arguments_as_text(&self) -> bool {
        self.text.contains("arguments is string")
    }

    /// Whether the model thinks before it answers.
    pub(crate) fn thinks(&self) -> bool {
        self.text.contains(THOUGHT_BEGINS) && self.text.contains(THOUGHT_ENDS)
    }

    /// Whether it puts thoughts of earlier answers into the prompt, or knows that it leaves them out.
    pub(crate) fn takes_thoughts(&self) -> bool {
        self.knows_thinking() && self.text.contains("reasoning_content")
    }

    /// Whether it lets callers say how much the model thinks.
    pub(crate) fn knows_thinking(&self) -> bool {
        self.has_switch() || self.has_degrees()
    }

    /// Whether thinking can be switched off, as with Qwen 3.
    fn has_switch(&self) -> bool {
        self.text.contains("enable_thinking")
    }

    /// Whether thinking has degrees, as with gpt-oss.
    fn has_degrees(&self) -> bool {
        self.text.contains("reasoning_effort")
    }

    /// Returns what it is told of a request's effort; or what the request may say instead.
    pub(crate) fn thinking(&self, effort: ReasoningEffort) -> Result<Thinking, &'static str> {
        let degree = match effort {
            ReasoningEffort::Unspecified => return Ok(Thinking::default()),
            ReasoningEffort::None if self.has_switch() => {
                return Ok(Thinking { enabled: Some(false), effort: None });
            }
            ReasoningEffort::Low => Degree::Low,
            ReasoningEffort::Medium => Degree::Medium,
            ReasoningEffort::High => Degree::High,
            ReasoningEffort::None | ReasoningEffort::Minimal => {
                return Err(match (self.has_degrees(), self.has_switch()) {
                    (true, true) => "must be none, low, medium or high for this model",
                    (true, false) => "must be low, medium or high for this model",
                    (false, _) => SWITCH_ALONE,
                });
            }
        };
        if !self.has_degrees() {
            return Err(SWITCH_ALONE);
        }
        Ok(Thinking { enabled: self.has_switch().then_some(true), effort: Some(degree) })
    }

    /// Whether answers have channels (Harmony, Gemma 4), which only mistral.rs can tell apart.
    pub(crate) fn has_channels(&self) -> bool {
        let all = |marks: &[&str]| marks.iter().all(|mark| self.text.contains(mark));
        all(&["<|channel|>"]) || all(&["<|start|>", "<|message|>", "<|end|>"]) || all(&["<|channel>", "<channel|>"])
    }
}

/// Templates of this kind think unless they are told not to.
const SWITCH_ALONE: &str = "this model thinks or does not; write none, or leave it out and it thinks";

/// What a template is told of thinking; nothing: its own default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Thinking {
    pub(crate) enabled: Option<bool>,
    pub(crate) effort: Option<Degree>,
}

impl From<&str> for Template {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned() }
    }
}

/// A template is a text, or a list of them by name.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(several)) => {
            several.iter().filter_map(|named| named.get("template")?.as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pointsman_proto::inference::v1::ReasoningEffort;

    use super::{Degree, Template, Thinking};

    #[test]
    fn a_template_is_found_where_mistralrs_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(folder.path().join(file), text).unwrap();
        let read = || Template::read(folder.path()).unwrap().text;
        write("tokenizer_config.json", r#"{"chat_template": null}"#);
        write("chat_template.json", r#"{"chat_template": "beside"}"#);
        assert_eq!(read(), "beside");
        write("tokenizer_config.json", r#"{"chat_template": "inside"}"#);
        assert_eq!(read(), "inside");
        write(
            "tokenizer_config.json",
            r#"{"chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]}"#,
        );
        assert_eq!(read(), "a\nb");
        write("chat_template.jinja", "jinja");
        assert_eq!(read(), "jinja");
    }

    #[test]
    fn effort_is_told_as_far_as_a_template_knows_it() {
        use ReasoningEffort::{High, Low, Minimal, None as NoEffort, Unspecified};
        let told = |text: &str, effort| Template::from(text).thinking(effort).ok();
        let off = Thinking { enabled: Some(false), effort: None };
        let degree = |enabled, degree| Thinking { enabled, effort: Some(degree) };
        let (switch, degrees, both) = ("enable_thinking", "reasoning_effort", "reasoning_effort enable_thinking");
        for text in ["", switch, degrees, both] {
            assert_eq!(told(text, Unspecified), Some(Thinking::default()), "{text}");
            assert_eq!(told(text, Minimal), None, "{text}");
            assert_eq!(Template::from(text).knows_thinking(), !text.is_empty());
        }
        for (text, effort, want) in [
            (switch, NoEffort, Some(off)),
            (switch, High, None),
            (degrees, NoEffort, None),
            (degrees, High, Some(degree(None, Degree::High))),
            (both, NoEffort, Some(off)),
            (both, Low, Some(degree(Some(true), Degree::Low))),
        ] {
            assert_eq!(told(text, effort), want, "{text} {effort:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_not_promised() {
        for (text, tools, channels) in [
            ("{% if tools %}<tool_call>{% endif %}", true, false),
            ("{% if tools %}[TOOL_CALLS]{% endif %}", false, false),
            ("{{ messages }}", false, false),
            ("{% if tools %}<tool_call>{% endif %}<|channel|>", false, true),
        ] {
            let template = Template::from(text);
            assert_eq!((template.knows_tools(), template.has_channels()), (tools, channels), "{text}");
        }
        assert!(Template::from("<think></think>").thinks() && !Template::from("<think>").thinks());
        assert!(Template::from("{% if c.arguments is string %}").takes_arguments_as_text());
    }
}
