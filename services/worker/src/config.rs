use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The section `worker`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The zone that this worker runs in, such as `eu-west`. Default: none.
    pub zone: String,
    /// Requests that generate at the same time, for each model. More make each slower and all together faster, as far as
    /// the device goes. Never more than the engine runs at once. Default 16.
    pub slots: usize,
    /// Requests that wait for a slot of their model, a higher priority first; one slot in five goes to whoever has waited longest.
    /// One more is refused with `QUEUE_FULL`. Default 64.
    pub queue: usize,
    /// When the engine is given up.
    pub watchdog: WatchdogConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self { zone: String::new(), slots: 16, queue: 64, watchdog: WatchdogConfig::default() }
    }
}

/// How long the engine may give nothing, and how often it may be lost. Time counts from the moment when the engine
/// is asked: waiting for a slot is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchdogConfig {
    /// How long the engine may give nothing to anybody while it writes. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub step: Duration,
    /// The same before the first piece of an answer, and for the count of a prompt. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub first_token: Duration,
    /// What is added to both for each token of the prompts that the engine may be reading, everybody's: while it
    /// reads it need not write. May be 0 s. Default 50 ms.
    #[serde(with = "humantime_serde")]
    pub per_prompt_token: Duration,
    /// How long one answer may get nothing while others go on, because it waits for room in the engine, say. It
    /// alone fails then. Default 5 min.
    #[serde(with = "humantime_serde")]
    pub answer: Duration,
    /// How long an engine may take to generate, at the start and after it was lost. Default 2 min.
    #[serde(with = "humantime_serde")]
    pub recovery: Duration,
    /// How often within an hour an engine that was lost may come back. At the next loss it is given up. Default 3.
    pub restarts: usize,
}

impl Default for WatchdogConfig {
    fn default() -> Self {
        Self {
            step: Duration::from_secs(30),
            first_token: Duration::from_secs(60),
            per_prompt_token: Duration::from_millis(50),
            answer: Duration::from_secs(5 * 60),
            recovery: Duration::from_secs(2 * 60),
            restarts: 3,
        }
    }
}

impl WatchdogConfig {
    fn problems(&self) -> impl Iterator<Item = String> {
        let durations = [
            ("step", self.step),
            ("first_token", self.first_token),
            ("answer", self.answer),
            ("recovery", self.recovery),
        ];
        let zero = durations.into_iter().filter(|(_, duration)| duration.is_zero());
        zero.map(|(key, _)| format!("worker.watchdog.{key}: must be longer than 0s"))
    }
}

impl Config {
    /// Returns what is wrong with these values, each with its field.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(1..=4096).contains(&self.slots) {
            problems.push("worker.slots: must be 1 to 4096".to_owned());
        }
        if self.queue > 65_536 {
            problems.push("worker.queue: must be at most 65536".to_owned());
        }
        problems.extend(self.watchdog.problems());
        problems
    }
}
