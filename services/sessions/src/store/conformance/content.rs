use std::slice::from_ref;

use pointsman_proto::inference::v1::image::Source;
use pointsman_proto::inference::v1::part::Kind;
use pointsman_proto::inference::v1::{
    FinishReason, Image, Message, Opaque, Part, Reasoning, Role, ToolCall, ToolResult, Usage, UsageSource,
};
use pointsman_proto::sessions::v1::{Turn, TurnKind};

use super::places::Database;
use super::samples::{commit, fence, key, text, turn};
use crate::store::{Commit, Committed};

on_databases![
    every_kind_of_part_comes_back,
    strange_texts_come_back,
    large_turns_come_back,
    digests_come_back_bit_by_bit,
];

/// Commits a turn, and reads it in each way that there is.
async fn comes_back(database: &Database, id: &str, turn: Turn, digest: u64) {
    let key = key("t", id);
    let place = fence(&database.made(&key).await);
    let first = Commit { digest, ..commit(&key, &place, &turn) };
    assert!(matches!(database.turns().commit(&first).await.unwrap(), Committed::Now));
    assert_eq!(database.all_turns(&key).await, from_ref(&turn));
    let opened = database.opened(&key, &turn.request_id).await;
    assert_eq!(opened.turns, from_ref(&turn));
    assert_eq!(opened.committed, Some((turn.clone(), digest)));
    let again = database.turns().commit(&first).await.unwrap();
    assert!(matches!(&again, Committed::Before(told, told_digest) if (told, *told_digest) == (&turn, digest)));
    assert_eq!(database.turns().pin(&key, 1, turn.pinned).await.unwrap(), Some(turn));
}

fn message(role: Role, kinds: Vec<Kind>) -> Message {
    let parts = kinds.into_iter().map(|kind| Part { kind: Some(kind) }).collect();
    Message { role: role.into(), parts, name: "name".into() }
}

async fn every_kind_of_part_comes_back(database: &Database) {
    let image = |source| Image { source: Some(source), media_type: "image/png".into(), detail: "high".into() };
    let call = |id: &str| ToolCall { id: id.into(), name: "look".into(), arguments_json: r#"{"at":"🚂"}"#.into() };
    let result = |failed| ToolResult { tool_call_id: "call_1".into(), text: "seen".into(), failed };
    let bytes = |length: usize| (0..length).map(|index| (index % 256) as u8).collect::<Vec<_>>();
    let input = vec![
        message(Role::System, vec![Kind::Text("Be brief.".into())]),
        message(Role::Developer, vec![Kind::Text("Briefer.".into())]),
        message(
            Role::User,
            vec![
                Kind::Text("What is this?".into()),
                Kind::Image(image(Source::Uri("https://example.com/a.png?b=c".into()))),
                Kind::Image(image(Source::Data(bytes(1000).into()))),
            ],
        ),
        message(Role::Assistant, vec![Kind::ToolCall(call("call_1"))]),
        message(Role::Tool, vec![Kind::ToolResult(result(false)), Kind::ToolResult(result(true))]),
        Message { role: Role::User.into(), parts: vec![Part { kind: None }], name: String::new() },
    ];
    let output = message(
        Role::Assistant,
        vec![
            Kind::Reasoning(Reasoning { text: "Hm.".into(), signature: bytes(300).into() }),
            Kind::Opaque(Opaque { origin: "anthropic".into(), kind: "redacted".into(), data: bytes(256).into() }),
            Kind::Text("A train.".into()),
            Kind::ToolCall(call("call_2")),
        ],
    );
    let usage = Usage {
        input_tokens: Some(u32::MAX),
        output_tokens: Some(0),
        source: UsageSource::Reported.into(),
        ..Usage::default()
    };
    let turn = Turn {
        kind: TurnKind::Interrupted.into(),
        input,
        output: Some(output),
        finish_reason: FinishReason::ToolCalls.into(),
        model: "chat".into(),
        target: "models/m/versions/1".into(),
        decision_id: "d".into(),
        usage: Some(usage),
        estimated_tokens: u64::MAX,
        estimated_prompt_tokens: 12,
        channel: "web".into(),
        pinned: true,
        ..turn(1)
    };
    comes_back(database, "s", turn, 7).await;
}

async fn strange_texts_come_back(database: &Database) {
    for (id, strange) in [
        ("empty", ""),
        ("nul", "a\u{0}b\u{0}"),
        ("wide", "🚂\u{10ffff}\u{fffd}\u{1f469}\u{200d}\u{1f680}"),
        ("separators", "\u{1f}\n\r\t\u{2028}\u{feff}"),
        ("sql", r#"'; DROP TABLE turns; -- $1 ? :a "x" \' \0 %s"#),
    ] {
        let turn = Turn {
            input: vec![text(Role::User, strange), Message { name: strange.into(), ..Message::default() }],
            output: Some(text(Role::Assistant, strange)),
            ..turn(1)
        };
        comes_back(database, id, turn, 7).await;
    }
    comes_back(database, "bare", Turn { input: Vec::new(), output: None, kind: 0, ..turn(1) }, 7).await;
}

async fn large_turns_come_back(database: &Database) {
    let large = "🚂".repeat(512 * 1024);
    comes_back(database, "s", Turn { output: Some(text(Role::Assistant, &large)), ..turn(1) }, 7).await;
}

async fn digests_come_back_bit_by_bit(database: &Database) {
    for digest in [0, 1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        comes_back(database, &digest.to_string(), turn(1), digest).await;
    }
}
