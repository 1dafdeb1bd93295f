//! `pointsman sessions erase` and `pointsman sessions erasures`

use std::io::{BufRead, Write};

use anyhow::{Context, Result, bail};
use pointsman_proto::sessions::v1::{DeleteSessionRequest, Erasure, ErasureCause, ListErasuresRequest, Session};
use pointsman_types::counted;

use super::draw::printable;
use super::list::{json_line, left};
use super::time;
use crate::arguments::sessions::{EraseOptions, ErasuresOptions};
use crate::client::sessions::Sessions;
use crate::table;

const ERASURE: &str = "pointsman.sessions.v1.Erasure";

/// Erases a session, if whoever is at the terminal, or has said `--yes`, is sure.
pub(super) async fn run(
    sessions: &mut Sessions,
    options: &EraseOptions,
    terminal: Option<&mut dyn BufRead>,
    out: &mut impl Write,
) -> Result<()> {
    if !options.yes {
        let Some(terminal) = terminal else {
            bail!("nobody can be asked, since standard input is no terminal: give --yes to erase {}", options.name);
        };
        let session = sessions.get(&options.name).await?;
        if !is_sure(&session, terminal, out)? {
            writeln!(out, "{} stays", options.name)?;
            return Ok(());
        }
    }
    erase(sessions, options, out).await
}

/// Asks. Anything but a yes is a no, and so is the end of the input.
fn is_sure(session: &Session, input: &mut dyn BufRead, out: &mut impl Write) -> Result<bool> {
    let title = match session.title.as_str() {
        "" => String::new(),
        title => format!(" (\"{}\")", printable(title).replace('\n', " ")),
    };
    let turns = counted(session.revision, "turn");
    write!(out, "Erase {}{title} with {turns}? Nobody can bring it back. [y/N] ", session.name)?;
    out.flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

async fn erase(sessions: &mut Sessions, options: &EraseOptions, out: &mut impl Write) -> Result<()> {
    let request = DeleteSessionRequest { name: options.name.to_string(), allow_missing: false };
    let erased = sessions.call(request, async |client, request| client.delete_session(request).await).await?;
    let erasure = erased.erasure.with_context(|| format!("the mesh does not say that it erased {}", options.name))?;
    let by = if erasure.key.is_empty() { String::new() } else { format!(" by key {}", erasure.key) };
    let (turns, when) = (counted(erasure.turn_count, "turn"), time(erasure.erase_time));
    writeln!(out, "{} (uid {}) was erased with {turns} at {when}{by}", erasure.session, erasure.uid)?;
    Ok(out.flush()?)
}

/// Prints what was erased.
pub(super) async fn list(sessions: &mut Sessions, options: &ErasuresOptions, out: &mut impl Write) -> Result<()> {
    let (listed, more) = read(sessions, options.limit).await?;
    if options.json {
        for erasure in &listed {
            json_line(ERASURE, erasure, out)?;
        }
    } else {
        out.write_all(render(&listed).as_bytes())?;
    }
    out.flush()?;
    if more {
        // Beside the list, which may go to a program.
        eprintln!("(there are more; --limit lists them)");
    }
    Ok(())
}

/// Returns the erasures, and whether there are more of them.
async fn read(sessions: &mut Sessions, limit: u32) -> Result<(Vec<Erasure>, bool)> {
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListErasuresRequest { page_size: left(limit, listed.len()), page_token };
        let page = sessions.call(request, async |client, request| client.list_erasures(request).await).await?;
        listed.extend(page.erasures);
        page_token = page.next_page_token;
        let more = !page_token.is_empty();
        if !more || left(limit, listed.len()) == 0 {
            return Ok((listed, more));
        }
    }
}

fn render(listed: &[Erasure]) -> String {
    let row = |erasure: &Erasure| {
        let cause = match erasure.cause() {
            ErasureCause::Requested => "requested",
            ErasureCause::Retention => "retention",
            ErasureCause::Unspecified => "?",
        };
        let key = if erasure.key.is_empty() { "-" } else { &erasure.key };
        let (session, uid, turns) = (erasure.session.clone(), erasure.uid.clone(), erasure.turn_count.to_string());
        [time(erasure.erase_time), session, uid, turns, cause.to_owned(), key.to_owned()]
    };
    table::draw(["ERASED", "SESSION", "UID", "TURNS", "CAUSE", "KEY"], listed.iter().map(row))
}

#[cfg(test)]
mod tests {
    use pointsman_proto::sessions::v1::{Erasure, Session};
    use prost_types::Timestamp;

    use super::{is_sure, render};

    #[test]
    fn only_a_yes_is_one() {
        let session = Session { name: "sessions/a".into(), title: "Rain".into(), revision: 12, ..Session::default() };
        let mut asked = Vec::new();
        for (answer, sure) in
            [("y\n", true), ("Yes\n", true), ("n\n", false), ("\n", false), ("", false), ("yessir\n", false)]
        {
            asked.clear();
            assert_eq!(is_sure(&session, &mut answer.as_bytes(), &mut asked).unwrap(), sure, "{answer:?}");
        }
        let want = "Erase sessions/a (\"Rain\") with 12 turns? Nobody can bring it back. [y/N] ";
        assert_eq!(String::from_utf8(asked).unwrap(), want);
    }

    #[test]
    fn erasures_are_drawn_as_a_table() {
        let erasure = |key: &str, cause| Erasure {
            session: "sessions/a".into(),
            uid: "u".into(),
            key: key.into(),
            cause,
            turn_count: 3,
            erase_time: Some(Timestamp { seconds: 86_400, nanos: 5 }),
        };
        let want = "\
ERASED                SESSION     UID  TURNS  CAUSE      KEY
1970-01-02T00:00:00Z  sessions/a  u    3      requested  k7
1970-01-02T00:00:00Z  sessions/a  u    3      retention  -
";
        assert_eq!(render(&[erasure("k7", 1), erasure("", 2)]), want);
    }
}
