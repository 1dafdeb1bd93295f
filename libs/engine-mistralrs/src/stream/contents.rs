//! What the text of an answer holds: thoughts, calls, and text.

use pointsman_engine::stop::StopMatcher;
use pointsman_proto::inference::v1::delta::Content;

use super::thoughts::Thoughts;
use crate::tools::parse::CallParser;

/// Reads the text of an answer. A stop text ends it after the thought only: a thought is told from the rest
/// first, and then stop texts are looked for, and calls in what is before them.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// None: everything is the answer.
    pub(crate) thoughts: Option<Thoughts>,
    /// None: no tool was offered, and nothing is a call.
    pub(crate) calls: Option<CallParser>,
}

/// What a piece made known.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) contents: Vec<Content>,
    /// How much of the text it is, in bytes: with tags, without what a stop text cut off.
    pub(crate) bytes: usize,
}

impl Contents {
    /// Takes the next piece, and returns what is decided.
    pub(crate) fn push(&mut self, text: &str, stop: &mut StopMatcher) -> Decided {
        let held = self.held() + text.len();
        let (thought, rest) = match &mut self.thoughts {
            Some(thoughts) => thoughts.push(text),
            None => (String::new(), text.to_owned()),
        };
        let more = stop.push(&rest);
        let bytes = held - self.held() - rest.len() + more.len();
        Decided { contents: self.told(thought, &more), bytes }
    }

    /// Returns what was held back, once the answer has ended.
    pub(crate) fn finish(&mut self, stop: &mut StopMatcher) -> Decided {
        let held = self.held();
        let (thought, rest) = self.thoughts.as_mut().map(Thoughts::finish).unwrap_or_default();
        let mut more = stop.push(&rest);
        if !stop.stopped() {
            more.push_str(&stop.finish());
        }
        let bytes = held - rest.len() + more.len();
        let mut contents = self.told(thought, &more);
        contents.extend(self.calls.as_mut().map(CallParser::finish).unwrap_or_default());
        Decided { contents, bytes }
    }

    /// Whether the answer calls any tool so far.
    pub(crate) fn called(&self) -> bool {
        self.calls.as_ref().is_some_and(CallParser::called)
    }

    /// How many bytes are held back because they may begin or end a thought.
    fn held(&self) -> usize {
        self.thoughts.as_ref().map_or(0, Thoughts::held)
    }

    fn told(&mut self, thought: String, text: &str) -> Vec<Content> {
        let mut contents = Vec::new();
        if !thought.is_empty() {
            contents.push(Content::Reasoning(thought));
        }
        match &mut self.calls {
            Some(calls) => contents.extend(calls.push(text)),
            None if text.is_empty() => {}
            None => contents.push(Content::Text(text.to_owned())),
        }
        contents
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Arc, LazyLock};

    use pointsman_engine::stop::StopMatcher;
    use pointsman_proto::inference::v1::GenerateRequest;
    use pointsman_proto::inference::v1::delta::Content;
    use proptest::prelude::*;

    use super::Contents;
    use crate::sampling::guide::Guide;
    use crate::stream::thoughts::{Thoughts, Where};
    use crate::stream::written::whole_characters;
    use crate::tools::Offer;
    use crate::tools::parse::CallParser;
    use crate::tools::tests::tool;
    use crate::vocabulary::Vocabulary;
    use crate::vocabulary::tests::vocabulary_and;

    fn contents(begins: Option<Where>) -> Contents {
        let calls = Some(CallParser::new(vec!["now".to_owned()]));
        Contents { thoughts: begins.map(Thoughts::new), calls }
    }

    /// All that a text holds, and how many of its bytes that is.
    fn told(mut contents: Contents, pieces: &[&str], stop: &[&str]) -> (Vec<Content>, usize) {
        let stop: Vec<String> = stop.iter().map(|stop| (*stop).to_owned()).collect();
        let mut stop = StopMatcher::new(&stop);
        let mut told = Vec::new();
        let mut bytes = 0;
        for piece in pieces {
            let decided = contents.push(piece, &mut stop);
            told.extend(decided.contents);
            bytes += decided.bytes;
        }
        let decided = contents.finish(&mut stop);
        told.extend(decided.contents);
        (told, bytes + decided.bytes)
    }

    #[test]
    fn thoughts_come_before_calls_and_calls_are_looked_for_where_tools_are() {
        let answer = "<think>a</think>\n<tool_call>{\"name\":\"now\",\"arguments\":{}}</tool_call>";
        let (all, bytes) = told(contents(Some(Where::Beginning)), &[answer], &[]);
        assert!(matches!(&all[..], [Content::Reasoning(_), Content::ToolCall(call)] if call.name == "now"), "{all:?}");
        assert_eq!(bytes, answer.len());
        let (plain, bytes) = told(Contents::default(), &[answer], &[]);
        assert_eq!((plain, bytes), (vec![Content::Text(answer.to_owned())], answer.len()));
    }

