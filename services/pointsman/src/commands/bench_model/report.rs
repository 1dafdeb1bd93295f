//! What was found, for people and for programs.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use super::compare::{exact_match, first_token, logprob_difference, tokens_per_second};
use super::measure::Measured;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) model: PathBuf,
    pub(super) prompts: usize,
    pub(super) max_tokens: u32,
    #[serde(rename = "quantizations")]
    pub(super) rows: Vec<Row>,
}

/// One quantisation. What could not be found is absent.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    found: Option<Found>,
}

#[derive(Debug, Serialize)]
struct Found {
    engine_fingerprint: String,
    exact_match: Option<f64>,
    logprob_difference: Option<f64>,
    /// Answers that went into the difference.
    scored: usize,
    tokens_per_second: Option<f64>,
    first_token_seconds: Option<f64>,
    output_tokens: u32,
    load_seconds: f64,
    resident_bytes: Option<u64>,
    peak_bytes: Option<u64>,
}

impl Row {
    /// Compares what was measured, if it was.
    pub(super) fn of(name: &str, measured: Result<&Measured, &anyhow::Error>, none: &Measured) -> Self {
        let found = measured.ok().map(|measured| Found {
            engine_fingerprint: measured.fingerprint.clone(),
            exact_match: exact_match(&measured.answers, &none.answers),
            logprob_difference: logprob_difference(&measured.scores, &none.scores),
            scored: measured.scores.iter().zip(&none.scores).filter(|(a, b)| a.is_some() && b.is_some()).count(),
            tokens_per_second: tokens_per_second(measured),
            first_token_seconds: first_token(measured).map(|time| time.as_secs_f64()),
            output_tokens: measured.answers.iter().map(|answer| answer.tokens).sum(),
            load_seconds: measured.load.as_secs_f64(),
            resident_bytes: measured.resident,
            peak_bytes: measured.peak,
        });
        Self { name: name.to_owned(), error: measured.err().map(|error| format!("{error:#}")), found }
    }
}

impl Report {
    /// Returns the names of those that could not be measured.
    pub(super) fn failed(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().filter(|row| row.error.is_some()).map(|row| row.name.as_str())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<8} {:>6} {:>9} {:>9} {:>12} {:>9} {:>9} {:>8}",
            "QUANT", "SAME", "LOGPROB", "TOKENS/S", "FIRST TOKEN", "RESIDENT", "PEAK", "LOAD"
        )?;
        for row in &self.rows {
            match (&row.found, &row.error) {
                (Some(found), _) => found.row(&row.name, f)?,
                (None, error) => writeln!(f, "{:<8} {}", row.name, error.as_deref().unwrap_or("nothing was found"))?,
            }
        }
        writeln!(
            f,
            "\n{} of {} answered greedily, up to {} each. SAME: answers that equal those of `none`. LOGPROB: how much less\n\
             probable the answers of `none` are, a token, in natural logarithms. TOKENS/S: after the first.",
            pointsman_types::counted(self.prompts, "prompt"),
            self.model.display(),
            pointsman_types::counted(self.max_tokens, "token"),
        )
    }
}

impl Found {
    fn row(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let same = or_dash(self.exact_match, |share| format!("{:.0}%", share * 100.0));
        let logprob = or_dash(self.logprob_difference, |difference| format!("{difference:.4}"));
        let speed = or_dash(self.tokens_per_second, |speed| format!("{speed:.1}"));
        let first = or_dash(self.first_token_seconds, |time| format!("{:.1} ms", time * 1000.0));
        let (resident, peak) = (or_dash(self.resident_bytes, mebibytes), or_dash(self.peak_bytes, mebibytes));
        let load = format!("{:.1} s", self.load_seconds);
        writeln!(f, "{name:<8} {same:>6} {logprob:>9} {speed:>9} {first:>12} {resident:>9} {peak:>9} {load:>8}")
    }
}

fn or_dash<T>(value: Option<T>, say: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), say)
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Measured, Report, Row};

    #[test]
    fn what_failed_and_what_could_not_be_found_is_said() {
        let none = Measured {
            fingerprint: "engine".to_owned(),
            load: Duration::from_secs(1),
            answers: Vec::new(),
            scores: Vec::new(),
            resident: None,
            peak: Some(3 << 20),
        };
        let error = anyhow::anyhow!("no such kernel").context("loading");
        let rows = vec![Row::of("none", Ok(&none), &none), Row::of("q4k", Err(&error), &none)];
        let report = Report { model: "m".into(), prompts: 1, max_tokens: 2, rows };
        let table = report.to_string();
        let cells = |row: usize| table.lines().nth(row).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        assert_eq!(cells(1).unwrap(), ["none", "-", "-", "-", "-", "-", "3", "MiB", "1.0", "s"]);
        assert_eq!(table.lines().nth(2), Some("q4k      loading: no such kernel"));
        assert_eq!(report.failed().collect::<Vec<_>>(), ["q4k"]);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["quantizations"][1], serde_json::json!({"name": "q4k", "error": "loading: no such kernel"}));
    }
}
