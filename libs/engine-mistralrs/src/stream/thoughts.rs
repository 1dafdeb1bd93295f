//! Tells what a model thinks from what it answers: `<think>…</think>` at the beginning of an answer.

use crate::template::{THOUGHT_BEGINS, THOUGHT_ENDS};

/// Splits an answer into its thought and the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// Before the first letter that is no whitespace.
    Beginning,
    Thought,
    /// After the thought, before the first letter of the answer.
    Between,
    Answer,
}

#[derive(Clone, Debug)]
pub(crate) struct Thoughts {
    held: String,
    at: Where,
}

/// A thought, and a piece of the answer.
pub(crate) type Split = (String, String);

impl Thoughts {
    pub(crate) fn new(at: Where) -> Self {
        Self { held: String::new(), at }
    }

    /// Takes the next piece, and returns what is decided.
    pub(crate) fn push(&mut self, piece: &str) -> Split {
        self.held.push_str(piece);
        let mut thought = String::new();
        if self.at == Where::Beginning {
            let begun = self.held.trim_start();
            if begun.starts_with(THOUGHT_BEGINS) {
                let after = self.held.len() - begun.len() + THOUGHT_BEGINS.len();
                self.held.drain(..after);
                self.at = Where::Thought;
            } else if !THOUGHT_BEGINS.starts_with(begun) {
                self.at = Where::Answer;
            }
        }
        if self.at == Where::Thought {
            thought = self.thought();
        }
        if self.at == Where::Between {
            self.held.drain(..self.held.len() - self.held.trim_start().len());
            if !self.held.is_empty() {
                self.at = Where::Answer;
            }
        }
        let answer = if self.at == Where::Answer { std::mem::take(&mut self.held) } else { String::new() };
        (thought, answer)
    }

    /// Returns what was held back, once the answer has ended.
    pub(crate) fn finish(&mut self) -> Split {
        let rest = std::mem::take(&mut self.held);
        if self.at == Where::Thought { (rest, String::new()) } else { (String::new(), rest) }
    }

    /// Returns how many bytes are held back.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    fn thought(&mut self) -> String {
        if let Some(at) = self.held.find(THOUGHT_ENDS) {
            let rest = self.held.split_off(at + THOUGHT_ENDS.len());
            self.held.truncate(at);
            self.at = Where::Between;
            return std::mem::replace(&mut self.held, rest);
        }
        let undecided = (1..THOUGHT_ENDS.len()).rev().find(|length| self.held.ends_with(&THOUGHT_ENDS[..*length]));
        let rest = self.held.split_off(self.held.len() - undecided.unwrap_or(0));
        std::mem::replace(&mut self.held, rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Split, Thoughts, Where};

    fn split(at: Where, pieces: &[&str]) -> Split {
        let mut thoughts = Thoughts::new(at);
        let mut splits: Vec<Split> = pieces.iter().map(|piece| thoughts.push(piece)).collect();
        splits.push(thoughts.finish());
        splits.into_iter().fold(Split::default(), |whole, more| (whole.0 + &more.0, whole.1 + &more.1))
    }

    const CASES: [(Where, &str, &str, &str); 7] = [
        (Where::Beginning, "Hello <think>", "", "Hello <think>"),
        (Where::Beginning, "\n<think>hm < m</think>\n\nHi", "hm < m", "Hi"),
        (Where::Thought, "hm</think>Hi</think>", "hm", "Hi</think>"),
        (Where::Thought, "cut </thi", "cut </thi", ""),
        (Where::Beginning, " <thi", "", " <thi"),
        (Where::Answer, "<think>", "", "<think>"),
        (Where::Beginning, "", "", ""),
    ];

    proptest! {
        #[test]
        fn thoughts_are_told_from_answers_wherever_pieces_break(
            case in 0..CASES.len(),
            cuts in proptest::collection::vec(0_usize..30, 0..8),
        ) {
            let (at, text, thought, answer) = CASES[case];
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= text.len()).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            prop_assert_eq!(split(at, &pieces), (thought.to_owned(), answer.to_owned()));
        }
    }
}
