//! `pointsman sessions export`

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use pointsman_types::counted;
use tempfile::NamedTempFile;

use super::list::json_line;
use super::{SESSION, TURN};
use crate::arguments::sessions::{ExportOptions, SessionName};
use crate::client::sessions::Sessions;

/// Writes a session, to where it is to go.
pub(super) async fn run(sessions: &mut Sessions, options: &ExportOptions, out: &mut impl Write) -> Result<()> {
    let Some(output) = &options.output else {
        write(sessions, &options.name, out).await?;
        return Ok(());
    };
    let mut file = Unfinished::beside(output)?;
    let turns = write(sessions, &options.name, &mut file.writer).await?;
    file.finish()?;
    writeln!(out, "{} with {} is in {}", options.name, counted(turns, "turn"), output.display())?;
    Ok(())
}

/// Writes the session as it stands, and the turns that it has then. Returns how many.
async fn write(sessions: &mut Sessions, name: &SessionName, out: &mut impl Write) -> Result<u64> {
    let session = sessions.get(name).await?;
    json_line(SESSION, &session, out)?;
    let (mut turns, mut written) = (sessions.turns_after(name, 0), 0);
    while written < session.revision {
        let Some(page) = turns.next().await? else {
            bail!("{name} ends after turn {written} of {}: the store is not whole", session.revision);
        };
        // Turns that were committed since are not of this session as it stood.
        for turn in page.iter().take_while(|turn| turn.revision <= session.revision) {
            json_line(TURN, turn, out)?;
            written = turn.revision;
        }
    }
    if sessions.get(name).await?.uid != session.uid {
        bail!("{name} was erased and begun anew meanwhile: export it again");
    }
    out.flush()?;
    Ok(written)
}

/// A file that is there under its name when it is finished, and not before.
struct Unfinished {
    writer: BufWriter<NamedTempFile>,
    path: PathBuf,
}

impl Unfinished {
    fn beside(path: &Path) -> Result<Self> {
        // A link stays one, and leads to the new file.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if path.exists() && !path.is_file() {
            bail!("{} is no file: leave --output out, and send standard output there", path.display());
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file =
            NamedTempFile::new_in(folder).with_context(|| format!("{} cannot have a new file", folder.display()))?;
        Ok(Self { writer: BufWriter::new(file), path })
    }

    fn finish(self) -> Result<()> {
        let unwritten = || format!("{} could not be written", self.path.display());
        let file = self.writer.into_inner().map_err(|error| error.into_error()).with_context(unwritten)?;
        file.as_file().sync_all().with_context(unwritten)?;
        file.persist(&self.path).map_err(|error| error.error).with_context(unwritten)?;
        Ok(())
    }
}
