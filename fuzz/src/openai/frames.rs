//! Frames, made of any bytes.

use pointsman_proto::inference::v1::delta::Content;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{
    ChoiceFinished, Delta, Finished, Frame, Opaque, Started, TokenLogprob, ToolCallDelta, Usage,
};

/// A frame for each line: a letter that says which, a character for the choice, one for the part, and a text whose
/// pieces are separated by `;`. Lines that say nothing are frames without a body.
pub(super) fn frames(data: &[u8]) -> Vec<Frame> {
    let lines = data.split(|byte| *byte == b'\n').take(512);
    lines.enumerate().map(|(index, line)| Frame { sequence: index as u64 + 1, body: body(line) }).collect()
}

fn body(line: &[u8]) -> Option<Body> {
    let number = |at: usize| line.get(at).map_or(0, |byte| u32::from(byte & 3));
    let (choice, part) = (number(1), number(2));
    let text = String::from_utf8_lossy(line.get(3..).unwrap_or_default()).into_owned();
    let mut pieces = text.split(';').map(str::to_owned);
    let mut piece = || pieces.next().unwrap_or_default();
    let delta = |content, logprobs| Body::Delta(Delta { choice, part, content, logprobs, token_count: None });
    Some(match line.first()? {
        b's' => Body::Started(Box::new(Started {
            request_id: piece(),
            model: piece(),
            engine_fingerprint: piece(),
            ..Started::default()
        })),
        b't' => delta(Some(Content::Text(text)), Vec::new()),
        b'r' => delta(Some(Content::Reasoning(text)), Vec::new()),
        b'c' => {
            let call = ToolCallDelta { id: piece(), name: piece(), arguments_json: piece() };
            delta(Some(Content::ToolCall(call)), Vec::new())
        }
        b'o' => delta(Some(Content::Opaque(Opaque { origin: text, ..Opaque::default() })), Vec::new()),
        b'n' => delta(None, Vec::new()),
        b'l' => delta(Some(Content::Text(piece())), logprobs(&text)),
        b'm' => delta(None, logprobs(&text)),
        b'f' => {
            Body::ChoiceFinished(ChoiceFinished { choice, reason: line.get(2).map_or(0, |byte| i32::from(byte & 7)) })
        }
        b'u' => Body::Usage(usage(choice, text.len())),
        b'.' => Body::Finished(Finished::default()),
        _ => return None,
    })
}

/// A token for each piece; its bytes are its log-probability too, and the token after it its alternative.
fn logprobs(text: &str) -> Vec<TokenLogprob> {
    let tokens: Vec<TokenLogprob> = text.split(';').map(logprob).collect();
    let after = tokens.iter().skip(1).cloned().map(|next| vec![next]).chain([Vec::new()]);
    tokens.iter().cloned().zip(after).map(|(token, alternatives)| TokenLogprob { alternatives, ..token }).collect()
}

fn logprob(text: &str) -> TokenLogprob {
    let mut number = [0; 8];
    number.iter_mut().rev().zip(text.bytes()).for_each(|(to, from)| *to = from);
    let (token, token_bytes) = (text.to_owned(), text.as_bytes().to_vec().into());
    TokenLogprob { token, token_bytes, logprob: f64::from_le_bytes(number), alternatives: Vec::new() }
}

fn usage(known: u32, length: usize) -> Usage {
    let tokens = u32::try_from(length).unwrap_or(u32::MAX);
    let some = |bit: u32| (known & bit != 0).then_some(tokens);
    Usage { input_tokens: some(1), output_tokens: some(2), cached_input_tokens: some(2), ..Usage::default() }
}

/// The same with every piece cut in two: it must not matter how an answer was cut.
pub(super) fn halved(frames: &[Frame]) -> Vec<Frame> {
    frames.iter().flat_map(halves).collect()
}

fn halves(frame: &Frame) -> Vec<Frame> {
    let Some(Body::Delta(delta)) = &frame.body else { return vec![frame.clone()] };
    let (first, second) = match &delta.content {
        Some(Content::Text(text)) => {
            let (first, second) = halves_of(text);
            (Content::Text(first), Content::Text(second))
        }
        Some(Content::Reasoning(text)) => {
            let (first, second) = halves_of(text);
            (Content::Reasoning(first), Content::Reasoning(second))
        }
        Some(Content::ToolCall(call)) => {
            let (first, second) = halves_of(&call.arguments_json);
            let rest = ToolCallDelta { arguments_json: second, ..ToolCallDelta::default() };
            (Content::ToolCall(ToolCallDelta { arguments_json: first, ..call.clone() }), Content::ToolCall(rest))
        }
        Some(Content::Opaque(_)) | None => return vec![frame.clone()],
    };
    let begun = Delta { content: Some(first), ..delta.clone() };
    let ended = Delta { content: Some(second), logprobs: Vec::new(), ..delta.clone() };
    [begun, ended].map(|delta| Frame { body: Some(Body::Delta(delta)), ..frame.clone() }).into()
}

fn halves_of(text: &str) -> (String, String) {
    let (first, second) = text.split_at(text.floor_char_boundary(text.len() / 2));
    (first.to_owned(), second.to_owned())
}
