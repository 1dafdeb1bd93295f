//! What a request comes to: checked, and made ready for as many answers as it wants.

use std::sync::Arc;

use pointsman_engine::EngineError;
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{GenerateRequest, part};
use tokio::sync::OwnedSemaphorePermit;

use crate::engine::Loaded;
use crate::guides::Guides;
use crate::marks::{Spelling, check_forms};
use crate::messages::{Conversation, Messages, conversation};
use crate::pictures::{Picture, check_sizes};
use crate::request::{Ingredients, Prompt, invalid};
use crate::sampling::guide::Guide;
use crate::sampling::{Answering, TokenChooser, wants_tokens};
use crate::stream::contents::Contents;
use crate::stream::thoughts::{Thoughts, Where};
use crate::stream::written::Written;
use crate::stream::{Source, Tokens};
use crate::template::{THOUGHT_BEGINS, Template, Thinking};
use crate::tools::Offer;
use crate::tools::parse::CallParser;
use crate::vision::Vision;
use crate::vocabulary::Vocabulary;

/// A request that can be generated.
pub(crate) struct Plan {
    pub(crate) request: Valid<GenerateRequest>,
    messages: Messages,
    pub(crate) pictures: Arc<[Picture]>,
    /// Tokens of the pictures, beyond one for each.
    picture_tokens: u32,
    thinking: Thinking,
    /// The tools that are in the prompt.
    pub(crate) offer: Option<Offer>,
    /// Copied for each answer.
    guide: Option<Guide>,
}

impl Plan {
    /// Checks everything that mistral.rs does not, and names what is wrong.
    pub(crate) fn of(
        request: Valid<GenerateRequest>,
        template: &Template,
        vision: Option<&Vision>,
        guides: &Guides,
    ) -> Result<Self, EngineError> {
        check_bias(&request, guides.vocabulary())?;
        let Conversation { messages, mut pictures } = conversation(&request, template, vision.is_some())?;
        check_sizes(&pictures)?;
        if !pictures.is_empty() {
            check_forms(&request)?;
        }
        let picture_tokens = vision.map_or(Ok(0), |vision| picture_tokens(&mut pictures, vision))?;
        let thinking = template.thinking(request.reasoning_effort());
        let thinking = thinking.map_err(|what_to_do| invalid("reasoning_effort", what_to_do))?;
        let offer = Offer::of(&request)?;
        let guide = guides.of(&request, offer.as_ref())?;
        Ok(Self { request, messages, pictures: pictures.into(), picture_tokens, thinking, offer, guide })
    }

    /// Returns what the chat template gets.
    pub(crate) fn ingredients(&self) -> Ingredients {
        let tools = self.offer.as_ref().map(Offer::for_template);
        Ingredients { messages: self.messages.clone(), tools, thinking: self.thinking }
    }

    /// Returns how many tokens the prompt has in which each picture is one of these.
    pub(crate) fn prompt_tokens(&self, tokens: &[u32]) -> u32 {
        u32::try_from(tokens.len()).unwrap_or(u32::MAX).saturating_add(self.picture_tokens)
    }

    /// Whether grammars are to be made, or pictures looked at, which may take long.
    pub(crate) fn is_costly(request: &GenerateRequest) -> bool {
        let mut parts = request.messages.iter().flat_map(|message| &message.parts);
        let shows = parts.any(|part| matches!(part.kind, Some(part::Kind::Image(_))));
        shows || !request.tools.is_empty() || request.response_format.is_some()
    }

    pub(crate) fn choices(&self) -> u32 {
        self.request.choice_count.unwrap_or(1).max(1)
    }

    /// Whether answers are read token by token.
    pub(crate) fn is_told_by_tokens(&self) -> bool {
        self.offer.is_some() || self.guide.is_some() || wants_tokens(&self.request)
    }

