//! The text of an answer that is read token by token, and the log-probabilities that belong to it.

use std::collections::VecDeque;
use std::sync::Arc;

use pointsman_engine::EngineError;
use pointsman_proto::inference::v1::TokenLogprob;

use crate::sampling::logprobs::Scored;
use crate::sampling::{Taken, TakenTokens};
use crate::vocabulary::Vocabulary;

/// Reads the tokens of one answer.
pub(crate) struct Written {
    tokens: TakenTokens,
    vocabulary: Arc<Vocabulary>,
    /// Bytes at the end that are no whole character yet.
    partial: Vec<u8>,
    /// Whether whitespace is left out before the first piece, of an answer that has no form: mistral.rs does so.
    trims: bool,
    /// Length of the text so far, in bytes.
    length: usize,
    /// How much of it was delivered.
    delivered: usize,
    /// Where each token begins in the text, of those that are not delivered.
    scored: VecDeque<(usize, TokenLogprob)>,
}

impl Written {
    /// Reads tokens. With `trims`, whitespace before the first piece is left out.
    pub(crate) fn new(tokens: TakenTokens, vocabulary: Arc<Vocabulary>, trims: bool) -> Self {
        let scored = VecDeque::new();
        Self { tokens, vocabulary, partial: Vec::new(), trims, length: 0, delivered: 0, scored }
    }

    /// Reads what is there: its text, and how many tokens it is. Fails if the answer cannot go on.
    pub(crate) fn read(&mut self) -> Result<(String, u32), EngineError> {
        let (mut text, mut count) = (String::new(), 0);
        while let Ok(taken) = self.tokens.try_recv() {
            text.push_str(&self.take(taken?));
            count += 1;
        }
        Ok((text, count))
    }

    /// Returns what is left of an unfinished character, once the answer has ended.
    pub(crate) fn finish(&mut self) -> String {
        let rest = String::from_utf8_lossy(&std::mem::take(&mut self.partial)).into_owned();
        self.length += rest.len();
        rest
    }

    /// Returns the log-probabilities of the tokens of which a part is in the next so many bytes of the text.
    pub(crate) fn deliver(&mut self, bytes: usize) -> Vec<TokenLogprob> {
        self.delivered += bytes;
        let count = self.scored.iter().take_while(|(begin, _)| *begin < self.delivered).count();
        self.scored.drain(..count).map(|(_, logprob)| logprob).collect()
    }

    fn take(&mut self, taken: Taken) -> String {
        // Neither delivered nor scored: the end of an answer is none of its tokens.
        if !is_text(taken.token, &self.vocabulary) {
            return String::new();
        }
        if let Some(scored) = taken.scored {
            self.scored.push_back((self.length, self.logprob(taken.token, scored)));
        }
        self.partial.extend_from_slice(self.vocabulary.bytes(taken.token));
        let mut text = whole_characters(&mut self.partial);
        if self.trims && !text.is_empty() {
            self.trims = false;
            text.drain(..text.len() - text.trim_start().len());
        }
        self.length += text.len();
        text
    }

    fn logprob(&self, token: u32, scored: Scored) -> TokenLogprob {
        let one = |token: u32, logprob: f64, alternatives: Vec<TokenLogprob>| {
            let bytes = self.vocabulary.bytes(token);
            let text = String::from_utf8_lossy(bytes).into_owned();
            TokenLogprob { token: text, token_bytes: bytes.to_vec().into(), logprob, alternatives }
        };
        let alternatives = scored.alternatives.into_iter().map(|(token, logprob)| one(token, logprob, Vec::new()));
        one(token, scored.logprob, alternatives.collect())
    }
}

/// Whether a token is a part of the text.
pub(crate) fn is_text(token: u32, vocabulary: &Vocabulary) -> bool {
    !vocabulary.is_special(token) || is_tag(vocabulary.bytes(token))
}

