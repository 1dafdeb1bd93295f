//! `pointsman sessions runs`, `resume` and `cancel`

use std::io::Write;

use anyhow::Result;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Frame, delta};
use pointsman_proto::sessions::v1::{CancelRunRequest, ListRunsRequest, ResumeRunRequest, Run, RunState};

use super::draw::printable;
use super::list::{json_line, left};
use super::time;
use crate::arguments::sessions::{CancelOptions, ResumeOptions, RunsOptions};
use crate::client::sessions::Sessions;
use crate::table;

const RUN: &str = "pointsman.sessions.v1.Run";
const FRAME: &str = "pointsman.inference.v1.Frame";

/// Prints the runs of a session.
pub(super) async fn list(sessions: &mut Sessions, options: &RunsOptions, out: &mut impl Write) -> Result<()> {
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let page_size = left(options.limit, listed.len());
        let request = ListRunsRequest { name: options.name.to_string(), page_size, page_token };
        let page = sessions.call(request, async |client, request| client.list_runs(request).await).await?;
        listed.extend(page.runs);
        page_token = page.next_page_token;
        if page_token.is_empty() || left(options.limit, listed.len()) == 0 {
            break;
        }
    }
    if options.json {
        for run in &listed {
            json_line(RUN, run, out)?;
        }
    } else {
        out.write_all(render(&listed).as_bytes())?;
    }
    out.flush()?;
    if !page_token.is_empty() {
        // Beside the list, which may go to a program.
        eprintln!("(there are more; --limit lists them)");
    }
    Ok(())
}

fn render(listed: &[Run]) -> String {
    let row = |run: &Run| {
        let kept = if run.revision == 0 { "-".to_owned() } else { run.revision.to_string() };
        let (began, ended) = (time(run.create_time), time(run.end_time));
        [printable(&run.request_id), state(run), kept, run.last_sequence.to_string(), began, ended]
    };
    table::draw(["REQUEST", "STATE", "TURN", "FRAMES", "BEGAN", "ENDED"], listed.iter().map(row))
}

fn state(run: &Run) -> String {
    match run.state() {
        RunState::Running => "running".to_owned(),
        RunState::Succeeded => "succeeded".to_owned(),
        RunState::Failed => format!("failed ({})", printable(&run.failure_reason)),
        RunState::Cancelled => "cancelled".to_owned(),
        RunState::Unspecified => "?".to_owned(),
    }
}

/// Prints what a run answers until it ends.
pub(super) async fn resume(sessions: &mut Sessions, options: &ResumeOptions, out: &mut impl Write) -> Result<()> {
    let request = ResumeRunRequest {
        name: options.name.to_string(),
        request_id: options.request_id.clone(),
        after_sequence: options.after,
    };
    let mut frames = sessions.call(request, async |client, request| client.resume_run(request).await).await?;
    let mut last = options.after;
    let ended = loop {
        match frames.message().await {
            Ok(Some(frame)) => {
                last = frame.sequence;
                print(&frame, options.json, out)?;
                out.flush()?;
            }
            ended => break ended,
        }
    };
    if !options.json {
        // What was printed of the answer is on a line of its own, above an error.
        writeln!(out)?;
        out.flush()?;
    }
    match ended {
        Ok(_) => Ok(()),
        Err(status) => {
            let error = sessions.explain(&status);
            let came = match last {
                last if last == options.after => "no frame came".to_owned(),
                last => format!("the last frame that came is {last}: --after {last} goes on"),
            };
            Err(error.context(format!("the answer did not come to its end; {came}")))
        }
    }
}

fn print(frame: &Frame, as_json: bool, out: &mut impl Write) -> Result<()> {
    if as_json {
        return json_line(FRAME, frame, out);
    }
    if let Some(Body::Delta(delta)) = &frame.body
        && let Some(delta::Content::Text(text)) = &delta.content
    {
        write!(out, "{text}")?;
    }
    Ok(())
}

/// Ends a run.
pub(super) async fn cancel(sessions: &mut Sessions, options: &CancelOptions, out: &mut impl Write) -> Result<()> {
    let request = CancelRunRequest { name: options.name.to_string(), request_id: options.request_id.clone() };
    let run = sessions.call(request, async |client, request| client.cancel_run(request).await).await?;
    writeln!(out, "{} of {}: {}", printable(&run.request_id), run.session, state(&run))?;
    Ok(out.flush()?)
}
