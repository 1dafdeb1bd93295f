//! What libFuzzer says at its end.

/// How a target fared.
pub(super) struct Outcome {
    pub(super) target: String,
    /// Whether something was found.
    pub(super) fell: bool,
    executions: u64,
    /// Edges of the code that some bytes took.
    edges: u64,
    /// What was said last where something was found.
    pub(super) last_words: String,
}

impl Outcome {
    /// Reads a log.
    pub(super) fn of(target: &str, log: &str, fell: bool) -> Self {
        let executions = log.lines().find_map(|line| number_after(line, "stat::number_of_executed_units:"));
        let edges = log.lines().rev().find_map(|line| number_after(line, " cov: "));
        let lines: Vec<&str> = log.lines().collect();
        let panicked = lines.iter().position(|line| line.contains("panicked at")).unwrap_or(lines.len());
        let begin = panicked.min(lines.len().saturating_sub(20));
        let last_words = lines[begin..].iter().take(20).copied().collect::<Vec<_>>().join("\n");
        let (executions, edges) = (executions.unwrap_or(0), edges.unwrap_or(0));
        Self { target: target.to_owned(), fell, executions, edges, last_words }
    }
}

fn number_after(line: &str, label: &str) -> Option<u64> {
    let (_, rest) = line.split_once(label)?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Prints a table for `docs/reference/fuzzing.md`.
pub(super) fn show(outcomes: &[Outcome]) {
    if outcomes.is_empty() {
        return;
    }
    println!("\n| Target | Executions | Edges | |\n|---|---|---|---|");
    for Outcome { target, executions, edges, fell, .. } in outcomes {
        let fell = if *fell { "FOUND SOMETHING" } else { "" };
        println!("| `{target}` | {executions} | {edges} | {fell} |");
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome;

    const LOG: &str = "\
#2\tINITED cov: 410 ft: 411 corp: 1/1b exec/s: 0 rss: 41Mb
#524288\tpulse  cov: 902 ft: 3120 corp: 301/9Kb lim: 80 exec/s: 87381 rss: 301Mb
#731440\tDONE   cov: 911 ft: 3301 corp: 310/9Kb lim: 92 exec/s: 81271 rss: 310Mb
stat::number_of_executed_units: 731440
stat::peak_rss_mb:              310
";

    #[test]
    fn figures_are_those_at_the_end() {
        let outcome = Outcome::of("stop", LOG, false);
        assert_eq!((outcome.executions, outcome.edges), (731_440, 911));
    }

    #[test]
    fn what_brought_a_target_down_is_told() {
        let log = format!(
            "{LOG}thread '<unnamed>' panicked at src/stop.rs:3:5:\nheld back\nstack:\n{}",
            "frame\n".repeat(99)
        );
        let outcome = Outcome::of("stop", &log, true);
        assert!(outcome.last_words.starts_with("thread '<unnamed>' panicked at src/stop.rs:3:5:\nheld back"));
        assert_eq!(outcome.last_words.lines().count(), 20);
    }
}
