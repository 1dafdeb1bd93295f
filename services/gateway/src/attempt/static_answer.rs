//! A policy's fixed answer, as the frames of a stream.

use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{ChoiceFinished, Delta, FinishReason, Finished, Frame, Started, delta};

/// Makes the frames. They have no usage: no model was used, and absent is never zero.
pub(super) fn frames(started: Started, text: &str) -> impl Iterator<Item = Frame> {
    let delta = Delta { content: Some(delta::Content::Text(text.to_owned())), ..Delta::default() };
    let bodies = [
        Body::Started(Box::new(started)),
        Body::Delta(delta),
        Body::ChoiceFinished(ChoiceFinished { choice: 0, reason: FinishReason::Stop.into() }),
        Body::Finished(Finished::default()),
    ];
    (1..).zip(bodies).map(|(sequence, body)| Frame { sequence, body: Some(body) })
}
