//! What is measured, and how it is told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::turn::Sample;
use crate::work::Work;

/// What many turns came to.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    samples: Vec<Sample>,
    /// How late turns were begun: the driver's own share of the times.
    delays: Vec<Duration>,
    /// All of them, also before it was measured.
    done: u64,
    not_begun: u64,
    errors: BTreeMap<String, u64>,
}

impl Figures {
    pub(crate) fn add(&mut self, work: &Work, intended: Instant, done: Result<Sample>) {
        match done {
            Ok(sample) => {
                self.done += 1;
                if work.from <= intended {
                    self.samples.push(sample);
                }
            }
            Err(error) => *self.errors.entry(error_of(&error)).or_default() += 1,
        }
    }

    pub(crate) fn started(&mut self, work: &Work, intended: Instant) {
        if work.from <= intended {
            self.delays.push(intended.elapsed());
        }
    }

    pub(crate) fn not_begun(&mut self, work: &Work, intended: Instant) {
        if work.from <= intended {
            self.not_begun += 1;
        }
    }

    /// Turns that nobody waits for any more.
    pub(crate) fn lost(&mut self, count: u64, why: String) {
        *self.errors.entry(why).or_default() += count;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.samples.extend(other.samples);
        self.delays.extend(other.delays);
        self.done += other.done;
        self.not_begun += other.not_begun;
        for (error, count) in other.errors {
            *self.errors.entry(error).or_default() += count;
        }
    }

    /// Times are in microseconds.
    pub(crate) fn report(self, work: &Work) -> Result<Value> {
        // What came after the end is late, not more.
        let seconds = work.from.elapsed().as_secs_f64();
        let count = self.samples.len();
        let times = |time: fn(&Sample) -> Duration| quantiles(self.samples.iter().map(time).collect());
        let history: u64 = self.samples.iter().map(|sample| sample.history).sum();
        Ok(json!({
            "begin_us": times(|sample| sample.begin),
            "commit_us": times(|sample| sample.commit),
            "total_us": times(|sample| sample.total),
            "start_delay_us": quantiles(self.delays),
            "measured": count,
            "done": self.done,
            "not_begun": self.not_begun,
            "failed": self.errors.values().sum::<u64>(),
            "errors": self.errors,
            "history": history as f64 / count as f64,
            "seconds": seconds,
            "per_second": count as f64 / seconds,
            "driver_cpu_seconds": cpu_seconds()?,
        }))
    }
}

fn quantiles(mut times: Vec<Duration>) -> Value {
    times.sort_unstable();
    let at = |share: f64| {
        let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(index).map(|time| time.as_micros() as u64)
    };
    json!({ "p50": at(0.5), "p99": at(0.99), "max": at(1.0) })
}

/// What failed, without what differs from one to the next.
fn error_of(error: &anyhow::Error) -> String {
    match error.downcast_ref::<tonic::Status>() {
        Some(status) => format!("{:?}: {}", status.code(), status.message()),
        None => format!("{error:#}"),
    }
}

/// Processor time of this process so far, from `/proc/self/stat`: fields 14 and 15, in ticks of 10 ms.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("reading /proc/self/stat")?;
    let after_name = stat.rsplit_once(')').context("/proc/self/stat has another form")?.1;
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    Ok(ticks.sum::<f64>() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let told = quantiles((1..=100).rev().map(Duration::from_micros).collect());
        assert_eq!(told, json!({ "p50": 51, "p99": 100, "max": 100 }));
        assert_eq!(quantiles(Vec::new()), json!({ "p50": null, "p99": null, "max": null }));
    }
}
