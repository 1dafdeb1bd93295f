//! A process and its children, by what Linux says in `/proc` (proc_pid_stat(5)).

use std::fs;

use anyhow::{Context, Result};

/// Tells whether a process has ended; one counts as ended even while nobody has asked how.
pub(super) fn has_ended(id: u32) -> bool {
    state_and_parent(id).is_none_or(|(state, _)| matches!(&*state, "Z" | "X"))
}

/// Tells whether a process is stopped: a signal takes its time.
pub(super) fn is_stopped(id: u32) -> bool {
    state_and_parent(id).is_some_and(|(state, _)| state == "T")
}

/// Returns the processes whose parent this one is, without those that have ended.
pub(super) fn children(of: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").context("reading /proc: is this Linux?")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if state_and_parent(id).is_some_and(|(_, parent)| parent == of) && !has_ended(id) {
            children.push(id);
        }
    }
    Ok(children)
}

/// Returns fields 3 and 4. The second is a name that may hold anything, so counting begins after it.
fn state_and_parent(id: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}
