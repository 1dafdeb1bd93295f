//! What a model is told of a conversation: as much as its context has room for.

mod units;

use std::ops::Range;

use pointsman_policy::estimate_tokens;
use pointsman_proto::inference::v1::{DataClass, GenerateRequest, Message, Part, Role, SessionTurn, part};
use pointsman_proto::sessions::v1::{Session, TurnBegun};

use units::{Past, Unit, answers, units};

/// A conversation up to a request.
#[derive(Debug, Default)]
pub(crate) struct History {
    session: Session,
    /// The session's standing instructions.
    system: Vec<Message>,
    /// Oldest first.
    turns: Vec<Past>,
    /// The same, as they are told together or not at all.
    units: Vec<Unit>,
    /// How many older turns were not even read.
    omitted: u64,
    /// The request's own messages, with what the store has put before and after them.
    own: Vec<Message>,
    /// Where in these the request's stand.
    request: Range<usize>,
    data_class: DataClass,
}

/// What one target is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fitted {
    pub(crate) messages: Vec<Message>,
    /// How many turns are left out.
    pub(crate) left_out: u64,
    /// About how many tokens the messages take, by their length alone.
    pub(crate) estimated_tokens: u64,
}

/// Whose a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    SystemPrompt,
    EarlierTurn,
    /// The message of this number of the request itself.
    Request(usize),
    /// Of another request that is answered with it, or put there by the store.
    OtherRequest,
}

/// Where an answer has no limit, so much of the context is left for it, or a quarter.
const ROOM_FOR_AN_ANSWER: u64 = 1024;
/// The most messages that a request may have.
const MOST_MESSAGES: usize = 4096;
/// What surrounds each message in a prompt, about.
const AROUND_A_MESSAGE: u64 = 4;

impl History {
    /// Puts together what the store has told and what the request says.
    pub(crate) fn new(begun: TurnBegun, request: &GenerateRequest) -> Self {
        let session = begun.session.unwrap_or_default();
        let system = match session.system_prompt.as_str() {
            "" => Vec::new(),
            prompt => vec![text(Role::System, prompt.to_owned())],
        };
        let data_class = session.data_class().max(DataClass::try_from(begun.data_class).unwrap_or_default());
        let (put, said) = (begun.prepended_messages.len(), request.messages.len());
        let own = begun.prepended_messages.into_iter().chain(request.messages.iter().cloned());
        let own: Vec<Message> = own.chain(begun.appended_messages).collect();
        let turns: Vec<Past> = begun.history.into_iter().map(Past::of).collect();
        Self {
            session,
            system,
            units: units(&turns, answers(&own)),
            turns,
            omitted: begun.omitted_turns,
            own,
            request: put..put + said,
            data_class,
        }
    }

    /// The session, as it stood at the begin.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// How sensitive all of it is.
    pub(crate) fn data_class(&self) -> DataClass {
        self.data_class
    }

    /// What a caller is told of the turn.
    pub(crate) fn turn(&self, left_out_turns: u64) -> SessionTurn {
        let (session, revision) = (self.session.name.clone(), self.session.revision + 1);
        SessionTurn { session, revision, left_out_turns, repeated_answer: false }
    }

    /// The request's own messages, with what the store has put before and after them.
    pub(crate) fn own(&self) -> &[Message] {
        &self.own
    }

    /// The request's own messages alone.
    pub(super) fn request(&self) -> &[Message] {
        &self.own[self.request.clone()]
    }

    /// All messages before the request's own.
    pub(crate) fn before(&self) -> Vec<Message> {
        let turns = self.turns.iter().flat_map(|turn| &turn.messages);
        self.system.iter().chain(turns).chain(&self.own[..self.request.start]).cloned().collect()
    }

    /// All messages after them.
    pub(crate) fn after(&self) -> &[Message] {
        &self.own[self.request.end..]
    }

    /// Where a message stands that a target was told, one of so many.
    pub(super) fn place(&self, index: usize, told: usize) -> Place {
        let own = told.saturating_sub(self.own.len());
        if index < self.system.len() {
            return Place::SystemPrompt;
        }
        match index.checked_sub(own) {
            None => Place::EarlierTurn,
            Some(index) if self.request.contains(&index) => Place::Request(index - self.request.start),
            Some(_) => Place::OtherRequest,
        }
    }

