//! Where in a YAML text a field stands.

use serde_saphyr::Spanned;

use super::tree::{Node, same};

/// A YAML text and its tree.
pub(super) struct Places<'t> {
    text: &'t str,
    root: Option<&'t Spanned<Node>>,
}

impl<'t> Places<'t> {
    pub(super) fn new(text: &'t str, root: Option<&'t Spanned<Node>>) -> Self {
        Self { text, root }
    }

    /// Finds the line and column of a field (`virtual_models[0].rules[1].when`), or of the nearest one around
    /// it, and within its text of the byte at this offset.
    pub(super) fn find(&self, path: &str, offset: Option<usize>) -> (u64, u64) {
        let Some(mut here) = self.root else { return (1, 1) };
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match (&here.value, step.strip_suffix(']')) {
                (Node::List(items), Some(index)) => index.parse().ok().and_then(|index: usize| items.get(index)),
                (Node::Map(entries), None) => {
                    entries.iter().find(|(key, _)| same(&key.value, step)).map(|(_, value)| value)
                }
                _ => None,
            };
            match next {
                Some(next) => here = next,
                None => break,
            }
        }
        let (line, column) = (here.referenced.line(), here.referenced.column());
        (line, column + self.within(line, column, offset))
    }

    /// How many columns further the byte at this offset is, in a text that stands on one line; otherwise its own
    /// place is all that is known.
    fn within(&self, line: u64, column: u64, offset: Option<usize>) -> u64 {
        let index = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
        let mut lines = self.text.lines().skip(index(line).saturating_sub(1));
        let before = if line > 1 { lines.next() } else { None };
        let Some(written) = lines.next() else { return 0 };
        let is_block = written.chars().take(index(column)).all(char::is_whitespace) && before.is_some_and(opens_block);
        let mut written = written.chars().skip(index(column)).peekable();
        let quote = written.next_if(|first| !is_block && matches!(first, '"' | '\''));
        let mut columns = u64::from(quote.is_some());
        let Some(mut bytes) = offset else { return 0 };
        while bytes > 0 {
            let Some(first) = written.next() else { return 0 };
            let (more, length) = match (quote, first) {
                (Some('\''), '\'') => (1, 1),
                (Some('"'), '\\') => escaped(written.clone()),
                _ => (0, first.len_utf8()),
            };
            columns += 1 + written.by_ref().take(more).count() as u64;
            bytes = bytes.saturating_sub(length);
        }
        columns
    }
}

/// Whether what follows this line is a text as it stands, or folded (YAML 1.2.2, 8.1).
fn opens_block(line: &str) -> bool {
    let header = line.split(" #").next().unwrap_or_default().trim_end();
    header.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-')).ends_with(['|', '>'])
}

/// How many characters follow the backslash of an escape, and how many bytes it stands for (YAML 1.2.2, 5.7).
fn escaped(mut after: impl Iterator<Item = char>) -> (usize, usize) {
    let digits = match after.next() {
        Some('x') => 2,
        Some('u') => 4,
        Some('U') => 8,
        Some('N' | '_') => return (1, 2),
        Some('L' | 'P') => return (1, 3),
        _ => return (1, 1),
    };
    let number = after.take(digits).fold(0, |number, digit| number * 16 + digit.to_digit(16).unwrap_or(0));
    (digits + 1, char::from_u32(number).map_or(1, char::len_utf8))
}
