//! Where a conversation is printed.

use std::io::{self, IsTerminal, Write};

use anyhow::Result;

/// Answers go to standard output, which may be a file; what is said about them goes beside.
pub(super) struct Console {
    /// Whether a person is there, who is asked for each line.
    pub(super) interactive: bool,
    /// Whether traces are named.
    pub(super) names_traces: bool,
    pub(super) answers: Box<dyn Write>,
    pub(super) remarks: Box<dyn Write>,
}

impl Console {
    pub(super) fn standard(interactive: bool) -> Self {
        let (answers, remarks) = (Box::new(io::stdout()), Box::new(io::stderr()));
        Self { interactive, names_traces: io::stderr().is_terminal(), answers, remarks }
    }

    /// Says something before the first line: to a person where the prompts are, else beside the answers.
    pub(super) fn open(&mut self, text: &str) -> Result<()> {
        match self.interactive {
            true => Ok(writeln!(self.answers, "{text}")?),
            false => self.remark(text),
        }
    }

    pub(super) fn prompt(&mut self) -> Result<()> {
        if self.interactive {
            write!(self.answers, "> ")?;
            self.answers.flush()?;
        }
        Ok(())
    }

    pub(super) fn remark(&mut self, text: &str) -> Result<()> {
        Ok(writeln!(self.remarks, "{text}")?)
    }
}
