//! What the simulated engine reads in a request: its texts and their tokens.

use pointsman_proto::inference::v1::{GenerateRequest, Message, Role, part};

/// Tokens of all text, and four for the template around each message.
pub(super) fn count_prompt_tokens(request: &GenerateRequest) -> u32 {
    let in_texts = request.messages.iter().flat_map(texts).map(|text| tokens(text).count()).sum::<usize>();
    u32::try_from(in_texts + 4 * request.messages.len()).unwrap_or(u32::MAX)
}

/// Returns the text of the last message of a user that has any.
pub(super) fn last_user_text(request: &GenerateRequest) -> Option<String> {
    let by_users = request.messages.iter().rev().filter(|message| message.role() == Role::User);
    by_users.map(|message| texts(message).collect::<String>()).find(|text| !text.is_empty())
}

fn texts(message: &Message) -> impl Iterator<Item = &str> {
    message.parts.iter().filter_map(|part| match &part.kind {
        Some(part::Kind::Text(text)) => Some(text.as_str()),
        _ => None,
    })
}

/// Cuts before each space that follows something else: the tokens of a text are the text.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = rest[first.len_utf8()..].find(' ').map_or(rest.len(), |at| at + first.len_utf8());
        let (token, after) = rest.split_at(end);
        rest = after;
        Some(token)
    })
}
