//! One turn, as a gateway runs it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::channel::mpsc::{self, Sender};
use pointsman_proto::inference::v1::{FinishReason, MeshContext, Message, Part, Role, Usage, part};
use pointsman_proto::mesh_context;
use pointsman_proto::sessions::v1::run_turn_request::Step as Asked;
use pointsman_proto::sessions::v1::run_turn_response::Step;
use pointsman_proto::sessions::v1::turn_service_client::TurnServiceClient;
use pointsman_proto::sessions::v1::{
    BeginTurn, CommitTurn, RunTurnRequest, RunTurnResponse, Turn, TurnBegun, TurnKind,
};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};

/// Bytes of what is said to the model, and of what it answers.
const INPUT: usize = 500;
const OUTPUT: usize = 1_000;

/// One turn that was begun, and committed if it was to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Until its history was there.
    pub(crate) begin: Duration,
    /// From then until it was durable.
    pub(crate) commit: Duration,
    /// Both together.
    pub(crate) total: Duration,
    /// How many turns it was told.
    pub(crate) history: u64,
}

/// A session store, and connections to it.
pub(crate) struct Store {
    clients: Vec<TurnServiceClient<Channel>>,
    context: MeshContext,
    words: Words,
}

impl Store {
    pub(crate) async fn connect(address: &str, connections: usize, tenant: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        let mut clients = Vec::new();
        for _ in 0..connections.max(1) {
            clients.push(TurnServiceClient::new(endpoint.connect().await?).max_decoding_message_size(usize::MAX));
        }
        let context = MeshContext { tenant: tenant.to_owned(), ..MeshContext::default() };
        Ok(Self { clients, context, words: Words::new() })
    }

    /// Begins a turn and commits it at once.
    pub(crate) async fn turn(
        &self,
        number: u64,
        (session, request_id): (String, String),
        intended: Instant,
    ) -> Result<Sample> {
        let (mut steps, mut answers, begun) = self.begun(number, (&session, &request_id)).await?;
        let begin = intended.elapsed();
        let from = Instant::now();
        let turn = Some(Turn { request_id, ..self.words.committed(number) });
        let history = begun.history.len() as u64;
        let (fence, merged_requests) = (begun.fence, begun.merged_requests);
        let commit =
            CommitTurn { session, fence, turn, request_digest: number, merged_requests, ..CommitTurn::default() };
        steps.try_send(step(Asked::Commit(commit)))?;
        match next(&mut answers).await? {
            Step::Committed(_) => {}
            other => bail!("not committed, but {}", name(&other)),
        }
        Ok(Sample { begin, commit: from.elapsed(), total: intended.elapsed(), history })
    }

    /// Begins a turn and leaves.
    pub(crate) async fn read(
        &self,
        number: u64,
        (session, request_id): (String, String),
        intended: Instant,
    ) -> Result<Sample> {
        let (_steps, _answers, begun) = self.begun(number, (&session, &request_id)).await?;
        let begin = intended.elapsed();
        let history = begun.history.len() as u64;
        Ok(Sample { begin, commit: Duration::ZERO, total: begin, history })
    }

    async fn begun(
        &self,
        number: u64,
        (session, request_id): (&str, &str),
    ) -> Result<(Sender<RunTurnRequest>, Streaming<RunTurnResponse>, TurnBegun)> {
        let (mut sender, steps) = mpsc::channel(2);
        sender.try_send(step(Asked::Begin(BeginTurn {
            session: session.to_owned(),
            request_id: request_id.to_owned(),
            request_digest: number,
            messages: vec![self.words.message(Role::User, INPUT, number)],
            ..BeginTurn::default()
        })))?;
        let mut request = Request::new(steps);
        mesh_context::write(&self.context, request.metadata_mut());
        let client = usize::try_from(number)? % self.clients.len();
        let mut answers = self.clients[client].clone().run_turn(request).await?.into_inner();
        match next(&mut answers).await? {
            Step::Begun(begun) => Ok((sender, answers, begun)),
            other => bail!("not begun, but {}", name(&other)),
        }
    }
}

fn step(step: Asked) -> RunTurnRequest {
    RunTurnRequest { step: Some(step) }
}

async fn next(answers: &mut Streaming<RunTurnResponse>) -> Result<Step> {
    let answer = answers.message().await?.context("the stream ended")?;
    answer.step.context("an answer without a step")
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::Begun(_) => "begun",
        Step::Cancelled(_) => "cancelled",
        Step::Committed(_) => "committed",
        Step::Recorded(_) => "recorded",
    }
}

/// What is said: letters by chance, so that no database makes them shorter than people's words.
pub(crate) struct Words(String);

impl Words {
    pub(crate) fn new() -> Self {
        let mut state = 1_u64;
        let letter = || {
            // The 64-bit generator of Knuth's MMIX.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b"abcdefghijklmnopqrstuvwxyz      "[(state >> 59) as usize])
        };
        Self(std::iter::repeat_with(letter).take(1 << 16).collect())
    }

    /// A turn as it is committed, but for its name.
    pub(crate) fn committed(&self, number: u64) -> Turn {
        let model = "models/assistant";
        Turn {
            kind: TurnKind::Generated.into(),
            input: vec![self.message(Role::User, INPUT, number)],
            output: Some(self.message(Role::Assistant, OUTPUT, number + 1)),
            finish_reason: FinishReason::Stop.into(),
            model: model.to_owned(),
            target: format!("{model}/versions/1"),
            decision_id: "0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b".to_owned(),
            usage: Some(Usage { input_tokens: Some(1_500), output_tokens: Some(250), ..Usage::default() }),
            estimated_tokens: 400,
            estimated_prompt_tokens: 1_600,
            ..Turn::default()
        }
    }

    fn message(&self, role: Role, bytes: usize, number: u64) -> Message {
        let from = (number as usize).wrapping_mul(7_919) % (self.0.len() - bytes);
        let part = Part { kind: Some(part::Kind::Text(self.0[from..from + bytes].to_owned())) };
        Message { role: role.into(), parts: vec![part], ..Message::default() }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::{INPUT, OUTPUT, Words};

    #[test]
    fn a_turn_has_its_size_and_words_of_its_own() {
        let words = Words::new();
        let turns = [1, 2, u64::MAX - 1].map(|number| words.committed(number));
        assert!(turns.iter().all(|turn| (INPUT + OUTPUT..INPUT + OUTPUT + 200).contains(&turn.encoded_len())));
        assert_ne!(turns[0].input, turns[1].input);
    }
}
