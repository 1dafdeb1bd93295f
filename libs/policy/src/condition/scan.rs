//! A look at the text before it is parsed.
//!
//! The parser and the tree that it makes recurse, so what nests too deep must not reach them. Texts are
//! read by the rules of the grammar: a bracket inside one does not nest, and one that does not end, or has
//! a wrong escape, is told with its place, which the parser's own messages are poor at.

use super::Mistake;

/// How deep a condition may nest: brackets, and operators other than `&&` and `||` in a chain. The tree is
/// at most this high; the parser was tried with it on a stack of 1 MiB, half of what a thread has.
pub(super) const MOST_LEVELS: usize = 64;

/// Checks a text.
pub(super) fn scan(source: &str) -> Result<(), Mistake> {
    let mut levels = vec![Level::default()];
    let mut offset = 0;
    while let Some(byte) = source.as_bytes().get(offset).copied() {
        let length = match byte {
            b'"' | b'\'' => text_length(source, offset, false)?,
            b'`' => return Err(Mistake { message: "there are no names in backticks".into(), offset }),
            b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => word_or_text(source, offset, &mut levels)?,
            b'/' if source[offset..].starts_with("//") => run_length(source, offset, |byte| byte != b'\n'),
            byte if byte.is_ascii_whitespace() => 1,
            byte => sign_length(source, offset, byte, &mut levels),
        };
        if height(&levels) > MOST_LEVELS {
            let message = format!("the condition is nested deeper than {MOST_LEVELS} levels; split it into rules");
            return Err(Mistake { message, offset });
        }
        offset += length;
    }
    Ok(())
}

/// What stands between two brackets. `,`, `&&` and `||` part it: what they separate lies side by side in
/// the tree, while each other operator may be a level of its own.
#[derive(Clone, Copy, Default)]
struct Level {
    choices: usize,
    operators: usize,
    /// The height of the highest bracket of the part that is read.
    inner: usize,
    /// The height of the highest part that was read.
    parts: usize,
}

impl Level {
    fn height(self) -> usize {
        self.choices + self.parts.max(self.operators + self.inner)
    }

    fn end_part(&mut self) {
        (self.parts, self.operators, self.inner) = (self.parts.max(self.operators + self.inner), 0, 0);
    }
}

/// The height of the tree so far: each open bracket stands on what is around it.
fn height(levels: &[Level]) -> usize {
    let above = levels.iter().rev().fold(0, |above, level| {
        let inner = level.inner.max(above);
        Level { inner, ..*level }.height() + 1
    });
    above.saturating_sub(1)
}

fn sign_length(source: &str, offset: usize, byte: u8, levels: &mut Vec<Level>) -> usize {
    match byte {
        b'(' | b'[' | b'{' => levels.push(Level::default()),
        b')' | b']' | b'}' if levels.len() > 1 => {
            let closed = levels.pop().map_or(0, Level::height);
            if let Some(level) = levels.last_mut() {
                level.inner = level.inner.max(closed);
                // A bracket is a step from what stands before it, as in `a[1][2]`.
                level.operators += 1;
            }
        }
        _ => {}
    }
    let Some(level) = levels.last_mut() else { return 1 };
    let rest = &source.as_bytes()[offset..];
    match byte {
        b'(' | b'[' | b'{' | b')' | b']' | b'}' => 1,
        b',' | b':' => {
            level.end_part();
            1
        }
        b'&' | b'|' if rest.get(1) == Some(&byte) => {
            level.end_part();
            2
        }
        b'?' => {
            level.end_part();
            level.choices += 1;
            1
        }
        _ => {
            level.operators += 1;
            // `>=` is one operator, and so is a run of `!`. A `/` may begin a comment.
            let length = run_length(source, offset, |byte| b"=<>!+-*%".contains(&byte));
            length.max(source[offset..].chars().next().map_or(1, char::len_utf8))
        }
    }
}

fn word_or_text(source: &str, offset: usize, levels: &mut [Level]) -> Result<usize, Mistake> {
    let length = run_length(source, offset, |byte| byte == b'_' || byte.is_ascii_alphanumeric());
    let word = source[offset..offset + length].to_ascii_lowercase();
    if let ("in", Some(level)) = (word.as_str(), levels.last_mut()) {
        level.operators += 1;
    }
    match (source.as_bytes().get(offset + length), word.as_str()) {
        (Some(b'"' | b'\''), "r" | "br") => Ok(length + text_length(source, offset + length, true)?),
        (Some(b'"' | b'\''), "b" | "in") => Ok(length + text_length(source, offset + length, false)?),
        (Some(b'"' | b'\''), _) => Err(unexpected_text(offset + length)),
        _ => Ok(length),
    }
}

fn unexpected_text(offset: usize) -> Mistake {
    Mistake { message: "a text cannot stand here".into(), offset }
}

/// How long the text is whose quote stands at `start`.
fn text_length(source: &str, start: usize, raw: bool) -> Result<usize, Mistake> {
    let bytes = source.as_bytes();
    let quote = &source[start..=start];
    let triple = quote.repeat(3);
    let (quotes, lines) = if source[start..].starts_with(&triple) { (&*triple, true) } else { (quote, false) };
    let mut offset = start + quotes.len();
    while let Some(byte) = bytes.get(offset) {
        if bytes[offset..].starts_with(quotes.as_bytes()) {
            return Ok(offset + quotes.len() - start);
        }
        match byte {
            b'\\' if !raw => offset += escape_length(bytes, offset)?,
            b'\n' | b'\r' if !lines => break,
            _ => offset += 1,
        }
    }
    Err(Mistake { message: format!("the text that begins here has no {quotes} at its end"), offset: start })
}

fn escape_length(bytes: &[u8], offset: usize) -> Result<usize, Mistake> {
    let (length, is_digit): (usize, fn(&u8) -> bool) = match bytes.get(offset + 1) {
        Some(b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`') => return Ok(2),
        Some(b'x' | b'X') => (4, u8::is_ascii_hexdigit),
        Some(b'u') => (6, u8::is_ascii_hexdigit),
        Some(b'U') => (10, u8::is_ascii_hexdigit),
        Some(b'0'..=b'3') => (4, |digit| (b'0'..=b'7').contains(digit)),
        _ => (0, |_| false),
    };
    match bytes.get(offset + 2..offset + length) {
        Some(digits) if digits.iter().all(is_digit) => Ok(length),
        _ => {
            let message = "this is no escape; write `\\\\` for a backslash, or r\"…\" for a text without escapes";
            Err(Mistake { message: message.into(), offset })
        }
    }
}

fn run_length(source: &str, offset: usize, belongs: impl Fn(u8) -> bool) -> usize {
    source.as_bytes()[offset..].iter().take_while(|byte| belongs(**byte)).count()
}
