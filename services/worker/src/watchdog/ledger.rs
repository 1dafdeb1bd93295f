//! Who waits for the engine, and since when nothing has come. Pure: the time is told.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::WatchdogConfig;

/// Whoever leaves sooner has seen nothing that is worth a question.
const SUSPICIOUS: Duration = Duration::from_secs(1);

/// What became of somebody's wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The engine has given nothing to anybody for longer than it may.
    Stuck,
    /// This answer got nothing, while others did.
    Stalled,
}

/// All that the engine owes an event to.
#[derive(Debug)]
pub(super) struct Ledger {
    limits: WatchdogConfig,
    waits: HashMap<u64, Wait>,
    next: u64,
    /// When somebody last got something.
    last_event: Instant,
    /// Tokens of prompts that the engine may have read since: nothing else need come meanwhile.
    reading: u64,
    /// The same, of whoever was gone before anything came: an engine ends the step that it is in.
    left_behind: u64,
    /// Tokens of prompts whose answers have not begun.
    unread: u64,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    /// Since its beginning, or its last event.
    since: Instant,
    unread: u64,
    writes: bool,
}

impl Ledger {
    pub(super) fn new(limits: WatchdogConfig, now: Instant) -> Self {
        let waits = HashMap::new();
        Self { limits, waits, next: 0, last_event: now, reading: 0, left_behind: 0, unread: 0 }
    }

    /// Somebody begins to wait, with a prompt that is to be read.
    pub(super) fn begin(&mut self, prompt_tokens: u64, now: Instant) -> u64 {
        self.next += 1;
        self.waits.insert(self.next, Wait { since: now, unread: prompt_tokens, writes: false });
        self.unread += prompt_tokens;
        self.reading += prompt_tokens;
        self.next
    }

    /// Somebody got something. Returns whether the next thing is due sooner for that.
    pub(super) fn event(&mut self, id: u64, writes: bool, now: Instant) -> bool {
        let Some(wait) = self.waits.get_mut(&id) else { return false };
        wait.since = now;
        let begins = writes && !wait.writes;
        if begins {
            wait.writes = true;
            self.unread -= std::mem::take(&mut wait.unread);
        }
        self.last_event = now;
        (self.reading, self.left_behind) = (self.unread, 0);
        begins
    }

    /// Somebody waits no more. Returns whether that leaves doubt: it got nothing, and nobody is left to see.
    pub(super) fn end(&mut self, id: u64, now: Instant) -> bool {
        let Some(wait) = self.waits.remove(&id) else { return false };
        self.unread -= wait.unread;
        if !self.waits.is_empty() {
            return false;
        }
        self.left_behind = self.left_behind.max(std::mem::take(&mut self.reading));
        self.last_event <= wait.since && now - wait.since >= SUSPICIOUS
    }

    /// Begins every wait anew: nobody could have noticed an event.
    pub(super) fn forgive(&mut self, now: Instant) {
        self.last_event = now;
        self.waits.values_mut().for_each(|wait| wait.since = now);
    }

