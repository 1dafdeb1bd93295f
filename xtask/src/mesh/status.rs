//! `cargo xtask mesh status`

use std::time::Duration;

use anyhow::Result;

use super::state::{Started, State};

const HEADER: [&str; 7] = ["PROCESS", "PID", "ADDRESS", "OPERATOR", "READY", "UPTIME", "MEMORY"];

/// Shows what runs.
pub(super) fn run() -> Result<()> {
    match State::read(&super::folder())? {
        Some(state) => show(&state),
        None => println!("the mesh is not up; `cargo xtask mesh up` starts it"),
    }
    Ok(())
}

/// Shows a row for each process.
pub(super) fn show(state: &State) {
    let rows: Vec<_> = std::iter::once(HEADER.map(str::to_owned)).chain(state.processes.iter().map(row)).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADER.len()).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

fn row(started: &Started) -> [String; 7] {
    let runs = started.process.is_running();
    let (ready, uptime, memory) = if runs {
        let ready = if started.is_ready() { "yes" } else { "no" };
        // It may end between the questions.
        let memory = started.process.resident_megabytes().map_or_else(|_| "-".to_owned(), |it| format!("{it:.0} MB"));
        (ready, for_people(started.uptime()), memory)
    } else {
        ("gone", "-".to_owned(), "-".to_owned())
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
