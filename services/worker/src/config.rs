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
}

impl Default for Config {
    fn default() -> Self {
        Self { zone: String::new(), slots: 16, queue: 64 }
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
        problems
    }
}
