//! Guides that were made lately: a request's is wanted when its prompt is counted and when it is generated, and
//! an agent sends the same tools with each turn.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mistralrs::llguidance::Matcher;
use pointsman_engine::EngineError;
use pointsman_proto::inference::v1::{GenerateRequest, ResponseFormat, Tool, ToolChoice};

use crate::costly::Costly;
use crate::grammar::Grammar;
use crate::sampling::guide::Guide;
use crate::tools::Offer;
use crate::vocabulary::Vocabulary;

/// How many are kept. A grammar takes up to a few megabytes.
const KEPT: usize = 16;

/// Makes guides, and keeps the last ones.
pub(crate) struct Guides {
    vocabulary: Arc<Vocabulary>,
    /// The latest first.
    kept: Mutex<VecDeque<(Wanted, Guide)>>,
    costly: Costly,
}

/// What a guide is made of.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    tools: Vec<Tool>,
    choice: Option<ToolChoice>,
    format: Option<ResponseFormat>,
}

impl Guides {
    pub(crate) fn new(vocabulary: Arc<Vocabulary>) -> Self {
        Self { vocabulary, kept: Mutex::default(), costly: Costly::new() }
    }

    pub(crate) fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.vocabulary
    }

    /// Returns where guides are made.
    pub(crate) fn costly(&self) -> &Costly {
        &self.costly
    }

    /// Returns what keeps an answer to its form; none: nothing does. Takes milliseconds, and up to a second for
    /// many tools, where it is not kept.
    pub(crate) fn of(&self, request: &GenerateRequest, offer: Option<&Offer>) -> Result<Option<Guide>, EngineError> {
        let format = Grammar::of(request.response_format.as_ref())?;
        if offer.is_none() && format.is_none() {
            return Ok(None);
        }
        let wanted = Wanted {
            tools: request.tools.clone(),
            choice: request.tool_choice.clone(),
            format: request.response_format.clone(),
        };
        if let Some(guide) = self.find(&wanted) {
            return Ok(Some(guide));
        }
        let guide = self.make(offer, format.as_ref())?;
        if let Some(guide) = &guide {
            let mut kept = self.kept();
            kept.push_front((wanted, guide.copy()));
            kept.truncate(KEPT);
        }
        Ok(guide)
    }

    fn make(&self, offer: Option<&Offer>, format: Option<&Grammar>) -> Result<Option<Guide>, EngineError> {
        let vocabulary = &self.vocabulary;
        // By itself first, so that what is wrong with it is told as such.
        let by_itself = format.map(|format| format.matcher(None, vocabulary)).transpose()?;
        let whole = |matcher: Matcher| Guide::whole(matcher, Arc::clone(vocabulary));
        Ok(match (offer, format) {
            (None, _) => by_itself.map(whole),
            (Some(offer), _) if offer.calls.required => Some(whole(offer.answer_matcher(None, vocabulary)?)),
            (Some(offer), Some(format)) => Some(whole(offer.answer_matcher(Some(format), vocabulary)?)),
            (Some(offer), None) => {
                let matcher = offer.call_matcher(vocabulary)?;
                Some(Guide::calls(matcher, offer.calls.several, Arc::clone(vocabulary)))
            }
        })
    }

    fn find(&self, wanted: &Wanted) -> Option<Guide> {
        let mut kept = self.kept();
        let at = kept.iter().position(|(made_of, _)| made_of == wanted)?;
        let found = kept.remove(at)?;
        let guide = found.1.copy();
        kept.push_front(found);
        Some(guide)
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<(Wanted, Guide)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use pointsman_proto::inference::v1::response_format::Format;
    use pointsman_proto::inference::v1::{GenerateRequest, ResponseFormat};

    use super::{Guides, KEPT};
    use crate::vocabulary::tests::vocabulary;

    pub(crate) fn guides() -> Guides {
        Guides::new(vocabulary())
    }

    fn request(regex: String) -> GenerateRequest {
        let response_format = Some(ResponseFormat { format: Some(Format::Regex(regex)) });
        GenerateRequest { response_format, ..GenerateRequest::default() }
    }

    #[test]
    fn the_last_guides_are_kept_as_they_were_made() {
        let guides = guides();
        let end = |regex: &str| {
            let mut guide = guides.of(&request(regex.to_owned()), None).unwrap().unwrap();
            // Writes `a`: only where it is all may the answer end. The kept one must not have written it.
            guide.take(vocabulary().tokens(b"a")[0]).unwrap();
            let mut logits = [0.0; 1024];
            guide.mask(&mut logits).unwrap();
            logits[1021] == 0.0
        };
        for _ in 0..3 {
            assert!(end("a") && !end("ab"));
        }
        assert_eq!(guides.kept().len(), 2);
        for number in 0..KEPT {
            guides.of(&request(format!("a{number}")), None).unwrap();
            assert!(end("a"), "what is used is kept");
        }
        assert_eq!(guides.kept().len(), KEPT);
        assert!(guides.of(&request("(".to_owned()), None).is_err());
        assert!(guides.of(&GenerateRequest::default(), None).unwrap().is_none());
    }
}
