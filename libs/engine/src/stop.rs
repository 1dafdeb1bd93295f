//! Finds stop texts in a stream of text, across the borders of its pieces.
//!
//! Text that may be the beginning of a stop text is held back until that is decided, so that nothing of
//! a stop text is ever delivered.

/// Cuts a stream of text before the first stop text that is complete.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
    stopped: bool,
}

impl StopMatcher {
    /// Makes a matcher. Empty stop texts match nothing.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, held: String::new(), stopped: false }
    }

    /// Takes the next piece and returns what may be delivered now.
    pub fn push(&mut self, piece: &str) -> String {
        if self.stopped {
            return String::new();
        }
        if self.stops.is_empty() {
            return piece.to_owned();
        }
        self.held.push_str(piece);
        if let Some(at) = first_stop(&self.stops, &self.held) {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep_from = self.held.len() - self.undecided_len();
        let rest = self.held.split_off(keep_from);
        std::mem::replace(&mut self.held, rest)
    }

    /// Whether a stop text was found: nothing more is delivered.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Returns what was held back, once the generation has ended without a stop text.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Length of the longest end of `held` that begins a stop text.
    fn undecided_len(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0).saturating_sub(1);
        let start = self.held.len().saturating_sub(longest);
        (start..self.held.len())
            .filter(|at| self.held.is_char_boundary(*at))
            .find(|at| self.stops.iter().any(|stop| stop.starts_with(&self.held[*at..])))
            .map_or(0, |at| self.held.len() - at)
    }
}

/// Where the stop text begins that is complete first; of those that end together, the longest. The
/// outcome then does not depend on how the text was cut into pieces.
fn first_stop(stops: &[String], text: &str) -> Option<usize> {
    let found = stops.iter().filter_map(|stop| text.find(stop.as_str()).map(|at| (at + stop.len(), at)));
    found.min().map(|(_end, at)| at)
}

#[cfg(test)]
mod tests {
    use super::{StopMatcher, first_stop};
    use proptest::prelude::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut matcher = StopMatcher::new(&stops);
        let mut out: String = pieces.iter().map(|piece| matcher.push(piece)).collect();
        out.push_str(&matcher.finish());
        (out, matcher.stopped())
    }

    #[test]
    fn stop_text_is_cut_wherever_the_pieces_break() {
        for (stops, pieces, want, stopped) in [
            (&[", 5"][..], &["1, 2, 3, 4", ",", " 5", ", 6"][..], "1, 2, 3, 4", true),
            (&[", 5"], &["1,", " 2"], "1, 2", false),
            (&["end"], &["the e", "n", "emy's end."], "the enemy's ", true),
            (&["aab"], &["aa", "aab"], "aa", true),
            (&["b", "abc"], &["xabc"], "xa", true),
            (&["ß!"], &["Fu", "ß", "!"], "Fu", true),
            (&[], &["a", "b"], "ab", false),
            (&[""], &["a"], "a", false),
        ] {
            assert_eq!(run(stops, pieces), (want.to_owned(), stopped), "{stops:?} in {pieces:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_text_gives(
            text in "[abé]{0,24}",
            stops in proptest::collection::vec("[abé]{1,4}", 0..3),
            cuts in proptest::collection::vec(0usize..25, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| text.is_char_boundary(*cut) && *cut <= text.len()).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&text[from..cut]);
                from = cut;
            }
            pieces.push(&text[from..]);
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let owned: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
            let whole = first_stop(&owned, &text);
            let want = (text[..whole.unwrap_or(text.len())].to_owned(), whole.is_some());
            prop_assert_eq!(run(&stops, &pieces), want);
        }
    }
}
