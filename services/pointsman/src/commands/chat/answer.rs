//! One answer, printed as it comes.

use anyhow::Result;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{FinishReason, GenerateRequest, SessionTurn, delta};
use pointsman_proto::metadata::TRACE_ID;

use super::console::Console;
use crate::arguments::ChatOptions;
use crate::client::{Mesh, explain};

/// An answer that came to its end.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) text: String,
    /// What the model was given of the session, where there is one.
    pub(super) turn: Option<SessionTurn>,
    /// The revision that the session has with it.
    pub(super) revision: Option<u64>,
}

/// Sends a request and prints its answer.
pub(super) async fn print(
    mesh: &mut Mesh,
    options: &ChatOptions,
    request: GenerateRequest,
    console: &mut Console,
) -> Result<Answer> {
    let request = mesh.request(request)?;
    let broken = |status: tonic::Status| explain(&status, &options.client.address);
    let response = mesh.inference.generate_stream(request).await.map_err(broken)?;
    let trace = response.metadata().get(TRACE_ID).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut frames = response.into_inner();
    let mut answer = Answer::default();
    loop {
        match frames.message().await {
            Ok(Some(frame)) => frame.body.map(|body| answer.add(body, console)).transpose()?,
            Ok(None) => break,
            Err(status) => {
                // What was printed of the answer is on a line of its own, above the error.
                writeln!(console.answers)?;
                let error = broken(status);
                return Err(match trace {
                    Some(trace) => error.context(format!("trace {trace}")),
                    None => error,
                });
            }
        };
    }
    writeln!(console.answers)?;
    if let Some(trace) = trace.filter(|_| console.names_traces) {
        console.remark(&format!("trace {trace}"))?;
    }
    Ok(answer)
}

impl Answer {
    fn add(&mut self, body: Body, console: &mut Console) -> Result<()> {
        match body {
            Body::Started(started) => {
                if started.static_answer {
                    console.remark("(no model answers: this is the policy's own text)")?;
                }
                self.turn = started.session_turn;
            }
            Body::Delta(delta) => {
                if let Some(delta::Content::Text(text)) = delta.content {
                    write!(console.answers, "{text}")?;
                    console.answers.flush()?;
                    self.text.push_str(&text);
                }
            }
            Body::ChoiceFinished(choice) if choice.reason() == FinishReason::Length => {
                write!(console.answers, " […]")?;
            }
            Body::Finished(finished) => self.revision = finished.session_revision,
            Body::ChoiceFinished(_) | Body::Usage(_) => {}
        }
        Ok(())
    }
}
