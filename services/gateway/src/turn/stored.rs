//! The answer of a turn that was committed before, as frames.

use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{
    ChoiceFinished, Delta, Finished, Frame, SessionTurn, Started, ToolCallDelta, delta, part,
};
use pointsman_proto::sessions::v1::Turn;

/// Makes the frames of a stored answer.
pub(crate) fn frames(turn: Turn, session: &str, started: Started) -> Vec<Frame> {
    let started = Started {
        target: turn.target,
        decision_id: turn.decision_id,
        session_turn: Some(SessionTurn {
            session: session.to_owned(),
            revision: turn.revision,
            left_out_turns: 0,
            repeated_answer: true,
        }),
        ..started
    };
    let parts = turn.output.into_iter().flat_map(|message| message.parts).filter_map(|part| part.kind);
    let pieces = parts.zip(0..).map(|(kind, part)| {
        Body::Delta(Delta { choice: 0, part, content: content(kind), logprobs: Vec::new(), token_count: None })
    });
    let mut bodies = vec![Body::Started(Box::new(started))];
    bodies.extend(pieces);
    bodies.push(Body::ChoiceFinished(ChoiceFinished { choice: 0, reason: turn.finish_reason }));
    bodies.extend(turn.usage.map(Body::Usage));
    bodies.push(Body::Finished(Finished { session_revision: Some(turn.revision) }));
    (1..).zip(bodies).map(|(sequence, body)| Frame { sequence, body: Some(body) }).collect()
}

/// What a model says has no other kinds.
fn content(kind: part::Kind) -> Option<delta::Content> {
    match kind {
        part::Kind::Text(text) => Some(delta::Content::Text(text)),
        part::Kind::Reasoning(reasoning) => Some(delta::Content::Reasoning(reasoning.text)),
        part::Kind::ToolCall(call) => Some(delta::Content::ToolCall(ToolCallDelta {
            id: call.id,
            name: call.name,
            arguments_json: call.arguments_json,
        })),
        part::Kind::Opaque(opaque) => Some(delta::Content::Opaque(opaque)),
        part::Kind::Image(_) | part::Kind::ToolResult(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use pointsman_proto::fold::Fold;
    use pointsman_proto::inference::v1::{FinishReason, Message, Opaque, Part, Role, Started, ToolCall, Usage, part};
    use pointsman_proto::sessions::v1::Turn;

    use super::frames;

    #[test]
    fn a_stored_answer_is_what_it_was() {
        let call = |id: &str| ToolCall { id: id.into(), name: "f".into(), arguments_json: "{\"a\":1}".into() };
        let kinds = [
            part::Kind::Text("one".into()),
            part::Kind::ToolCall(call("a")),
            part::Kind::ToolCall(call("b")),
            part::Kind::Opaque(Opaque { origin: "o".into(), kind: "k".into(), data: "d".into() }),
        ];
        let parts = kinds.into_iter().map(|kind| Part { kind: Some(kind) }).collect();
        let output = Message { role: Role::Assistant.into(), parts, name: String::new() };
        let turn = Turn {
            revision: 7,
            output: Some(output.clone()),
            finish_reason: FinishReason::ToolCalls.into(),
            usage: Some(Usage { input_tokens: Some(3), ..Usage::default() }),
            target: "models/m/versions/v".into(),
            ..Turn::default()
        };
        let frames = frames(turn.clone(), "sessions/s", Started::default());
        assert!(frames.iter().zip(1..).all(|(frame, sequence)| frame.sequence == sequence));
        let mut fold = Fold::default();
        frames.into_iter().for_each(|frame| fold.push(frame));
        let whole = fold.finish().unwrap();
        assert_eq!(whole.choices[0].message, Some(output));
        assert_eq!((whole.choices[0].finish_reason, whole.usage), (turn.finish_reason, turn.usage));
        let told = whole.started.unwrap().session_turn.unwrap();
        assert_eq!((told.revision, told.repeated_answer), (7, true));
    }
}
