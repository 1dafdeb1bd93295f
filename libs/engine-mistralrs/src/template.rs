//! What a model's chat template knows: tools, thoughts, and how it wants them.

use std::fs;
use std::path::Path;

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

    /// Whether answers have channels (Harmony, Gemma 4), which only mistral.rs can tell apart.
    pub(crate) fn has_channels(&self) -> bool {
        let all = |marks: &[&str]| marks.iter().all(|mark| self.text.contains(mark));
        all(&["<|channel|>"]) || all(&["<|start|>", "<|message|>", "<|end|>"]) || all(&["<|channel>", "<channel|>"])
    }
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

    use super::Template;

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