    /// How many turns every target is told, and about how many tokens these have with the instructions.
    pub(super) fn never_left_out(&self) -> (usize, u64) {
        let pinned = self.turns.iter().filter(|turn| turn.pinned).count();
        let stay = self.units.iter().filter(|unit| unit.stays);
        (pinned, estimate(&self.system) + stay.map(|unit| unit.tokens).sum::<u64>())
    }

    /// Leaves out the oldest turns that a target has no room for; never instructions, pinned turns or what the request
    /// itself says. `context`: the tokens that prompt and answer may have; 0: not known, and nothing is left out.
    pub(crate) fn fit(&self, request: &GenerateRequest, target: &str, context: u64) -> Fitted {
        let limit = request.limits.and_then(|limits| limits.max_output_tokens).map(u64::from);
        let answer = limit.unwrap_or(ROOM_FOR_AN_ANSWER.min(context / 4));
        let tools: u64 = request
            .tools
            .iter()
            .map(|tool| (tool.description.len() + tool.parameters_json_schema.len()) as u64 / 4)
            .sum();
        let fixed = self.never_left_out().1 + estimate(&self.own) + tools;
        let room = match context {
            0 => u64::MAX,
            context => self.estimated(target, context.saturating_sub(answer)).saturating_sub(fixed),
        };
        let mut kept = Vec::new();
        let (mut used, mut is_full) = (0, false);
        let mut messages = self.system.len() + self.own.len();
        for unit in self.units.iter().rev() {
            if !unit.stays {
                let fits = used + unit.tokens <= room && messages + unit.messages <= MOST_MESSAGES;
                // From the first that has no room on: a conversation has no holes but before what is pinned.
                is_full |= !fits;
                if is_full {
                    continue;
                }
                used += unit.tokens;
            }
            messages += unit.messages;
            kept.push(&self.turns[unit.turns.clone()]);
        }
        let left_out = self.turns.len() - kept.iter().map(|turns| turns.len()).sum::<usize>();
        let turns = kept.into_iter().rev().flatten().flat_map(|turn| &turn.messages);
        let messages: Vec<Message> = self.system.iter().chain(turns).chain(&self.own).cloned().collect();
        Fitted { left_out: self.omitted + left_out as u64, estimated_tokens: estimate(&messages) + tools, messages }
    }

    /// What an estimate is of so many tokens of a target: as its instances have counted last, or as those of others have.
    fn estimated(&self, target: &str, tokens: u64) -> u64 {
        let mut counted = self.turns.iter().rev().filter_map(|turn| Some((&turn.target, turn.counted?)));
        let own = counted.clone().find(|(of, _)| *of == target);
        match own.or_else(|| counted.next()) {
            // A tenth is left for what the next messages are otherwise than the last.
            Some((_, (counted, estimated))) => {
                let estimate = u128::from(tokens) * u128::from(estimated) * 9 / (u128::from(counted) * 10);
                u64::try_from(estimate).unwrap_or(u64::MAX)
            }
            // Nobody has counted yet: other scripts than Latin have more tokens than are estimated.
            None => tokens * 3 / 4,
        }
    }
}

/// About how many tokens messages take.
pub(crate) fn estimate(messages: &[Message]) -> u64 {
    estimate_tokens(messages) + AROUND_A_MESSAGE * messages.len() as u64
}

fn text(role: Role, text: String) -> Message {
    Message { role: role.into(), parts: vec![Part { kind: Some(part::Kind::Text(text)) }], name: String::new() }
}

#[cfg(test)]
mod tests {
    use pointsman_proto::inference::v1::{DataClass, GenerateRequest, Limits, Message, Role, Usage, part};
    use pointsman_proto::sessions::v1::{Session, Turn, TurnBegun};

    use super::{History, estimate, text};

    fn turn(revision: u64, bytes: usize) -> Turn {
        let say = |role, letter: &str| text(role, format!("{revision}{}", letter.repeat(bytes)));
        Turn { revision, input: vec![say(Role::User, "u")], output: Some(say(Role::Assistant, "a")), ..Turn::default() }
    }

