//! The rows of many sessions' turns, in the binary format of PostgreSQL's COPY (its documentation, "COPY", "Binary
//! Format"): a header, then for each row the number of its fields and, for each field, its length and its bytes.

use std::io::{BufWriter, Write, stdout};

use anyhow::Result;
use clap::Args;
use prost::Message;

use crate::turn::Words;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const END: i16 = -1;
/// `session, revision, request_id, digest, pinned, created, content`.
const FIELDS: i16 = 7;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How many sessions there are; their uids are 00000000-0000-7000-8000-000000000001 and on.
    #[arg(long)]
    sessions: u64,
    /// How many turns each has.
    #[arg(long)]
    turns: u64,
}

/// Writes all first turns, then all second ones and so on: as they come when people talk at the same time.
pub(crate) fn write(arguments: &Arguments) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, stdout().lock());
    let content = Words::new().committed(0).encode_to_vec();
    out.write_all(HEADER)?;
    let mut row = Vec::new();
    for revision in 1..=arguments.turns {
        for session in 1..=arguments.sessions {
            row.clear();
            row.extend(FIELDS.to_be_bytes());
            field(&mut row, format!("00000000-0000-7000-8000-{session:012}").as_bytes())?;
            field(&mut row, &revision.to_be_bytes())?;
            field(
                &mut row,
                format!("00000000-0000-7000-8000-{:012}", revision * arguments.sessions + session).as_bytes(),
            )?;
            for number in [0_u64, 0, revision] {
                field(&mut row, &number.to_be_bytes())?;
            }
            field(&mut row, &content)?;
            out.write_all(&row)?;
        }
    }
    out.write_all(&END.to_be_bytes())?;
    Ok(out.flush()?)
}

fn field(row: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    row.extend(i32::try_from(bytes.len())?.to_be_bytes());
    row.extend(bytes);
    Ok(())
}
