//! `cargo xtask mesh status`

use std::time::Duration;

use anyhow::{Result, bail};

use super::state::{Started, State};

const HEADER: [&str; 7] = ["PROCESS", "PID", "ADDRESS", "OPERATOR", "READY", "UPTIME", "MEMORY"];

/// Shows what runs. Fails unless all of it does, and is ready.
pub(super) fn run() -> Result<()> {
    let Some(state) = State::read(&super::folder())? else {
        bail!("the mesh is not up; `cargo xtask mesh up` starts it");
    };
    let conditions = show(&state);
    let problems: Vec<_> =
        state.processes.iter().zip(&conditions).filter_map(|(it, condition)| problem(it, *condition)).collect();
    if problems.is_empty() {
        return Ok(());
    }
    let gone = conditions.iter().filter(|condition| **condition == Condition::Gone).count();
    let advice = match gone {
        0 => "wait and look again, or start all of it anew: `cargo xtask mesh down`, then `cargo xtask mesh up`",
        all if all == conditions.len() => "`cargo xtask mesh up` starts all of it anew",
        _ => "start all of it anew: `cargo xtask mesh down`, then `cargo xtask mesh up`",
    };
    bail!("{}\n{advice}", problems.join("\n"))
}

/// What there is to say of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Ready,
    NotReady,
    Gone,
}

impl Condition {
    fn of(started: &Started) -> Self {
        if !started.process.is_running() {
            Self::Gone
        } else if started.is_ready() {
            Self::Ready
        } else {
            Self::NotReady
        }
    }
}

fn problem(started: &Started, condition: Condition) -> Option<String> {
    let what = match condition {
        Condition::Ready => return None,
        Condition::NotReady => "is not ready",
        Condition::Gone => "is gone",
    };
    Some(format!("{} {what}: see {}", started.name, started.log.display()))
}

/// Shows a row for each process, and returns what it has found of each.
pub(super) fn show(state: &State) -> Vec<Condition> {
    let conditions: Vec<_> = state.processes.iter().map(Condition::of).collect();
    let rows = state.processes.iter().zip(&conditions).map(|(started, condition)| row(started, *condition));
    let rows: Vec<_> = std::iter::once(HEADER.map(str::to_owned)).chain(rows).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADER.len()).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    conditions
}

fn row(started: &Started, condition: Condition) -> [String; 7] {
    let none = || "-".to_owned();
    // It may end between the questions.
    let memory = || started.process.resident_megabytes().map_or_else(|_| none(), |it| format!("{it:.0} MB"));
    let (ready, uptime, memory) = match condition {
        Condition::Ready => ("yes", for_people(started.uptime()), memory()),
        Condition::NotReady => ("no", for_people(started.uptime()), memory()),
        Condition::Gone => ("gone", none(), none()),
    };
    let operator = started.operator.map_or_else(|| "-".to_owned(), |address| address.to_string());
    let (pid, address) = (started.process.pid.to_string(), started.address.to_string());
    [started.name.clone(), pid, address, operator, ready.to_owned(), uptime, memory]
}

fn for_people(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_people_read_them() {
        let written = [7, 61, 7384].map(|seconds| for_people(Duration::from_secs(seconds)));
        assert_eq!(written, ["7 s", "1 min 1 s", "2 h 3 min"]);
    }
}
