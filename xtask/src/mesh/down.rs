//! `cargo xtask mesh down`

use std::time::{Duration, Instant};

use anyhow::Result;

use super::plan::Role;
use super::state::{Started, State};

/// Longer than a service takes at most, to its last span: `shutdown_grace`, which is 30 s.
const GRACE: Duration = Duration::from_secs(40);
const INTERVAL: Duration = Duration::from_millis(20);

/// Stops what runs, if anything does.
pub(super) fn run() -> Result<()> {
    let folder = super::folder();
    let Some(state) = State::read(&folder)? else {
        println!("the mesh is not up");
        return Ok(());
    };
    stop(&state)?;
    State::remove(&folder)
}

/// Those who call before those who are called, and the receiver when the last span was sent.
const GROUPS: [&[Role]; 4] = [&[Role::Gateway], &[Role::Worker], &[Role::Postgres, Role::Redis], &[Role::Receiver]];

/// Stops all of it, group by group.
pub(super) fn stop(state: &State) -> Result<()> {
    for roles in GROUPS {
        let group: Vec<_> = state.processes.iter().filter(|started| roles.contains(&started.role)).collect();
        stop_group(&group)?;
    }
    Ok(())
}

fn stop_group(group: &[&Started]) -> Result<()> {
    let (mut running, gone): (Vec<_>, Vec<_>) = group.iter().partition(|started| started.process.is_running());
    for started in gone {
        println!("{} was gone already: see {}", named(started), started.log.display());
    }
    let begin = Instant::now();
    for started in &running {
        started.process.signal(started.role.end_signal())?;
    }
    while !running.is_empty() && begin.elapsed() < GRACE {
        std::thread::sleep(INTERVAL);
        running.retain(|started| {
            let runs = started.process.is_running();
            if !runs {
                println!("{} ended after {:.1} s", named(started), begin.elapsed().as_secs_f64());
            }
            runs
        });
    }
    for started in running {
        started.process.signal("KILL")?;
        println!("{} still ran after {GRACE:?} and was killed; {}", named(started), started.log_tail());
    }
    Ok(())
}

fn named(started: &Started) -> String {
    format!("{} ({})", started.name, started.process.pid)
}
