//! Which tokens may come next, where not all of them may.

use std::sync::Arc;

use mistralrs::llguidance::Matcher;
use mistralrs::llguidance::toktrie::SimpleVob;

use super::free::{Ending, Free, endings};
use crate::stream::thoughts::Thoughts;
use crate::vocabulary::Vocabulary;

/// Keeps an answer to a form.
pub(crate) struct Guide {
    vocabulary: Arc<Vocabulary>,
    form: Form,
}

#[expect(clippy::large_enum_variant, reason = "there is one for each answer")]
enum Form {
    /// From the first token to the last.
    Whole(Matcher),
    /// Free text, and from `<tool_call>` on a call.
    Calls(Calls),
}

struct Calls {
    /// Matches what follows `<tool_call>`, to the call's end.
    fresh: Matcher,
    several: bool,
    /// Tokens that may begin a call that does not fit.
    endings: Arc<[Ending]>,
    free: Free,
    state: State,
}

#[expect(clippy::large_enum_variant, reason = "there is one for each answer")]
enum State {
    /// In text.
    Free,
    Calling(Matcher),
    /// There was a call, and there may be no other.
    Over,
}

/// Why a guide does not know how to go on. For the log.
pub(crate) type Lost = String;

impl Guide {
    /// Keeps the whole answer to what the matcher matches.
    pub(crate) fn whole(matcher: Matcher, vocabulary: Arc<Vocabulary>) -> Self {
        Self { vocabulary, form: Form::Whole(matcher) }
    }

    /// Keeps calls to what the matcher matches, after `<tool_call>`; one, or several.
    pub(crate) fn calls(matcher: Matcher, several: bool, vocabulary: Arc<Vocabulary>) -> Self {
        let (endings, free) = (endings(&vocabulary).into(), Free::new(None));
        let calls = Calls { fresh: matcher, several, endings, free, state: State::Free };
        Self { vocabulary, form: Form::Calls(calls) }
    }

    /// Copies a guide that has guided nothing yet, for another answer.
    pub(crate) fn copy(&self) -> Self {
        let form = match &self.form {
            Form::Whole(matcher) => Form::Whole(matcher.deep_clone()),
            Form::Calls(calls) => Form::Calls(Calls {
                fresh: calls.fresh.deep_clone(),
                several: calls.several,
                endings: Arc::clone(&calls.endings),
                free: Free::new(None),
                state: State::Free,
            }),
        };
        Self { vocabulary: Arc::clone(&self.vocabulary), form }
    }

    /// Looks for calls after the thought only, if there is one.
    pub(crate) fn after(mut self, thoughts: Option<Thoughts>) -> Self {
        if let Form::Calls(calls) = &mut self.form {
            calls.free = Free::new(thoughts);
        }
        self
    }

    /// Whether the answer is kept to a form from its first token on.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.form, Form::Whole(_))
    }

    /// Makes the logits of all tokens that may not come next impossible.
    pub(crate) fn mask(&mut self, logits: &mut [f32]) -> Result<(), Lost> {
        let matcher = match &mut self.form {
            Form::Whole(matcher) => matcher,
            Form::Calls(Calls { state: State::Calling(matcher), .. }) => matcher,
            Form::Calls(calls @ Calls { state: State::Free, .. }) => {
                calls.refuse_misfits(logits, &self.vocabulary);
                return Ok(());
            }
            Form::Calls(Calls { state: State::Over, .. }) => {
                keep(logits, |token| self.vocabulary.ends().contains(&token));
                return Ok(());
            }
        };
        let allowed: SimpleVob = matcher.compute_mask_or_eos().map_err(|error| error.to_string())?;
        keep(logits, |token| usize::try_from(token).is_ok_and(|at| at < allowed.len()) && allowed.is_allowed(token));
        Ok(())
    }

    /// Takes the token that was chosen.
    pub(crate) fn take(&mut self, token: u32) -> Result<(), Lost> {
        match &mut self.form {
            Form::Whole(matcher) => advance(matcher, token),
            Form::Calls(calls) => calls.take(token, &self.vocabulary),
        }
    }
}

impl Calls {
    fn take(&mut self, token: u32, vocabulary: &Vocabulary) -> Result<(), Lost> {
        match &mut self.state {
            State::Over => {}
            State::Free => {
                if let Some(rest) = self.free.take(token, vocabulary) {
                    self.begin(&rest, vocabulary);
                }
            }
            State::Calling(matcher) => {
                advance(matcher, token)?;
                if matcher.is_stopped() {
                    self.state = if self.several { State::Free } else { State::Over };
                }
            }
        }
        Ok(())
    }

    /// Begins a call. A token may hold more than the end of the tag.
    fn begin(&mut self, rest: &[u8], vocabulary: &Vocabulary) {
        let mut matcher = self.fresh.deep_clone();
        let rest = vocabulary.tokens(rest);
        if matcher.try_consume_tokens(&rest).is_ok_and(|taken| taken == rest.len()) {
            self.state = State::Calling(matcher);
        }
    }

