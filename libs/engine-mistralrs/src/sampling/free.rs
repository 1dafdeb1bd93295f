//! Free text, read as its reader will read it, so that both find the same calls in it.

use crate::stream::thoughts::Thoughts;
use crate::stream::written::{is_text, whole_characters};
use crate::template::CALL_BEGINS;
use crate::vocabulary::Vocabulary;

const TAG: &[u8] = CALL_BEGINS.as_bytes();

/// The text before a call, token by token.
#[derive(Clone, Debug)]
pub(crate) struct Free {
    /// None: the model does not think. A call that is mentioned in a thought is none.
    thoughts: Option<Thoughts>,
    /// Bytes at the end that are no whole character yet.
    partial: Vec<u8>,
    /// The end of the answer, as far as it may be the beginning of `<tool_call>`.
    text: Vec<u8>,
    /// The last bytes, of whatever.
    last: Vec<u8>,
}

impl Free {
    pub(crate) fn new(thoughts: Option<Thoughts>) -> Self {
        Self { thoughts, partial: Vec::new(), text: Vec::new(), last: Vec::new() }
    }

    /// Takes a token. Where it completes `<tool_call>`, returns what the token holds after it, and forgets it.
    pub(crate) fn take(&mut self, token: u32, vocabulary: &Vocabulary) -> Option<Vec<u8>> {
        if !is_text(token, vocabulary) {
            return None;
        }
        let bytes = vocabulary.bytes(token);
        self.last.extend_from_slice(bytes);
        keep_last(&mut self.last);
        self.partial.extend_from_slice(bytes);
        let text = whole_characters(&mut self.partial);
        let answer = match &mut self.thoughts {
            Some(thoughts) => thoughts.push(&text).1,
            None => text,
        };
        self.text.extend_from_slice(answer.as_bytes());
        let Some(at) = self.text.windows(TAG.len()).position(|window| window == TAG) else {
            keep_last(&mut self.text);
            return None;
        };
        let rest = self.text.split_off(at + TAG.len());
        self.text.clear();
        self.last.clear();
        Some(rest)
    }

    /// Returns what a token would hold after the `<tool_call>` that it completes, if it does.
    pub(crate) fn after_tag(&self, ending: &Ending, vocabulary: &Vocabulary) -> Option<Vec<u8>> {
        if !self.last.ends_with(ending.after) {
            return None;
        }
        self.clone().take(ending.token, vocabulary)
    }
}

/// Keeps as much as may be a part of the tag that is not complete.
fn keep_last(bytes: &mut Vec<u8>) {
    let kept = bytes.len().min(TAG.len() - 1);
    bytes.drain(..bytes.len() - kept);
}

/// A token that holds more than the end of `<tool_call>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) token: u32,
    /// What of the tag is before the token.
    after: &'static [u8],
}

/// Finds all tokens that hold more than the end of `<tool_call>`.
pub(crate) fn endings(vocabulary: &Vocabulary) -> Vec<Ending> {
    let tokens = 0..u32::try_from(vocabulary.len()).unwrap_or(u32::MAX);
    let endings = |token| {
        let bytes = vocabulary.bytes(token);
        // Up to the last byte but one: where nothing follows the tag, nothing can be wrong with it.
        let heads = (1..bytes.len()).map(|length| &bytes[..length]);
        heads.filter_map(before).map(move |after| Ending { token, after })
    };
    tokens.filter(|token| is_text(*token, vocabulary)).flat_map(endings).collect()
}

/// Returns what of the tag must come before these bytes, for it to end with them.
fn before(head: &[u8]) -> Option<&'static [u8]> {
    if head.ends_with(TAG) {
        return Some(&[]);
    }
    TAG.strip_suffix(head)
}

#[cfg(test)]
mod tests {
    use super::{Free, endings};
    use crate::stream::thoughts::{Thoughts, Where};
    use crate::vocabulary::tests::vocabulary;

    fn rest(free: &mut Free, text: &str) -> Option<Vec<u8>> {
        let mut rest = None;
        for token in vocabulary().tokens(text.as_bytes()) {
            assert!(rest.is_none(), "{text}");
            rest = free.take(token, &vocabulary());
        }
        rest
    }

    #[test]
    fn a_call_begins_after_the_thought() {
        for (begins, text, want) in [
            (None, "Well, <tool_call>", true),
            (None, "<think>So <tool_call>", true),
            (Some(Where::Beginning), "<think>So <tool_call>", false),
            (Some(Where::Beginning), "<think>So <tool_call></think>Hm <tool_call>", true),
            (Some(Where::Beginning), "So <tool_call>", true),
            (Some(Where::Thought), "So <tool_call>", false),
            (Some(Where::Thought), "🚂</think>\n<tool_call>", true),
        ] {
            let mut free = Free::new(begins.map(Thoughts::new));
            assert_eq!(rest(&mut free, text).is_some(), want, "{text}");
        }
    }

    #[test]
    fn tokens_that_end_the_tag_and_go_on_are_known() {
        let vocabulary = vocabulary();
        let endings = endings(&vocabulary);
        let texts: Vec<&[u8]> = endings.iter().map(|ending| vocabulary.bytes(ending.token)).collect();
        assert_eq!(texts, [b">\n".as_slice(), b"><|"]);
        assert!(endings.iter().all(|ending| ending.after == b"<tool_call"));
        let mut free = Free::new(None);
        assert_eq!(rest(&mut free, "<tool"), None);
        assert_eq!(free.after_tag(&endings[1], &vocabulary), None);
        assert_eq!(rest(&mut free, "_call"), None);
        assert_eq!(free.after_tag(&endings[1], &vocabulary).as_deref(), Some(b"<|".as_slice()));
        let mut thought = Free::new(Some(Thoughts::new(Where::Thought)));
        assert_eq!(rest(&mut thought, "<tool_call"), None);
        assert_eq!(thought.after_tag(&endings[1], &vocabulary), None);
    }
}