    fn said(messages: &[Message]) -> String {
        let first = |message: &Message| match message.parts[0].kind.as_ref() {
            Some(part::Kind::Text(text)) => text.chars().next(),
            _ => None,
        };
        messages.iter().filter_map(first).collect()
    }

    fn request(limit: u32) -> GenerateRequest {
        let limits = Some(Limits { max_output_tokens: Some(limit) });
        GenerateRequest { messages: vec![text(Role::User, "?".into())], limits, ..GenerateRequest::default() }
    }

    fn history(turns: Vec<Turn>) -> History {
        let session = Session { system_prompt: "!".into(), ..Session::default() };
        History::new(TurnBegun { session: Some(session), history: turns, ..TurnBegun::default() }, &request(1))
    }

    #[test]
    fn the_oldest_are_left_out_first_and_nothing_that_must_stay() {
        let mut turns: Vec<_> = (1..=5).map(|revision| turn(revision, 99)).collect();
        turns[1].pinned = true;
        let history = history(turns);
        // A turn takes 58 tokens: twice 100 bytes and what is around them.
        for (context, want, left_out) in [
            (0, "!1122334455?", 0),
            (10_000, "!1122334455?", 0),
            (400, "!22334455?", 1),
            (300, "!224455?", 2),
            (160, "!22?", 4),
            (1, "!22?", 4),
        ] {
            let fitted = history.fit(&request(1), "m", context);
            assert_eq!((said(&fitted.messages).as_str(), fitted.left_out), (want, left_out), "{context}");
            assert_eq!(fitted.estimated_tokens, estimate(&fitted.messages));
        }
    }

    #[test]
    fn what_is_answered_with_a_request_stands_around_it_and_is_never_left_out() {
        let say = |words: &str| text(Role::User, words.into());
        let begun = TurnBegun {
            history: vec![turn(1, 99)],
            prepended_messages: vec![say("-")],
            appended_messages: vec![say("+"), say(".")],
            data_class: DataClass::Restricted.into(),
            ..TurnBegun::default()
        };
        let history = History::new(begun, &request(1));
        assert_eq!(
            (said(&history.before()), said(history.own()), said(history.after())),
            ("11-".into(), "-?+.".into(), "+.".into())
        );
        assert_eq!(said(&history.fit(&request(1), "m", 1).messages), "-?+.");
        assert_eq!(history.data_class(), DataClass::Restricted);
        // Never below the session's.
        let session = Session { data_class: DataClass::Internal.into(), ..Session::default() };
        let begun = TurnBegun { session: Some(session), ..TurnBegun::default() };
        assert_eq!(History::new(begun, &request(1)).data_class(), DataClass::Internal);
    }

    #[test]
    fn what_instances_have_counted_corrects_the_estimate() {
        let counted = |target: &str, input_tokens, estimated_prompt_tokens| Turn {
            target: target.into(),
            usage: Some(Usage { input_tokens: Some(input_tokens), ..Usage::default() }),
            estimated_prompt_tokens,
            ..turn(1, 99)
        };
        // 400 tokens of context: by its own count, of another's where it has none, of nobody's.
        for (turns, target, want) in [
            (vec![counted("m", 200, 100)], "m", 399 * 9 / 20),
            (vec![counted("m", 100, 100), counted("n", 200, 100)], "m", 399 * 9 / 10),
            (vec![counted("m", 100, 100), counted("n", 200, 100)], "o", 399 * 9 / 20),
            (vec![turn(1, 99)], "m", 399 * 3 / 4),
        ] {
            assert_eq!(history(turns).estimated(target, 399), want);
        }
    }

    #[test]
    fn an_answer_without_a_limit_keeps_a_quarter() {
        let history = history((1..=5).map(|revision| turn(revision, 99)).collect());
        let unlimited = GenerateRequest { limits: None, ..request(1) };
        let limited = |context: u64| history.fit(&request(u32::try_from(context / 4).unwrap()), "m", context);
        assert_eq!(history.fit(&unlimited, "m", 400), limited(400));
    }
}