    /// Makes what chooses the tokens of an answer, and what reads them.
    pub(crate) fn reading(
        &self,
        choice: u32,
        prompt: &Prompt,
        loaded: &Loaded,
        permit: OwnedSemaphorePermit,
    ) -> (TokenChooser, Source) {
        let vocabulary = loaded.guides.vocabulary();
        let marks = loaded.sight.as_ref().filter(|_| !self.pictures.is_empty()).map(|sight| sight.marks.all());
        let never = marks.as_ref().map_or(&[][..], |marks| marks);
        let spelling = marks.map(|_| Spelling::new(Arc::clone(vocabulary)));
        let ends = vocabulary.ends();
        let Some(tokens) = prompt.tokens() else {
            let guide = self.guide.as_ref().map(Guide::copy);
            let answering = Answering { choice, prompt: &[], guide, never, spelling, ends };
            return (TokenChooser::new(&self.request, answering, permit), Source::Chat);
        };
        let thoughts = loaded.template.thinks().then(|| Thoughts::new(self.begins(tokens, vocabulary)));
        let guide = self.guide.as_ref().map(|guide| guide.copy().after(thoughts.clone()));
        let answering = Answering { choice, prompt: tokens, guide, never, spelling, ends };
        let mut chooser = TokenChooser::new(&self.request, answering, permit);
        // A vocabulary has at least one.
        let end = ends.first().copied().unwrap_or_default();
        let written = Written::new(chooser.read(end), Arc::clone(vocabulary), !self.has_form());
        let calls = self.offer.as_ref().map(|offer| CallParser::new(offer.names()));
        (chooser, Source::Tokens(Box::new(Tokens { written, contents: Contents { thoughts, calls } })))
    }

    /// Whether the answer is kept to a form from its first token on.
    fn has_form(&self) -> bool {
        self.guide.as_ref().is_some_and(Guide::is_whole)
    }

    /// What an answer begins with. Some prompts end with the beginning of a thought; an answer in a form has
    /// none.
    fn begins(&self, prompt: &[u32], vocabulary: &Vocabulary) -> Where {
        if self.has_form() {
            return Where::Answer;
        }
        let last = prompt.iter().rev().take(8).rev().flat_map(|token| vocabulary.bytes(*token)).copied().collect();
        let last: Vec<u8> = last;
        if last.trim_ascii_end().ends_with(THOUGHT_BEGINS.as_bytes()) { Where::Thought } else { Where::Beginning }
    }
}

/// Counts the tokens of the pictures beyond one for each, and says how large the model sees them.
fn picture_tokens(pictures: &mut [Picture], vision: &Vision) -> Result<u32, EngineError> {
    let mut tokens = 0_u32;
    for picture in pictures {
        let seen = vision.see(picture.width, picture.height).map_err(|why| picture.place.refuse(&why))?;
        tokens = tokens.saturating_add(seen.tokens.saturating_sub(1));
        (picture.width, picture.height) = (seen.width, seen.height);
    }
    Ok(tokens)
}

