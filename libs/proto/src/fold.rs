//! A stream of frames as one response: what `Generate` is to `GenerateStream`.

use crate::inference::v1::frame::Body;
use crate::inference::v1::{
    Choice, ChoiceFinished, Delta, Frame, GenerateResponse, Message, Part, Reasoning, Role, ToolCall, delta, part,
};

/// Collects frames into a response.
#[derive(Debug, Default)]
pub struct Fold {
    response: GenerateResponse,
    /// The part number of the last delta of each choice, by position in `response.choices`.
    open_parts: Vec<Option<u32>>,
    finished: bool,
}

impl Fold {
    /// Adds the next frame.
    pub fn push(&mut self, frame: Frame) {
        match frame.body {
            Some(Body::Started(started)) => self.response.started = Some(*started),
            Some(Body::Delta(delta)) => self.push_delta(delta),
            Some(Body::ChoiceFinished(ChoiceFinished { choice, reason })) => {
                let at = self.position(choice);
                self.response.choices[at].finish_reason = reason;
            }
            Some(Body::Usage(usage)) => self.response.usage = Some(usage),
            Some(Body::Finished(_)) => self.finished = true,
            None => {}
        }
    }

    /// Returns the response; `None` if no `Finished` came, since the answer is then not whole.
    pub fn finish(mut self) -> Option<GenerateResponse> {
        for message in self.response.choices.iter_mut().filter_map(|choice| choice.message.as_mut()) {
            // A token without a letter, beside a call: nothing that could be said again. An answer of that alone has one.
            let is_all = message.parts.iter().all(is_empty);
            message.parts.truncate(if is_all { 1 } else { usize::MAX });
            message.parts.retain(|part| is_all || !is_empty(part));
        }
        self.finished.then_some(self.response)
    }

    /// Returns what has come, whole or not.
    pub fn so_far(self) -> GenerateResponse {
        self.response
    }

    /// Where the choice of this index is; it is made if it is new. The index itself is never used as a
    /// position: a broken peer may send any.
    fn position(&mut self, index: u32) -> usize {
        let choices = &mut self.response.choices;
        choices.iter().position(|choice| choice.index == index).unwrap_or_else(|| {
            let message = Message { role: Role::Assistant.into(), ..Message::default() };
            choices.push(Choice { index, message: Some(message), ..Choice::default() });
            self.open_parts.push(None);
            choices.len() - 1
        })
    }

    fn push_delta(&mut self, delta: Delta) {
        let at = self.position(delta.choice);
        let continues = self.open_parts[at].replace(delta.part) == Some(delta.part);
        let choice = &mut self.response.choices[at];
        choice.logprobs.extend(delta.logprobs);
        let (Some(message), Some(content)) = (choice.message.as_mut(), delta.content) else { return };
        let open = if continues { message.parts.last_mut().and_then(|part| part.kind.as_mut()) } else { None };
        let kind = match (content, open) {
            (delta::Content::Text(text), Some(part::Kind::Text(whole))) => return whole.push_str(&text),
            (delta::Content::Reasoning(text), Some(part::Kind::Reasoning(whole))) => return whole.text.push_str(&text),
            (delta::Content::ToolCall(call), Some(part::Kind::ToolCall(whole))) => {
                return whole.arguments_json.push_str(&call.arguments_json);
            }
            (delta::Content::Text(text), _) => part::Kind::Text(text),
            (delta::Content::Reasoning(text), _) => part::Kind::Reasoning(Reasoning { text, ..Reasoning::default() }),
            (delta::Content::ToolCall(call), _) => {
                part::Kind::ToolCall(ToolCall { id: call.id, name: call.name, arguments_json: call.arguments_json })
            }
            (delta::Content::Opaque(opaque), _) => part::Kind::Opaque(opaque),
        };
        message.parts.push(Part { kind: Some(kind) });
    }
}

fn is_empty(part: &Part) -> bool {
    matches!(&part.kind, Some(part::Kind::Text(text)) if text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::Fold;
    use crate::inference::v1::frame::Body;
    use crate::inference::v1::{Delta, Finished, Frame, GenerateResponse, ToolCallDelta, delta::Content, part::Kind};

    fn fold(bodies: Vec<Body>) -> Option<GenerateResponse> {
        let mut fold = Fold::default();
        for (index, body) in bodies.into_iter().enumerate() {
            fold.push(Frame { sequence: index as u64 + 1, body: Some(body) });
        }
        fold.finish()
    }

    fn piece(choice: u32, part: u32, content: Content) -> Body {
        Body::Delta(Delta { choice, part, content: Some(content), logprobs: vec![], token_count: None })
    }

    #[test]
    fn pieces_become_parts() {
        let call = |id: &str, arguments: &str| {
            Content::ToolCall(ToolCallDelta { id: id.into(), name: id.into(), arguments_json: arguments.into() })
        };
        let response = fold(vec![
            piece(0, 0, Content::Reasoning("hm".into())),
            piece(1, 0, Content::Text("other".into())),
            piece(0, 0, Content::Reasoning("m".into())),
            piece(0, 1, Content::Text("Hel".into())),
            piece(0, 1, Content::Text("lo".into())),
            piece(0, 2, call("a", "{\"x\"")),
            piece(0, 2, call("", ":1}")),
            piece(0, 3, call("b", "{}")),
            Body::Finished(Finished::default()),
        ])
        .unwrap();
        let kinds: Vec<Vec<String>> = response
            .choices
            .iter()
            .map(|choice| {
                let parts = &choice.message.as_ref().unwrap().parts;
                parts
                    .iter()
                    .map(|part| match part.kind.as_ref().unwrap() {
                        Kind::Text(text) => text.clone(),
                        Kind::Reasoning(reasoning) => format!("({})", reasoning.text),
                        Kind::ToolCall(call) => format!("{}{}", call.name, call.arguments_json),
                        other => format!("{other:?}"),
                    })
                    .collect()
            })
            .collect();
        assert_eq!(kinds, [vec!["(hmm)", "Hello", "a{\"x\":1}", "b{}"], vec!["other"]]);
    }

    #[test]
    fn an_empty_text_is_no_part_beside_others() {
        let call = Content::ToolCall(ToolCallDelta { id: "a".into(), name: "f".into(), arguments_json: "{}".into() });
        for (pieces, parts) in [
            (vec![piece(0, 0, Content::Text(String::new())), piece(0, 1, call)], 1),
            (vec![piece(0, 0, Content::Text(String::new()))], 1),
            (vec![piece(0, 0, Content::Text(String::new())), piece(0, 1, Content::Text(String::new()))], 1),
        ] {
            let whole = fold(pieces.into_iter().chain([Body::Finished(Finished::default())]).collect()).unwrap();
            assert_eq!(whole.choices[0].message.as_ref().unwrap().parts.len(), parts);
        }
    }

    #[test]
    fn a_stream_without_its_end_is_no_response() {
        assert_eq!(fold(vec![piece(0, 0, Content::Text("Hel".into()))]), None);
    }
}