/// Whether these are tags that are read here, though the tokenizer says that they are no text.
fn is_tag(bytes: &[u8]) -> bool {
    use crate::template::{CALL_BEGINS, CALL_ENDS, THOUGHT_BEGINS, THOUGHT_ENDS};
    [CALL_BEGINS, CALL_ENDS, THOUGHT_BEGINS, THOUGHT_ENDS].iter().any(|tag| tag.as_bytes() == bytes)
}

/// Takes the whole characters from the beginning of bytes. What is no character becomes the one that says so.
pub(crate) fn whole_characters(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut used = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        used += chunk.valid().len();
        let at_end = used + chunk.invalid().len() == bytes.len();
        let unfinished = at_end && std::str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none());
        if !chunk.invalid().is_empty() && !unfinished {
            text.push(char::REPLACEMENT_CHARACTER);
            used += chunk.invalid().len();
        }
    }
    bytes.drain(..used);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::sync::mpsc::unbounded_channel;

    use super::{Written, whole_characters};
    use crate::sampling::Taken;
    use crate::sampling::logprobs::Scored;
    use crate::vocabulary::tests::vocabulary;

    fn written(tokens: &[u32], trims: bool) -> Written {
        let (sender, taken) = unbounded_channel();
        for (logprob, token) in (1..).zip(tokens) {
            let scored = Scored { logprob: -f64::from(logprob), alternatives: vec![(*token, 0.0)] };
            sender.send(Ok(Taken { token: *token, scored: Some(scored) })).unwrap();
        }
        Written::new(taken, vocabulary(), trims)
    }

    #[test]
    fn tokens_become_text_and_their_scores_come_with_it() {
        let tokens = vocabulary().tokens("Hello ü".as_bytes());
        let mut written = written(&[tokens.as_slice(), &[1021]].concat(), false);
        let count = u32::try_from(tokens.len()).unwrap();
        assert_eq!(written.read().unwrap(), ("Hello ü".to_owned(), count + 1));
        assert!(written.deliver(0).is_empty());
        let first = written.deliver(1);
        assert_eq!((first.len(), first[0].logprob), (1, -1.0));
        let rest = written.deliver(100);
        let bytes: Vec<u8> = first.iter().chain(&rest).flat_map(|token| token.token_bytes.to_vec()).collect();
        assert_eq!(bytes, "Hello ü".as_bytes(), "the end has no score");
        assert_eq!(rest[0].alternatives[0].token, rest[0].token);
    }

    #[test]
    fn whitespace_is_left_out_before_the_first_piece_only() {
        let pieces = |texts: &[&str]| -> Vec<u32> {
            texts.iter().flat_map(|text| vocabulary().tokens(text.as_bytes())).collect()
        };
        for (texts, trimmed) in [(&[" Hello", "\n", " there "][..], "Hello\n there "), (&["\n", " Hello"], " Hello")] {
            assert_eq!(written(&pieces(texts), true).read().unwrap().0, trimmed);
            assert_eq!(written(&pieces(texts), false).read().unwrap().0, texts.concat());
        }
    }

    #[test]
    fn half_a_character_waits_and_is_told_at_the_end() {
        let tokens = vocabulary().tokens("🚂".as_bytes());
        assert!(tokens.len() > 1);
        let mut half = written(&tokens[..1], false);
        assert_eq!(half.read().unwrap(), (String::new(), 1));
        assert_eq!(half.finish(), "\u{fffd}");
        assert_eq!(half.deliver(3).len(), 1);
    }

    proptest! {
        #[test]
        fn pieces_of_bytes_give_what_they_give_together(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0xf0), Just(0x9f), Just(b'a')], 0..12),
            cut in 0_usize..12,
        ) {
            let cut = cut.min(bytes.len());
            let mut partial = bytes[..cut].to_vec();
            let mut text = whole_characters(&mut partial);
            partial.extend_from_slice(&bytes[cut..]);
            text.push_str(&whole_characters(&mut partial));
            text.push_str(&String::from_utf8_lossy(&partial));
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