    /// Returns whether the engine is stuck.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        self.waits.values().any(|wait| self.stuck_at(wait) <= now)
    }

    /// Returns whose answers have stalled.
    pub(super) fn stalled(&self, now: Instant) -> Vec<u64> {
        self.waits.iter().filter(|(_, wait)| self.stalled_at(wait) <= now).map(|(id, _)| *id).collect()
    }

    /// Returns when something is wrong unless something comes.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waits.values().map(|wait| self.stuck_at(wait).min(self.stalled_at(wait))).min()
    }

    /// How long the engine has given nothing to those that wait.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        let since = self.waits.values().map(|wait| wait.since.max(self.last_event)).min();
        since.map_or(Duration::ZERO, |since| now - since)
    }

    fn stuck_at(&self, wait: &Wait) -> Instant {
        let limit = if wait.writes { self.limits.step } else { self.limits.first_token };
        wait.since.max(self.last_event) + limit + self.allowance()
    }

    fn stalled_at(&self, wait: &Wait) -> Instant {
        wait.since + self.limits.answer + self.allowance()
    }

    /// What reading the prompts may take.
    fn allowance(&self) -> Duration {
        let tokens = u32::try_from(self.reading + self.left_behind).unwrap_or(u32::MAX);
        self.limits.per_prompt_token.saturating_mul(tokens)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Ledger;
    use crate::config::WatchdogConfig;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// A step may take 30 s, a first token 60 s and one more for each token of a prompt.
    fn ledger(now: Instant) -> Ledger {
        Ledger::new(WatchdogConfig { per_prompt_token: seconds(1), ..WatchdogConfig::default() }, now)
    }

    /// Fails unless it is stuck after so many seconds, and not before.
    fn stuck_after(ledger: &Ledger, begin: Instant, count: u64) {
        assert!(!ledger.is_stuck(begin + seconds(count) - Duration::from_millis(1)));
        assert!(ledger.is_stuck(begin + seconds(count)));
        assert_eq!(ledger.due(), Some(begin + seconds(count)));
    }

    #[test]
    fn a_step_has_its_limit_and_a_first_token_another() {
        let begin = Instant::now();
        let mut ledger = ledger(begin);
        assert_eq!((ledger.due(), ledger.is_stuck(begin + seconds(9999))), (None, false));
        let one = ledger.begin(0, begin + seconds(1000));
        stuck_after(&ledger, begin, 1060);
        assert!(ledger.event(one, true, begin + seconds(1010)), "the next is due sooner");
        stuck_after(&ledger, begin, 1040);
        assert!(!ledger.event(one, true, begin + seconds(1039)));
        stuck_after(&ledger, begin, 1069);
        assert_eq!(ledger.silence(begin + seconds(1050)), seconds(11));
        assert!(!ledger.end(one, begin + seconds(1039)));
        assert_eq!((ledger.due(), ledger.silence(begin + seconds(1050))), (None, seconds(0)));
    }

    #[test]
    fn while_prompts_are_read_nobody_is_due() {
        let begin = Instant::now();
        let mut ledger = ledger(begin);
        let writer = ledger.begin(5, begin);
        ledger.event(writer, true, begin);
        let reader = ledger.begin(100, begin + seconds(10));
        stuck_after(&ledger, begin, 130);
        // The engine reads in pieces, and steps between them.
        ledger.event(writer, true, begin + seconds(50));
        stuck_after(&ledger, begin, 50 + 30 + 100);
        ledger.event(reader, true, begin + seconds(100));
        stuck_after(&ledger, begin, 100 + 30);
    }

    #[test]
    fn who_came_later_has_its_whole_time() {
        let begin = Instant::now();
        let mut ledger = ledger(begin);
        let one = ledger.begin(0, begin);
        ledger.begin(0, begin + seconds(50));
        stuck_after(&ledger, begin, 60);
        assert!(!ledger.end(one, begin + seconds(59)), "the other one sees what comes");
        stuck_after(&ledger, begin, 110);
    }

    #[test]
    fn one_answer_may_wait_for_others_longer_but_not_for_ever() {
        let begin = Instant::now();
        let mut ledger = ledger(begin);
        let (waits, goes_on) = (ledger.begin(0, begin), ledger.begin(0, begin));
        for second in 0..300 {
            ledger.event(goes_on, true, begin + seconds(second));
            assert!(!ledger.is_stuck(begin + seconds(second)) && ledger.stalled(begin + seconds(second)).is_empty());
        }
        assert_eq!(ledger.stalled(begin + seconds(300)), [waits]);
        assert!(!ledger.is_stuck(begin + seconds(300)));
    }

    #[test]
    fn who_leaves_without_anything_leaves_doubt() {
        let begin = Instant::now();
        let mut ledger = ledger(begin);
        let (one, two) = (ledger.begin(7, begin), ledger.begin(0, begin));
        assert!(!ledger.end(one, begin + seconds(5)), "somebody is left");
        assert!(ledger.end(two, begin + seconds(5)));
        // What was left behind may still be read, once.
        let three = ledger.begin(0, begin + seconds(5));
        stuck_after(&ledger, begin, 5 + 60 + 7);
        assert!(!ledger.end(three, begin + seconds(5)), "too soon to say");
        let four = ledger.begin(1, begin + seconds(10));
        stuck_after(&ledger, begin, 10 + 60 + 7 + 1);
        ledger.event(four, true, begin + seconds(11));
        stuck_after(&ledger, begin, 11 + 30);
        assert!(!ledger.end(four, begin + seconds(11)), "the engine has just shown that it lives");
    }

    #[test]
    fn who_was_asleep_accuses_nobody() {
        let begin = Instant::now();
        let mut ledger = ledger(begin);
        ledger.begin(0, begin);
        ledger.forgive(begin + seconds(500));
        stuck_after(&ledger, begin, 560);
    }
}
