//! What has come of a turn that may yet fail.

use pointsman_proto::fold::Fold;
use pointsman_proto::inference::v1::{Frame, Message, part};
use pointsman_proto::sessions::v1::{Turn, TurnKind};

/// What was said, and what has come so far.
pub(super) struct Partial {
    pub(super) input: Vec<Message>,
    pub(super) channel: String,
    pub(super) data_class: i32,
    pub(super) fold: Fold,
}

impl Partial {
    pub(super) fn push(&mut self, frame: Frame) {
        self.fold.push(frame);
    }

    /// The turn that is kept of it. `None`: nothing has come.
    pub(super) fn turn(self, request_id: &str, reason: &str) -> Option<Turn> {
        let answered = self.fold.so_far();
        let mut output = answered.choices.into_iter().next()?.message?;
        // A call that is not whole, or that nobody was told of, is none.
        output.parts.retain(|part| match &part.kind {
            Some(part::Kind::Text(text)) => !text.is_empty(),
            Some(part::Kind::ToolCall(_)) | None => false,
            Some(_) => true,
        });
        if output.parts.is_empty() {
            return None;
        }
        let started = answered.started.unwrap_or_default();
        Some(Turn {
            kind: TurnKind::Partial.into(),
            request_id: request_id.to_owned(),
            input: self.input,
            output: Some(output),
            model: started.model,
            target: started.target,
            decision_id: started.decision_id,
            usage: answered.usage,
            channel: self.channel,
            data_class: self.data_class,
            failure_reason: reason.to_owned(),
            ..Turn::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use pointsman_proto::fold::Fold;
    use pointsman_proto::inference::v1::frame::Body;
    use pointsman_proto::inference::v1::{Delta, Frame, ToolCallDelta, delta::Content, part::Kind};
    use pointsman_proto::sessions::v1::{Turn, TurnKind};

    use super::Partial;

    fn kept(contents: Vec<Content>) -> Option<Turn> {
        let mut partial = Partial { input: Vec::new(), channel: "c".into(), data_class: 0, fold: Fold::default() };
        for (part, content) in (0..).zip(contents) {
            let delta = Delta { choice: 0, part, content: Some(content), logprobs: Vec::new(), token_count: None };
            partial.push(Frame { sequence: u64::from(part) + 1, body: Some(Body::Delta(delta)) });
        }
        partial.turn("r", "ENGINE_LOST")
    }

    #[test]
    fn text_is_kept_and_a_call_is_not() {
        let call = Content::ToolCall(ToolCallDelta { id: "a".into(), name: "f".into(), arguments_json: "{".into() });
        let turn = kept(vec![Content::Text("Hel".into()), call.clone()]).unwrap();
        let parts = turn.output.as_ref().unwrap().parts.iter().map(|part| part.kind.clone().unwrap());
        assert_eq!(parts.collect::<Vec<_>>(), [Kind::Text("Hel".into())]);
        assert_eq!((turn.kind(), turn.failure_reason.as_str()), (TurnKind::Partial, "ENGINE_LOST"));
        assert!(kept(vec![call]).is_none());
        assert!(kept(vec![]).is_none());
    }
}