    /// The thought, the text, and how many bytes both are with what is around them.
    fn joined((contents, bytes): (Vec<Content>, usize)) -> (String, String, usize) {
        let (mut thought, mut text) = (String::new(), String::new());
        for content in contents {
            match content {
                Content::Reasoning(more) => thought.push_str(&more),
                Content::Text(more) => text.push_str(&more),
                other => panic!("{other:?}"),
            }
        }
        (thought, text, bytes)
    }

    #[test]
    fn a_stop_text_in_a_thought_ends_nothing() {
        let answer = "<think>one END two</think>\nthree END four";
        let want = ("one END two".to_owned(), "three ".to_owned(), answer.rfind("END").unwrap());
        let letters: Vec<&str> = answer.split_inclusive(|_| true).collect();
        for pieces in [&[answer][..], &letters] {
            assert_eq!(joined(told(contents(Some(Where::Beginning)), pieces, &["END"])), want);
            let held = joined(told(contents(Some(Where::Beginning)), pieces, &["four!"]));
            assert_eq!((held.1.as_str(), held.2), ("three END four", answer.len()));
        }
        // The end of a thought and the text after it make no stop text together.
        let cut = joined(told(contents(Some(Where::Thought)), &["hm E</think>ND"], &["END", "</think>"]));
        assert_eq!(cut, ("hm E".to_owned(), "ND".to_owned(), 14));
    }

    /// A model's vocabulary with a token that ends the tag of a call and goes on with what fits none.
    static ODD: LazyLock<Arc<Vocabulary>> = LazyLock::new(|| vocabulary_and(">\n\n"));
    static GUIDE: LazyLock<Guide> = LazyLock::new(|| {
        let request = GenerateRequest { tools: vec![tool("now", "")], ..GenerateRequest::default() };
        let matcher = Offer::of(&request).unwrap().unwrap().call_matcher(&ODD).unwrap();
        Guide::calls(matcher, true, Arc::clone(&ODD))
    });

    fn possible(guide: &mut Guide) -> HashSet<u32> {
        let mut logits = vec![0.0; 1_025];
        guide.mask(&mut logits).unwrap();
        (0..).zip(logits).filter(|(_, logit)| *logit == 0.0).map(|(token, _)| token).collect()
    }

    /// What a model may write, in tokens that hold no more than one of these pieces each.
    const WORDS: &[&[&str]] = &[
        &["<tool", "_call", ">"],
        &["<tool", "_call", "><|"],
        &["<tool", "_call", ">\n"],
        &["<tool", "_call", ">\n\n"],
        &["<tool"],
        &[">\n\n"],
        &["<tool_call>"],
        &["<think>"],
        &["</think>"],
        &["a \n🚂"],
        &["{\"name\":\"now\",\"arguments\":{}}</tool_call>"],
        &["{\"name\":\"other\",\"arguments\":{}}</tool_call>"],
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever a model writes: what its guide takes for a call is one for the reader, and nothing else is.
        #[test]
        fn the_guide_and_the_reader_see_the_same_calls(
            begins in prop_oneof![Just(None), Just(Some(Where::Beginning)), Just(Some(Where::Thought))],
            words in proptest::collection::vec(proptest::sample::select(WORDS), 0..16),
        ) {
            let mut guide = GUIDE.copy().after(begins.map(Thoughts::new));
            let (mut calls, mut calling) = (0, false);
            let mut bytes = Vec::new();
            let mut words = words.into_iter().flatten().map(|word| ODD.tokens(word.as_bytes()));
            let mut next = Vec::new();
            loop {
                let possible = possible(&mut guide);
                calls += u32::from(!calling && possible.len() < 900);
                calling = possible.len() < 900;
                if next.is_empty() && !calling {
                    let Some(word) = words.next() else { break };
                    next = word;
                }
                let wanted = (!next.is_empty()).then(|| next.remove(0)).filter(|token| possible.contains(token));
                // A call goes on to its end; what is impossible in text is left out.
                let Some(token) = wanted.or_else(|| possible.iter().min().copied().filter(|_| calling)) else { continue };
                guide.take(token).unwrap();
                bytes.extend_from_slice(ODD.bytes(token));
            }
            let text = whole_characters(&mut bytes);
            let (told, _) = told(contents(begins), &[&text], &[]);
            let read = told.iter().filter(|content| matches!(content, Content::ToolCall(call) if call.name == "now"));
            prop_assert_eq!(read.count(), usize::try_from(calls).unwrap(), "{}", text);
        }
    }
}
