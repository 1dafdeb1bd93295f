//! What the text of an answer holds: thoughts, calls, and text.

use pointsman_proto::inference::v1::delta::Content;

use super::thoughts::{Split, Thoughts};
use crate::tools::parse::CallParser;

/// Reads the text of an answer.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// None: everything is the answer.
    pub(crate) thoughts: Option<Thoughts>,
    /// None: no tool was offered, and nothing is a call.
    pub(crate) calls: Option<CallParser>,
}

impl Contents {
    /// Takes the next piece, and returns what is decided.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Content> {
        let split = match &mut self.thoughts {
            Some(thoughts) => thoughts.push(text),
            None => (String::new(), text.to_owned()),
        };
        self.told(split)
    }

    /// Returns what was held back, once the answer has ended.
    pub(crate) fn finish(&mut self) -> Vec<Content> {
        let split = self.thoughts.as_mut().map(Thoughts::finish).unwrap_or_default();
        let mut contents = self.told(split);
        contents.extend(self.calls.as_mut().map(CallParser::finish).unwrap_or_default());
        contents
    }

    /// Whether the answer calls any tool so far.
    pub(crate) fn called(&self) -> bool {
        self.calls.as_ref().is_some_and(CallParser::called)
    }

    fn told(&mut self, (thought, text): Split) -> Vec<Content> {
        let mut contents = Vec::new();
        if !thought.is_empty() {
            contents.push(Content::Reasoning(thought));
        }
        match &mut self.calls {
            Some(calls) => contents.extend(calls.push(&text)),
            None if text.is_empty() => {}
            None => contents.push(Content::Text(text)),
        }
        contents
    }
}

#[cfg(test)]
mod tests {
    use pointsman_proto::inference::v1::delta::Content;

    use super::Contents;
    use crate::stream::thoughts::{Thoughts, Where};
    use crate::tools::parse::CallParser;

    #[test]
    fn thoughts_come_before_calls_and_calls_are_looked_for_where_tools_are() {
        let answer = "<think>a</think>\n<tool_call>{\"name\":\"now\",\"arguments\":{}}</tool_call>";
        let mut contents = Contents {
            thoughts: Some(Thoughts::new(Where::Beginning)),
            calls: Some(CallParser::new(vec!["now".to_owned()])),
        };
        let mut told = contents.push(answer);
        told.extend(contents.finish());
        assert!(
            matches!(&told[..], [Content::Reasoning(_), Content::ToolCall(call)] if call.name == "now"),
            "{told:?}"
        );
        assert!(contents.called());

        let mut plain = Contents::default();
        assert_eq!(plain.push(answer), [Content::Text(answer.to_owned())]);
        assert!(plain.finish().is_empty() && !plain.called());
    }
}
