//! The lines a process has written: bounded, and waited for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::watch;

/// The oldest lines make room beyond this many.
const KEPT: usize = 10_000;
/// Later ones are only a consequence of these.
const UNEXPECTED_KEPT: usize = 1_000;
/// The number of outputs of a process.
const OUTPUTS: usize = 2;

/// Shared by the process's handle and the tasks that read its outputs.
#[derive(Clone, Default)]
pub struct Lines {
    kept: Arc<Mutex<Kept>>,
    /// Grows with every line and with the end of every output.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    lines: VecDeque<String>,
    unexpected: Vec<String>,
    /// How many lines have made room.
    dropped: usize,
    ended_outputs: usize,
}

impl Lines {
    /// Reads one output to its end. Bytes that are no text are replaced.
    pub async fn read(self, output: impl AsyncRead + Unpin) {
        let mut output = BufReader::new(output);
        let mut bytes = Vec::new();
        while let Ok(1..) = output.read_until(b'\n', &mut bytes).await {
            let line = String::from_utf8_lossy(&bytes);
            self.change(|kept| kept.add(line.trim_end().to_owned()));
            bytes.clear();
        }
        self.change(|kept| kept.ended_outputs += 1);
    }

    /// Waits for a line that contains the text; `None` if the outputs end without one.
    pub async fn first_with(&self, text: &str) -> Option<String> {
        let mut seen = 0;
        self.when(|kept| {
            let found = kept.lines.iter().skip(seen - kept.dropped.min(seen)).find(|line| line.contains(text));
            seen = kept.dropped + kept.lines.len();
            match found {
                Some(line) => Some(Some(line.clone())),
                None => (kept.ended_outputs == OUTPUTS).then_some(None),
            }
        })
        .await
    }

    /// Waits until all outputs are closed.
    pub async fn ended(&self) {
        self.when(|kept| (kept.ended_outputs == OUTPUTS).then_some(())).await;
    }

    /// Returns the lines that are kept.
    pub fn all(&self) -> Vec<String> {
        self.lock().lines.iter().cloned().collect()
    }

    /// Returns the lines that a test should explain.
    pub fn unexpected(&self) -> Vec<String> {
        self.lock().unexpected.clone()
    }

    /// Returns the last lines as one text.
    pub fn tail(&self, count: usize) -> String {
        let kept = self.lock();
        let first = kept.lines.len().saturating_sub(count);
        kept.lines.iter().skip(first).map(|line| format!("{line}\n")).collect()
    }

    async fn when<T>(&self, mut condition: impl FnMut(&Kept) -> Option<T>) -> T {
        let mut changes = self.changed.subscribe();
        loop {
            // Marked as seen before it is looked at, so that no change falls between the two.
            changes.mark_unchanged();
            if let Some(value) = condition(&self.lock()) {
                return value;
            }
            // The sender lives as long as `self`.
            let _ = changes.changed().await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut Kept)) {
        change(&mut self.lock());
        self.changed.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn add(&mut self, line: String) {
        if is_unexpected(&line) && self.unexpected.len() < UNEXPECTED_KEPT {
            self.unexpected.push(line.clone());
        }
        if self.lines.len() == KEPT {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back(line);
    }
}

/// Tells a warning, an error or a panic by its form: `2026-11-21T01:02:03.456789Z  WARN target: message`.
fn is_unexpected(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let is_time =
        |word: &str| word.ends_with('Z') && word.contains('T') && word.starts_with(|c: char| c.is_ascii_digit());
    match words.next() {
        Some("thread") => line.contains(" panicked at "),
        Some(word) if is_time(word) => matches!(words.next(), Some("WARN" | "ERROR")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_errors_and_panics_are_unexpected() {
        for line in [
            "2026-11-21T01:02:03.456789Z  WARN pointsman::server: slow",
            "2026-11-21T01:02:03.456789Z ERROR pointsman::server: broken",
            "thread 'main' (1) panicked at src/main.rs:1:1:",
        ] {
            assert!(is_unexpected(line), "{line}");
        }
        for line in [
            "2026-11-21T01:02:03.456789Z  INFO pointsman::server: no ERROR here",
            "ERROR is a word",
            "",
            "thread safety matters",
        ] {
            assert!(!is_unexpected(line), "{line}");
        }
    }

    #[test]
    fn old_lines_make_room_but_warnings_stay() {
        let mut kept = Kept::default();
        kept.add("2026-11-21T01:02:03Z WARN first".to_owned());
        (0..KEPT).for_each(|number| kept.add(number.to_string()));
        assert_eq!(kept.lines.len(), KEPT);
        assert_eq!(kept.lines.front().map(String::as_str), Some("0"));
        assert_eq!(kept.unexpected.len(), 1);
    }
}
