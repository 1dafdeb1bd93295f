//! The files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file of the repository, by its path from the root with `/` between the names.
pub struct Source {
    /// The path from the root.
    pub path: String,
    /// The whole path.
    pub full: PathBuf,
}

impl Source {
    /// Reads the file as text; bytes that are no text are replaced.
    pub fn text(&self) -> Result<String> {
        let bytes = fs::read(&self.full).with_context(|| format!("reading {}", self.path))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Returns the files with one of the extensions (all files if none is given), in order of their paths.
///
/// Walks the folders instead of asking git, so that a file counts before it is added. Folders that are
/// built or hidden are left out.
pub fn sources(extensions: &[&str]) -> Result<Vec<Source>> {
    let mut found = Vec::new();
    walk(&crate::root(), "", &mut found)?;
    if !extensions.is_empty() {
        found.retain(|source| extensions.iter().any(|extension| source.path.ends_with(&format!(".{extension}"))));
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<Source>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_file() {
            found.push(Source { path, full: entry.path() });
        } else if kind.is_dir() && !is_left_out(&name) {
            walk(&entry.path(), &format!("{path}/"), found)?;
        }
    }
    Ok(())
}

fn is_left_out(folder: &str) -> bool {
    const KEPT: [&str; 2] = [".ci", ".cargo"];
    const BUILT: [&str; 3] = ["target", "node_modules", "__pycache__"];
    BUILT.contains(&folder) || (folder.starts_with('.') && !KEPT.contains(&folder))
}
