//! Answers, streamed and whole.

use std::collections::BTreeMap;

use pointsman_dialects::openai::{ChatStream, TextStream, render_chat, render_text};
use pointsman_proto::fold::Fold;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Frame, GenerateResponse};
use serde_json::Value;

use super::client::{self, Answer, Received};
use super::frames::{frames, halved};

/// Frames of whatever peer, as OpenAI's answers: each event is JSON; `[DONE]` is there for each `Finished` and for nothing
/// else; what a client puts together of the events is what the whole answer says, however its pieces were cut.
///
/// The bytes: a frame in each line.
pub fn answers(data: &[u8]) {
    let frames = frames(data);
    let echo = if data.len().is_multiple_of(2) { "" } else { "once " };
    let chat = |frames: &[Frame]| {
        let mut stream = ChatStream::new(true);
        received(frames, |frame, out| stream.push(frame, out))
    };
    let text = |frames: &[Frame]| {
        let mut stream = TextStream::new(true, echo.to_owned());
        received(frames, |frame, out| stream.push(frame, out))
    };
    let (streamed, texts) = (chat(&frames), text(&frames));
    let halved = halved(&frames);
    assert_eq!((&chat(&halved).answers, &text(&halved).answers), (&streamed.answers, &texts.answers));
    let whole = fold(&frames);
    assert_eq!(fold(&halved), whole);

    let ends = frames.iter().filter(|frame| matches!(frame.body, Some(Body::Finished(_)))).count();
    assert_eq!((streamed.done, texts.done, whole.is_some()), (ends, ends, ends > 0));
    if let Some(whole) = whole {
        check(&frames, streamed, client::whole(&render_chat(&whole)));
        check(&frames, texts, client::whole(&render_text(&whole, echo)));
    }
}

fn received(frames: &[Frame], mut push: impl FnMut(&Frame, &mut Vec<u8>)) -> Received {
    let mut out = Vec::new();
    frames.iter().for_each(|frame| push(frame, &mut out));
    client::receive(&out)
}

fn fold(frames: &[Frame]) -> Option<GenerateResponse> {
    let mut fold = Fold::default();
    frames.iter().cloned().for_each(|frame| fold.push(frame));
    fold.finish()
}

/// Compares the answers that came to their end; of the others, a stream need not have said anything.
fn check(frames: &[Frame], streamed: Received, (whole, usage): (BTreeMap<u64, Answer>, Value)) {
    let ended = frames.iter().filter_map(|frame| match &frame.body {
        Some(Body::ChoiceFinished(finished)) => Some(u64::from(finished.choice)),
        _ => None,
    });
    for choice in ended {
        assert_eq!(streamed.answers.get(&choice), whole.get(&choice), "choice {choice}");
    }
    assert!(streamed.answers.keys().all(|choice| whole.contains_key(choice)));
    assert_eq!(streamed.usage, usage);
}
