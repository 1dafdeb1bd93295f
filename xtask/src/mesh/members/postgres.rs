//! How PostgreSQL is started on its data, which are kept from one mesh to the next.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The superuser, who needs no password; and the user of the machine as whom it runs where we are root.
const USER: &str = "postgres";
/// The data as an open folder that is handed down: the server runs as another user than root, who may not see the
/// folders above it. Its own search for its programs makes the working folder no substitute.
const DATA: &str = "/proc/self/fd/3";
const WITH_DATA: &str = "exec 3<\"$0\"; cd /; exec \"$@\"";

/// Returns the command that runs the server on its data.
pub(crate) fn command(server: &Path, data: &Path) -> Result<Command> {
    on_data(server, &kept(data), data)
}

/// Returns what makes the data where there are none yet.
pub(crate) fn made(initdb: &Path, data: &Path) -> Result<Vec<Command>> {
    let (kept, new) = (kept(data), data.join("postgres.new"));
    if kept.exists() {
        return Ok(Vec::new());
    }
    // Left by one that was interrupted.
    if new.exists() {
        fs::remove_dir_all(&new).with_context(|| format!("removing {}", new.display()))?;
    }
    fs::create_dir(&new).with_context(|| format!("making {}", new.display()))?;
    let mut commands = Vec::new();
    if is_root(data)? {
        let mut give = Command::new("chown");
        give.arg(USER).arg(&new);
        commands.push(give);
    }
    let mut make = on_data(initdb, &new, data)?;
    make.args(["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"]);
    make.arg(format!("--username={USER}"));
    let mut keep = Command::new("mv");
    keep.arg(&new).arg(&kept);
    commands.extend([make, keep]);
    Ok(commands)
}

/// Returns the server's arguments: loopback alone, since nobody needs a password.
pub(super) fn settings(address: SocketAddr) -> Vec<String> {
    let settings = [
        ("listen_addresses", address.ip().to_string()),
        ("port", address.port().to_string()),
        ("unix_socket_directories", String::new()),
        ("max_connections", "200".to_owned()),
    ];
    settings.iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]).collect()
}

fn kept(data: &Path) -> PathBuf {
    data.join("postgres")
}

/// Returns the command that runs a program on a cluster as who owns it. It has the process id of what it becomes.
fn on_data(program: &Path, cluster: &Path, data: &Path) -> Result<Command> {
    let mut command = Command::new("sh");
    command.args(["-c", WITH_DATA]).arg(cluster);
    if is_root(data)? {
        // As which PostgreSQL refuses to run.
        let user = [format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".to_owned()];
        command.arg("setpriv").args(user).arg("--");
    }
    command.arg(program).args(["-D", DATA]);
    Ok(command)
}

/// Tells whether a folder that we made is root's, which means that we are.
fn is_root(folder: &Path) -> Result<bool> {
    Ok(fs::metadata(folder).with_context(|| format!("looking at {}", folder.display()))?.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_made_once() {
        let data = crate::target_dir().join("data-of-a-test");
        fs::create_dir_all(data.join("postgres.new/left by one that was interrupted")).unwrap();
        let programs: Vec<_> = made(Path::new("initdb"), &data).unwrap();
        let programs: Vec<_> = programs.iter().map(Command::get_program).collect();
        assert!(programs.ends_with(&["sh".as_ref(), "mv".as_ref()]), "{programs:?}");
        assert_eq!(fs::read_dir(data.join("postgres.new")).unwrap().count(), 0);
        fs::rename(data.join("postgres.new"), data.join("postgres")).unwrap();
        assert!(made(Path::new("initdb"), &data).unwrap().is_empty());
        fs::remove_dir_all(&data).unwrap();
    }
}
