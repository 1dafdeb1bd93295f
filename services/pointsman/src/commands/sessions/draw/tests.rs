use pointsman_proto::inference::v1::part::Kind;
use pointsman_proto::inference::v1::{
    FinishReason, Image, Message, Opaque, Part, Reasoning, Role, ToolCall, ToolResult, Usage, image,
};
use pointsman_proto::sessions::v1::{Turn, TurnKind};
use prost_types::Timestamp;

use super::{printable, short, size, turn};

fn message(role: Role, kinds: Vec<Option<Kind>>) -> Message {
    let parts = kinds.into_iter().map(|kind| Part { kind }).collect();
    Message { role: role.into(), parts, ..Message::default() }
}

fn text(text: &str) -> Option<Kind> {
    Some(Kind::Text(text.into()))
}

/// A turn with a part of every kind.
fn everything() -> Turn {
    let picture = Image {
        source: Some(image::Source::Data(vec![0; 12_300].into())),
        media_type: "image/png".into(),
        ..Image::default()
    };
    let link = Image { source: Some(image::Source::Uri("https://a/b.jpg".into())), ..Image::default() };
    let result = ToolResult { tool_call_id: "c0".into(), text: "no such city".into(), failed: true };
    let opaque = Opaque { origin: "openai".into(), kind: "reasoning.encrypted".into(), data: vec![0; 3 << 20].into() };
    let call = ToolCall { id: "c1".into(), name: "look".into(), arguments_json: r#"{"at":1}"#.into() };
    let reasoning = Reasoning { text: "They ask\nfor two things".into(), ..Reasoning::default() };
    let asked = message(
        Role::User,
        vec![text("What is this?\nassistant: nothing"), Some(Kind::Image(picture)), Some(Kind::Image(link))],
    );
    let answered = message(
        Role::Assistant,
        vec![
            Some(Kind::Reasoning(reasoning)),
            text("Let me look."),
            Some(Kind::ToolCall(call)),
            Some(Kind::Opaque(opaque)),
            None,
        ],
    );
    Turn {
        revision: 3,
        kind: TurnKind::Generated.into(),
        input: vec![
            message(Role::Tool, vec![Some(Kind::ToolResult(result))]),
            Message { name: "Maria".into(), ..asked },
        ],
        output: Some(answered),
        finish_reason: FinishReason::ToolCalls.into(),
        model: "assistant".into(),
        target: "models/pip/versions/1".into(),
        usage: Some(Usage { input_tokens: Some(45), output_tokens: Some(12), ..Usage::default() }),
        channel: "whatsapp".into(),
        pinned: true,
        create_time: Some(Timestamp { seconds: 86_400, nanos: 123_456_789 }),
        ..Turn::default()
    }
}

#[test]
fn a_turn_shows_all_that_was_said() {
    let want = "\
turn 3, 1970-01-02T00:00:00Z: assistant (models/pip/versions/1), 45 tokens in, 12 out, ended by tool_calls, through whatsapp, pinned
  tool: [result of c0, failed: no such city]
  user (Maria): What is this?
    assistant: nothing
    [image/png, 12 KiB]
    [image at https://a/b.jpg]
  assistant: [reasoning: They ask
    for two things]
    Let me look.
    [call c1: look {\"at\":1}]
    [reasoning.encrypted of openai, 3.0 MiB]
    [something that this version does not know]
";
    assert_eq!(turn(&everything()), want);
}

#[test]
fn a_turn_that_no_model_answered_says_so() {
    let appended = Turn {
        revision: 1,
        kind: TurnKind::Appended.into(),
        input: vec![message(Role::Assistant, vec![text("A person is here now.")])],
        ..Turn::default()
    };
    assert_eq!(turn(&appended), "turn 1, -: appended\n  assistant: A person is here now.\n");
    let unknown = Turn { kind: TurnKind::Interrupted.into(), usage: Some(Usage::default()), ..appended };
    assert!(turn(&unknown).starts_with("turn 1, -: interrupted, ? tokens in, ? out\n"), "{}", turn(&unknown));
}

#[test]
fn in_short_a_message_is_a_line() {
    let long = "wide ".repeat(40);
    let said = Turn {
        input: vec![message(Role::User, vec![text("  two\n\nlines "), text("more")])],
        output: Some(message(Role::Assistant, vec![text(&long)])),
        ..Turn::default()
    };
    let cut: String = long.chars().take(99).collect();
    assert_eq!(short(&said), format!("  user: two lines more\n  assistant: {cut}…\n"));
}

#[test]
fn nothing_that_is_stored_moves_the_cursor() {
    assert_eq!(printable("a\u{1b}[2Jb\tc\nd\r\u{9b}é"), "a\\u{1b}[2Jb\tc\nd\\u{d}\\u{9b}é");
    assert_eq!(printable("\u{202e}evil\u{2069}"), "\\u{202e}evil\\u{2069}");
    let named = Message { name: "a\n\u{7}b".into(), ..message(Role::User, vec![text("\u{1b}]0;title\u{7}")]) };
    let drawn = turn(&Turn { input: vec![named], channel: "x\u{1b}".into(), ..Turn::default() });
    assert!(
        drawn.contains("user (a \\u{7}b): \\u{1b}]0;title\\u{7}\n") && drawn.contains("through x\\u{1b}"),
        "{drawn}"
    );
}

#[test]
fn sizes_are_rounded() {
    for (bytes, written) in [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (12_300, "12 KiB"), (1 << 20, "1.0 MiB")] {
        assert_eq!(size(bytes), written);
    }
}
