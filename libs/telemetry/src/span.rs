use std::ops::Deref;

use tracing::Span;

/// A span that ends when it is dropped.
///
/// A plain [`Span`] is recorded as ending where it was last left, which for the span of a stream is long
/// before its end: between two polls nobody is inside.
#[derive(Debug)]
pub struct LastingSpan(Span);

/// Cuts a text that a caller chose to what a span may carry of it: 256 bytes.
pub fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(256)]
}

impl From<Span> for LastingSpan {
    fn from(span: Span) -> Self {
        Self(span)
    }
}

impl Deref for LastingSpan {
    type Target = Span;

    fn deref(&self) -> &Span {
        &self.0
    }
}

impl Drop for LastingSpan {
    fn drop(&mut self) {
        self.0.in_scope(|| {});
    }
}
