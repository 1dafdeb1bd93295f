//! Stored conversations as a person reads them.

use std::fmt::Write;

use pointsman_proto::finish_reason;
use pointsman_proto::inference::v1::{FinishReason, Image, Message, Part, Role, image, part};
use pointsman_proto::sessions::v1::{Turn, TurnKind};

use super::time;

/// The longest line of [`short`], in characters.
const SHORT: usize = 100;

/// Draws a turn: a line of facts, and what was said under it.
pub(crate) fn turn(turn: &Turn) -> String {
    let mut out = format!("turn {}, {}: {}\n", turn.revision, time(turn.create_time), facts(turn));
    for message in turn.input.iter().chain(&turn.output) {
        let parts: Vec<String> = message.parts.iter().map(part).collect();
        // What is said stands deeper than who says it, so that no text looks like another speaker's.
        let said = parts.join("\n").replace('\n', "\n    ");
        let _ = writeln!(out, "  {}: {said}", speaker(message));
    }
    out
}

/// Draws a turn with a line for each message.
pub(crate) fn short(turn: &Turn) -> String {
    let line = |message: &Message| {
        let parts: Vec<String> = message.parts.iter().map(part).collect();
        let said = parts.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
        let cut =
            if said.chars().count() > SHORT { said.chars().take(SHORT - 1).chain(['…']).collect() } else { said };
        format!("  {}: {cut}\n", speaker(message))
    };
    turn.input.iter().chain(&turn.output).map(line).collect()
}

/// Replaces what would move the cursor of a terminal, or turn the direction of its text, by its code.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let turns = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if turns || character.is_control() && !"\n\t".contains(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// Who answered and at which cost, and what is unusual.
fn facts(turn: &Turn) -> String {
    let mut facts = Vec::new();
    match turn.kind() {
        TurnKind::Appended => facts.push("appended".to_owned()),
        TurnKind::Interrupted => facts.push("interrupted".to_owned()),
        TurnKind::Partial => facts.push(format!("partial: {}", turn.failure_reason)),
        TurnKind::Generated | TurnKind::Unspecified => {}
    }
    match (turn.model.as_str(), turn.target.as_str()) {
        ("", "") => {}
        (model, "") => facts.push(model.to_owned()),
        (model, target) => facts.push(format!("{model} ({target})")),
    }
    if let Some(usage) = &turn.usage {
        let number = |tokens: Option<u32>| tokens.map_or_else(|| "?".to_owned(), |tokens| tokens.to_string());
        facts.push(format!("{} tokens in, {} out", number(usage.input_tokens), number(usage.output_tokens)));
    }
    match turn.finish_reason() {
        FinishReason::Unspecified | FinishReason::Stop => {}
        reason => facts.push(format!("ended by {}", finish_reason::name(reason))),
    }
    if !turn.channel.is_empty() {
        facts.push(format!("through {}", turn.channel));
    }
    if turn.pinned {
        facts.push("pinned".to_owned());
    }
    printable(&facts.join(", "))
}

fn speaker(message: &Message) -> String {
    let role = match message.role() {
        Role::Unspecified => "?",
        Role::System => "system",
        Role::Developer => "developer",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    match message.name.as_str() {
        "" => role.to_owned(),
        name => format!("{role} ({})", printable(name).replace('\n', " ")),
    }
}

fn part(part: &Part) -> String {
    let drawn = match &part.kind {
        Some(part::Kind::Text(text)) => text.clone(),
        Some(part::Kind::Image(image)) => picture(image),
        Some(part::Kind::ToolCall(call)) => format!("[call {}: {} {}]", call.id, call.name, call.arguments_json),
        Some(part::Kind::ToolResult(result)) => {
            let failed = if result.failed { ", failed" } else { "" };
            format!("[result of {}{failed}: {}]", result.tool_call_id, result.text)
        }
        Some(part::Kind::Reasoning(reasoning)) => format!("[reasoning: {}]", reasoning.text),
        Some(part::Kind::Opaque(opaque)) => {
            format!("[{} of {}, {}]", opaque.kind, opaque.origin, size(opaque.data.len()))
        }
        // Of a mesh that is newer than this program: what it has, is not to look as if it were not there.
        None => "[something that this version does not know]".to_owned(),
    };
    printable(&drawn)
}

fn picture(image: &Image) -> String {
    let kind = if image.media_type.is_empty() { "image" } else { &image.media_type };
    match &image.source {
        Some(image::Source::Data(data)) => format!("[{kind}, {}]", size(data.len())),
        Some(image::Source::Uri(uri)) => format!("[{kind} at {uri}]"),
        None => format!("[{kind}]"),
    }
}

/// Writes a number of bytes, rounded.
fn size(bytes: usize) -> String {
    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    match bytes {
        0..KIB => format!("{bytes} B"),
        KIB..MIB => format!("{} KiB", (bytes + KIB / 2) / KIB),
        _ => format!("{:.1} MiB", bytes as f64 / MIB as f64),
    }
}

#[cfg(test)]
mod tests;
