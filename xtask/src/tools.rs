//! What the checks and the tests need beside Rust: made below the build folder, from pins in this repository.

pub mod debian;
pub mod go;
pub mod node;
pub mod python;
pub mod servers;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A folder below the build folder, made anew whenever what it was made from changes.
pub struct Tool {
    folder: PathBuf,
    made_from: String,
}

impl Tool {
    /// Names the folder, and the pins it is made from.
    pub fn new(name: &str, made_from: String) -> Self {
        Self { folder: crate::target_dir().join("tools").join(name), made_from }
    }

    /// Returns the folder, after `make` has filled it, unless it is there already and made from the same pins.
    pub fn made(self, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let stamp = self.folder.join("made-from");
        if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == self.made_from) {
            return Ok(self.folder);
        }
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder).with_context(|| format!("removing {}", self.folder.display()))?;
        }
        fs::create_dir_all(&self.folder)?;
        make(&self.folder)?;
        // Last, so that a folder that was left half made is made again.
        fs::write(&stamp, &self.made_from)?;
        Ok(self.folder)
    }
}
