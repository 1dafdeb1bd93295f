//! Processes by what Linux says about them in `/proc`.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// What the clock of `/proc` counts in a second: `USER_HZ`, 100 on every Linux.
const TICKS: f64 = 100.0;

/// One process and no other: an id is given out again, but not with the same start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Process {
    /// The process's id.
    pub pid: u32,
    /// When it started, in ticks since the machine did.
    start: u64,
}

impl Process {
    /// Finds the process that has this id now.
    pub fn with_id(pid: u32) -> Result<Self> {
        let stat = Stat::read(pid).with_context(|| format!("no process {pid}: is this Linux?"))?;
        Ok(Self { pid, start: stat.start })
    }

    /// Finds the process itself and all that descend from it.
    pub fn family(self) -> Result<Vec<Self>> {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Some(stat) = Stat::read(pid) {
                parents.push((stat.parent, Self { pid, start: stat.start }));
            }
        }
        let (mut family, mut next) = (vec![self], 0);
        while let Some(parent) = family.get(next).map(|process| process.pid) {
            family.extend(parents.iter().filter(|(of, _)| *of == parent).map(|(_, process)| *process));
            next += 1;
        }
        Ok(family)
    }

    /// Tells whether it still runs. One that has ended counts as gone even while nobody has asked how it ended.
    pub fn is_running(self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.start == self.start && !stat.has_ended)
    }

    /// Sends a signal such as `TERM`, unless the process is gone.
    pub fn signal(self, signal: &str) -> Result<()> {
        if !self.is_running() {
            return Ok(());
        }
        // The shell's `kill` is built in: there is no safe call for it.
        let status = Command::new("sh").arg("-c").arg(format!("kill -s {signal} {}", self.pid)).status()?;
        if !status.success() && self.is_running() {
            bail!("sending {signal} to process {}: kill ended with {status}", self.pid);
        }
        Ok(())
    }

    /// Processor time so far, in seconds.
    pub fn cpu_seconds(self) -> Result<f64> {
        Ok(Stat::read(self.pid).context("the process is gone")?.cpu_ticks as f64 / TICKS)
    }

    /// Memory that is in use, in megabytes.
    pub fn resident_megabytes(self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).context("the process is gone")?;
        let line = status.lines().find(|line| line.starts_with("VmRSS")).context("no VmRSS")?;
        let kilobytes: f64 = line.split_whitespace().nth(1).context("no VmRSS")?.parse()?;
        Ok(kilobytes / 1000.0)
    }
}

/// What we want of `/proc/PID/stat` (proc_pid_stat(5)).
struct Stat {
    has_ended: bool,
    parent: u32,
    cpu_ticks: u64,
    start: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Fields 3, 4, 14, 15 and 22. The second is a name that may hold anything, so counting begins after it.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let has_ended = matches!(*fields.first()?, "Z" | "X");
        let parent = u32::try_from(number(4)?).ok()?;
        Some(Self { has_ended, parent, cpu_ticks: number(14)? + number(15)?, start: number(22)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = Stat::parse("7 (a) R 1 (b) S 5 7 7 0 -1 64 1 2 3 4 20 30 0 0 20 0 9 0 4711 8 9\n").unwrap();
        assert_eq!((stat.has_ended, stat.parent, stat.cpu_ticks, stat.start), (false, 5, 50, 4711));
    }

    #[test]
    fn an_id_alone_is_not_a_process() {
        let own = Process::with_id(std::process::id()).unwrap();
        assert!(own.is_running() && own.resident_megabytes().unwrap() > 0.0);
        let earlier = Process { start: own.start - 1, ..own };
        assert!(!earlier.is_running());
        earlier.signal("KILL").unwrap();
    }

    #[test]
    fn a_family_is_all_that_descend_from_one() {
        let mut child = Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().unwrap();
        let process = Process::with_id(child.id()).unwrap();
        let family = loop {
            let family = process.family().unwrap();
            if family.len() > 1 {
                break family;
            }
            std::thread::yield_now();
        };
        assert_eq!((family.len(), family[0]), (2, process));
        family.iter().rev().for_each(|process| process.signal("KILL").unwrap());
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_nobody_waited_for_has_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::with_id(child.id()).unwrap();
        assert!(process.is_running());
        process.signal("TERM").unwrap();
        while process.is_running() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }
}
