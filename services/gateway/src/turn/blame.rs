//! What a target finds wrong with a turn, in terms of its request: the caller does not see what is told before that.

use pointsman_errors::{Error, Reason};
use pointsman_proto::abilities;
use pointsman_proto::inference::v1::{GenerateRequest, TargetDescription};
use tonic_types::FieldViolation;

use super::history::{History, Place};

impl History {
    /// Says an error of a target, which was told so many messages, to whoever sent the request.
    pub(crate) fn blamed(&self, error: Error, told: usize) -> Error {
        if error.reason() == Reason::ContextTooLong {
            return self.too_long(error);
        }
        if !error.violations().iter().any(|violation| violation.field.starts_with("messages")) {
            return error;
        }
        let violations = error.violations().iter().map(|violation| self.found(violation, told)).collect();
        error.blaming(violations)
    }

    fn found(&self, violation: &FieldViolation, told: usize) -> FieldViolation {
        let (place, rest) = match message(&violation.field) {
            Some((index, rest)) => (self.place(index, told), rest),
            None if self.is_of_the_request(&violation.field) => return violation.clone(),
            None => (Place::EarlierTurn, ""),
        };
        let description = &violation.description;
        let (field, description) = match place {
            Place::Request(index) => (format!("messages[{index}]{rest}"), description.clone()),
            Place::SystemPrompt => (
                "session".to_owned(),
                format!(
                    "this target does not take its system prompt: {description}; change `system_prompt`, or name another model"
                ),
            ),
            Place::EarlierTurn => (
                "session".to_owned(),
                format!(
                    "an earlier turn has what this target does not take: {description}; name another model, or fork the session before that turn"
                ),
            ),
            Place::OtherRequest => (
                "session".to_owned(),
                format!(
                    "what is answered together with this request is nothing that this target takes: {description}; send this one again"
                ),
            ),
        };
        FieldViolation::new(field, description)
    }

    /// Whether a field of no message in particular is at fault for what the request itself says.
    fn is_of_the_request(&self, field: &str) -> bool {
        let alone = GenerateRequest { messages: self.request().to_vec(), ..GenerateRequest::default() };
        let nothing = TargetDescription::default();
        let is_said = |alone: &GenerateRequest| abilities::lacking(alone, &nothing).iter().any(|it| it.field == field);
        !field.starts_with("messages.parts.") || is_said(&alone)
    }

    fn too_long(&self, error: Error) -> Error {
        let (turns, tokens) = self.never_left_out();
        let prompt = (!self.session().system_prompt.is_empty()).then(|| "system prompt".to_owned());
        let turns = match turns {
            0 => None,
            1 => Some("pinned turn".to_owned()),
            turns => Some(format!("{turns} pinned turns")),
        };
        let always: Vec<_> = prompt.into_iter().chain(turns).collect();
        if always.is_empty() {
            return error;
        }
        let always = always.join(" and ");
        let message = format!("{}; the session's {always}, about {tokens} tokens, are never left out", error.message());
        error.with_message(message)
    }
}

/// Which message a field is about, and what of it.
fn message(field: &str) -> Option<(usize, &str)> {
    let (index, rest) = field.strip_prefix("messages[")?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use pointsman_errors::{Error, Reason};
    use pointsman_proto::inference::v1::{GenerateRequest, Message, Part, Reasoning, Role, part};
    use pointsman_proto::sessions::v1::{Session, Turn, TurnBegun};
    use tonic_types::FieldViolation;

    use super::History;

    fn says(text: &str) -> Message {
        let parts = vec![Part { kind: Some(part::Kind::Text(text.to_owned())) }];
        Message { role: Role::User.into(), parts, name: String::new() }
    }

    /// A system prompt, a pinned turn and another, one message that is answered with the request, its own two, and one more.
    fn history() -> History {
        let turn = |pinned| Turn { input: vec![says("a"), says("b")], pinned, ..Turn::default() };
        let begun = TurnBegun {
            session: Some(Session { system_prompt: "be brief".to_owned(), ..Session::default() }),
            history: vec![turn(true), turn(false)],
            prepended_messages: vec![says("c")],
            appended_messages: vec![says("f")],
            ..TurnBegun::default()
        };
        let mut thinks = says("e");
        thinks.parts.push(Part { kind: Some(part::Kind::Reasoning(Reasoning::default())) });
        History::new(begun, &GenerateRequest { messages: vec![says("d"), thinks], ..GenerateRequest::default() })
    }

    #[test]
    fn a_message_is_the_requests_or_the_sessions() {
        let history = history();
        let all = history.fit(&GenerateRequest::default(), "m", 0).messages.len();
        assert_eq!(all, 9);
        for (field, told, want) in [
            ("messages[6].parts[1]", 9, "messages[0].parts[1]"),
            ("messages[7]", 9, "messages[1]"),
            ("messages[5]", 9, "session"),
            ("messages[8]", 9, "session"),
            ("messages[0].role", 9, "session"),
            ("messages[1].role", 9, "session"),
            ("messages[4].role", 9, "session"),
            // One that was told less.
            ("messages[4].role", 7, "messages[0].role"),
            ("messages", 9, "messages"),
            ("tools[0].name", 9, "tools[0].name"),
            // Of no message in particular: the request has no picture, and some reasoning.
            ("messages.parts.image", 9, "session"),
            ("messages.parts.reasoning", 9, "messages.parts.reasoning"),
        ] {
            let error = Error::unsupported(vec![FieldViolation::new(field, "must be a text")]);
            let blamed = history.blamed(error, told);
            assert_eq!(
                (blamed.reason(), blamed.violations()[0].field.as_str()),
                (Reason::UnsupportedField, want),
                "{field}"
            );
            assert!(blamed.message().contains("must be a text"), "{blamed}");
            let names = |start: &str| field.starts_with(start) && want == "session";
            let of_a_turn = names("messages.") || (1..5).any(|index| names(&format!("messages[{index}]")));
            assert_eq!(blamed.message().contains("fork the session"), of_a_turn, "{field}: {blamed}");
        }
    }

    #[test]
    fn what_is_never_left_out_is_named_where_there_is_no_room() {
        let error = || Error::new(Reason::ContextTooLong, "the prompt is too long");
        let blamed = history().blamed(error(), 9);
        assert!(blamed.message().contains("too long; the session's system prompt and pinned turn, about "), "{blamed}");
        let plain = History::new(TurnBegun::default(), &GenerateRequest::default()).blamed(error(), 1);
        assert_eq!(plain.message(), error().message());
    }
}
