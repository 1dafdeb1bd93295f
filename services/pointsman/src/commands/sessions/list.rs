//! `pointsman sessions list`

use std::io::Write;

use anyhow::Result;
use pointsman_proto::json;
use pointsman_proto::sessions::v1::{ListSessionsRequest, Session, SessionState};

use super::draw::printable;
use super::{SESSION, time};
use crate::arguments::sessions::{ListOptions, collected};
use crate::client::sessions::Sessions;
use crate::table;

/// The most sessions, or erasures, that a page may have.
pub(super) const LARGEST_PAGE: u32 = 1_000;

/// Prints the sessions that are asked for.
pub(super) async fn run(sessions: &mut Sessions, options: &ListOptions, out: &mut impl Write) -> Result<()> {
    let (listed, more) = read(sessions, options).await?;
    if options.json {
        for session in &listed {
            json_line(SESSION, session, out)?;
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

/// Returns the sessions, and whether there are more of them.
async fn read(sessions: &mut Sessions, options: &ListOptions) -> Result<(Vec<Session>, bool)> {
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListSessionsRequest {
            labels: collected(&options.labels),
            updated_after: options.updated_after,
            updated_before: options.updated_before,
            page_size: left(options.limit, listed.len()),
            page_token,
        };
        let page = sessions.call(request, async |client, request| client.list_sessions(request).await).await?;
        listed.extend(page.sessions);
        page_token = page.next_page_token;
        let more = !page_token.is_empty();
        if !more || left(options.limit, listed.len()) == 0 {
            return Ok((listed, more));
        }
    }
}

/// Returns how many are to be asked for when so many of the limit are there.
pub(super) fn left(limit: u32, there: usize) -> u32 {
    limit.saturating_sub(u32::try_from(there).unwrap_or(u32::MAX)).min(LARGEST_PAGE)
}

/// Writes a message as a line of JSON.
pub(super) fn json_line<M: prost::Message>(name: &str, message: &M, out: &mut impl Write) -> Result<()> {
    let mut line = Vec::new();
    json::write(name, message, &mut serde_json::Serializer::new(&mut line))?;
    line.push(b'\n');
    Ok(out.write_all(&line)?)
}

fn render(listed: &[Session]) -> String {
    let row = |session: &Session| {
        let state = match session.state() {
            SessionState::AwaitingTools => "awaits tools",
            SessionState::Idle => "idle",
            SessionState::Unspecified => "?",
        };
        let (name, title) = (session.name.clone(), printable(&session.title).replace('\n', " "));
        [name, session.revision.to_string(), state.to_owned(), time(session.update_time), title]
    };
    table::draw(["SESSION", "TURNS", "STATE", "CHANGED", "TITLE"], listed.iter().map(row))
}

#[cfg(test)]
mod tests {
    use pointsman_proto::sessions::v1::Session;
    use prost_types::Timestamp;

    use super::{left, render};

    #[test]
    fn sessions_are_drawn_as_a_table() {
        let session = |name: &str, revision, state, title: &str| Session {
            name: name.into(),
            revision,
            state,
            title: title.into(),
            update_time: Some(Timestamp { seconds: 86_400, nanos: 5 }),
            ..Session::default()
        };
        let want = "\
SESSION     TURNS  STATE         CHANGED               TITLE
sessions/a  12     awaits tools  1970-01-02T00:00:00Z  Two lines
sessions/b  0      idle          1970-01-02T00:00:00Z
";
        assert_eq!(render(&[session("sessions/a", 12, 2, "Two\nlines"), session("sessions/b", 0, 1, "")]), want);
    }

    #[test]
    fn no_more_is_asked_for_than_is_wanted() {
        for (limit, there, asked) in [(100, 0, 100), (5_000, 0, 1_000), (5_000, 4_500, 500), (3, 3, 0), (3, 4, 0)] {
            assert_eq!(left(limit, there), asked, "{limit} {there}");
        }
    }
}