    /// Makes those tokens impossible that would begin a call with what cannot begin one: whoever reads the text
    /// takes it for one, and nothing would keep it to a tool.
    fn refuse_misfits(&mut self, logits: &mut [f32], vocabulary: &Vocabulary) {
        for ending in self.endings.iter() {
            let Some(rest) = self.free.after_tag(ending, vocabulary) else { continue };
            let rest = vocabulary.tokens(&rest);
            let fits = self.fresh.validate_tokens(&rest).is_ok_and(|fitting| fitting == rest.len());
            let logit = usize::try_from(ending.token).ok().and_then(|token| logits.get_mut(token));
            if let Some(logit) = logit.filter(|_| !fits) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

fn advance(matcher: &mut Matcher, token: u32) -> Result<(), Lost> {
    if matcher.is_stopped() {
        return Ok(());
    }
    matcher.consume_token(token).map_err(|error| error.to_string())
}

fn keep(logits: &mut [f32], allowed: impl Fn(u32) -> bool) {
    for (token, logit) in (0_u32..).zip(logits) {
        if !allowed(token) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

#[cfg(test)]
mod tests {
    use pointsman_proto::inference::v1::response_format::Format;
    use pointsman_proto::inference::v1::{GenerateRequest, ResponseFormat};

    use super::Guide;
    use crate::grammar::Grammar;
    use crate::stream::thoughts::{Thoughts, Where};
    use crate::tools::Offer;
    use crate::tools::tests::tool;
    use crate::vocabulary::tests::vocabulary;

    /// The tokens that may come next.
    fn possible(guide: &mut Guide) -> Vec<u32> {
        let mut logits = vec![0.0; 1_100];
        guide.mask(&mut logits).unwrap();
        (0..).zip(logits).filter(|(_, logit)| *logit == 0.0).map(|(token, _)| token).collect()
    }

    fn write(guide: &mut Guide, text: &str) {
        for token in vocabulary().tokens(text.as_bytes()) {
            assert!(possible(guide).contains(&token), "{text}");
            guide.take(token).unwrap();
        }
    }

    fn calls(several: bool) -> Guide {
        let request = GenerateRequest { tools: vec![tool("now", "")], ..GenerateRequest::default() };
        let matcher = Offer::of(&request).unwrap().unwrap().call_matcher(&vocabulary()).unwrap();
        Guide::calls(matcher, several, vocabulary())
    }

    #[test]
    fn a_form_ends_with_the_answer() {
        let format = ResponseFormat { format: Some(Format::Regex("ab?".to_owned())) };
        let matcher = Grammar::of(Some(&format)).unwrap().unwrap().matcher(None, &vocabulary()).unwrap();
        let mut guide = Guide::whole(matcher, vocabulary());
        let mut copy = guide.copy();
        assert!(!possible(&mut guide).contains(&1021));
        write(&mut guide, "a");
        assert!(possible(&mut guide).contains(&1021));
        write(&mut guide, "b");
        assert_eq!(possible(&mut guide), [1019, 1021]);
        guide.take(1021).unwrap();
        assert!(!possible(&mut copy).contains(&1021), "a copy is another answer's");
    }

    #[test]
    fn text_is_free_until_a_call_begins() {
        let mut guide = calls(true);
        assert_eq!(possible(&mut guide).len(), 1_100);
        write(&mut guide, "Well, <tool");
        assert_eq!(possible(&mut guide).len(), 1_100);
        write(&mut guide, "_call>");
        assert!(!possible(&mut guide).contains(&1021));
        write(&mut guide, "\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>");
        assert_eq!(possible(&mut guide).len(), 1_100, "another may follow");
    }

    #[test]
    fn after_the_only_call_comes_the_end() {
        let mut guide = calls(false);
        write(&mut guide, "<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>");
        assert_eq!(possible(&mut guide), [1019, 1021]);
    }

    #[test]
    fn a_token_may_hold_more_than_the_tag_but_nothing_that_does_not_fit() {
        let token = |text: &[u8]| (0..1024).find(|token| vocabulary().bytes(*token) == text).unwrap();
        let (fits, misfits) = (token(b">\n"), token(b"><|"));
        let mut guide = calls(true);
        write(&mut guide, "Well, <tool");
        assert!(possible(&mut guide).contains(&misfits));
        write(&mut guide, "_call");
        let now = possible(&mut guide);
        assert!(now.contains(&fits) && !now.contains(&misfits) && now.len() == 1_099);
        guide.take(fits).unwrap();
        assert!(possible(&mut guide).len() < 1_000, "a call");
        write(&mut guide, "{\"name\": \"now\", \"arguments\": {}}</tool_call>");
        write(&mut guide, "<tool_call");
        assert!(!possible(&mut guide).contains(&misfits), "nor may another");
    }

    #[test]
    fn a_call_that_is_mentioned_in_a_thought_is_none() {
        for (begins, before, after) in [
            (Where::Beginning, "<think>I could <tool_call>", "</think>\n"),
            (Where::Thought, "<tool_call>", "</think>"),
            (Where::Beginning, "\n", ""),
        ] {
            let mut guide = calls(true).copy().after(Some(Thoughts::new(begins)));
            write(&mut guide, before);
            assert_eq!(possible(&mut guide).len(), 1_100, "{before}");
            write(&mut guide, after);
            write(&mut guide, "<tool_call>");
            assert!(possible(&mut guide).len() < 1_000, "a call after {before}{after}");
        }
    }
}
