//! What is measured, and how it is told.

use std::time::Duration;

use anyhow::{Context, Result};

/// One request that was answered whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Until the first piece of the answer.
    pub(crate) first: Duration,
    /// Until its end.
    pub(crate) total: Duration,
    /// Tokens of the answer, as reported.
    pub(crate) tokens: u64,
}

/// What many requests came to.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    samples: Vec<Sample>,
    failed: u64,
    first_failure: Option<String>,
    /// Requests that could not start in time.
    pub(crate) late: u64,
}

/// More failures than this end a run: there is nothing to measure.
const FAILURE_LIMIT: u64 = 100;

impl Figures {
    pub(crate) fn add(&mut self, sample: Result<Sample>) -> Result<()> {
        match sample {
            Ok(sample) => self.samples.push(sample),
            Err(error) if self.failed < FAILURE_LIMIT => {
                self.failed += 1;
                self.first_failure.get_or_insert_with(|| format!("{error:#}"));
            }
            Err(error) => return Err(error.context("too many requests failed")),
        }
        Ok(())
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.samples.extend(other.samples);
        self.failed += other.failed;
        self.late += other.late;
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }

    /// Times are in microseconds.
    pub(crate) fn report(mut self, elapsed: Duration) -> Result<serde_json::Value> {
        let tokens: u64 = self.samples.iter().map(|sample| sample.tokens).sum();
        let seconds = elapsed.as_secs_f64();
        let count = self.samples.len();
        let mut quantiles = |time: fn(&Sample) -> Duration| {
            self.samples.sort_unstable_by_key(time);
            let at = |share: f64| {
                let index = ((count as f64 * share) as usize).min(count.saturating_sub(1));
                self.samples.get(index).map(|sample| time(sample).as_micros() as u64)
            };
            serde_json::json!({ "p50": at(0.5), "p99": at(0.99) })
        };
        Ok(serde_json::json!({
            "first_us": quantiles(|sample| sample.first),
            "total_us": quantiles(|sample| sample.total),
            "answered": count,
            "failed": self.failed,
            "late": self.late,
            "first_failure": self.first_failure,
            "seconds": seconds,
            "per_second": count as f64 / seconds,
            "tokens_per_second": tokens as f64 / seconds,
            "driver_busy": cpu_seconds()? / seconds,
        }))
    }
}

/// Processor time of this process so far, from `/proc/self/stat`: fields 14 and 15, in ticks of 10 ms.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("reading /proc/self/stat")?;
    let after_name = stat.rsplit_once(')').context("/proc/self/stat has another form")?.1;
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    Ok(ticks.sum::<f64>() / 100.0)
}