fn check_bias(request: &GenerateRequest, vocabulary: &Vocabulary) -> Result<(), EngineError> {
    let bias = request.sampling.iter().flat_map(|sampling| sampling.logit_bias.keys());
    let beyond = bias.filter(|token| usize::try_from(**token).is_ok_and(|token| token >= vocabulary.len())).min();
    let Some(token) = beyond else { return Ok(()) };
    let what = format!("token {token} is none of this model's, which are 0 to {}", vocabulary.len() - 1);
    Err(invalid("sampling.logit_bias", &what))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pointsman_engine::EngineError;
    use pointsman_proto::Valid;
    use pointsman_proto::inference::v1::response_format::Format;
    use pointsman_proto::inference::v1::tool_choice::{Choice, Mode};
    use pointsman_proto::inference::v1::{
        GenerateRequest, Logprobs, Message, Part, ResponseFormat, Role, Sampling, ToolChoice, part,
    };

    use super::Plan;
    use crate::guides::tests::guides;
    use crate::sampling::guide::Guide;
    use crate::stream::thoughts::Where;
    use crate::template::Template;
    use crate::tools::tests::tool;
    use crate::vocabulary::tests::vocabulary;

    fn plan(change: impl FnOnce(&mut GenerateRequest)) -> Result<Plan, EngineError> {
        let hello = Part { kind: Some(part::Kind::Text("Hello".to_owned())) };
        let message = Message { role: Role::User.into(), parts: vec![hello], ..Message::default() };
        let mut request =
            GenerateRequest { model: "pip".to_owned(), messages: vec![message], ..GenerateRequest::default() };
        change(&mut request);
        Plan::of(Valid::new(request).unwrap(), &Template::from("tools<tool_call>"), None, &guides())
    }

    fn format(format: Format) -> Option<ResponseFormat> {
        Some(ResponseFormat { format: Some(format) })
    }

    #[test]
    fn what_is_asked_for_decides_how_an_answer_is_told_and_kept_to_its_form() {
        let required = ToolChoice { choice: Some(Choice::Mode(Mode::Required.into())), parallel: None };
        let none = ToolChoice { choice: Some(Choice::Mode(Mode::None.into())), parallel: None };
        type Change = Box<dyn FnOnce(&mut GenerateRequest)>;
        let cases: [(Change, bool, Option<bool>); 8] = [
            (Box::new(|_| ()), false, None),
            (Box::new(|r| r.sampling = Some(Sampling { top_k: Some(1), ..Sampling::default() })), false, None),
            (Box::new(|r| r.logprobs = Some(Logprobs::default())), true, None),
            (
                Box::new(|r| r.sampling = Some(Sampling { repetition_penalty: Some(1.5), ..Sampling::default() })),
                true,
                None,
            ),
            (Box::new(|r| r.response_format = format(Format::Regex("a".into()))), true, Some(true)),
            (Box::new(|r| r.tools = vec![tool("now", "")]), true, Some(false)),
            (Box::new(|r| (r.tools, r.tool_choice) = (vec![tool("now", "")], Some(required))), true, Some(true)),
            (Box::new(|r| (r.tools, r.tool_choice) = (vec![tool("now", "")], Some(none))), false, None),
        ];
        for (index, (change, by_tokens, whole)) in cases.into_iter().enumerate() {
            let plan = plan(change).unwrap();
            let have = plan.guide.as_ref().map(Guide::is_whole);
            assert_eq!((plan.is_told_by_tokens(), have), (by_tokens, whole), "case {index}");
        }
    }

    #[test]
    fn a_token_beyond_the_vocabulary_is_refused_by_name() {
        let bias = |tokens: &[u32]| {
            let logit_bias: BTreeMap<u32, f64> = tokens.iter().map(|token| (*token, 1.0)).collect();
            plan(|request| request.sampling = Some(Sampling { logit_bias, ..Sampling::default() }))
        };
        assert!(bias(&[0, 1023]).is_ok());
        let Err(EngineError::InvalidField { field, rule }) = bias(&[1, 4000, 1024]) else { panic!("taken") };
        assert_eq!(field, "sampling.logit_bias");
        assert_eq!(rule, "token 1024 is none of this model's, which are 0 to 1023");
    }

    #[test]
    fn a_prompt_may_begin_the_thought() {
        let begins = |prompt: &str, change: fn(&mut GenerateRequest)| {
            plan(change).unwrap().begins(&vocabulary().tokens(prompt.as_bytes()), &vocabulary())
        };
        assert_eq!(begins("assistant\n", |_| ()), Where::Beginning);
        assert_eq!(begins("assistant\n<think>\n", |_| ()), Where::Thought);
        let regex = |request: &mut GenerateRequest| request.response_format = format(Format::Regex("a".into()));
        assert_eq!(begins("assistant\n<think>\n", regex), Where::Answer);
    }
}
