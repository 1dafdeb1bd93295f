//! The generations of the mesh in memory.

use futures::stream::{BoxStream, StreamExt, iter};
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::inference_service_server::InferenceService;
use pointsman_proto::inference::v1::*;
use pointsman_proto::sessions::v1::{Session, Turn, TurnKind};
use tonic::{Request, Response, Status, async_trait};

use super::{FakeMesh, Fault, State, message, said};

type Answer<T> = Result<Response<T>, Status>;

fn text_of(message: &Message) -> &str {
    match &message.parts[0].kind {
        Some(part::Kind::Text(text)) => text,
        other => panic!("no text: {other:?}"),
    }
}

fn delta(text: &str) -> Body {
    Body::Delta(Delta { content: Some(delta::Content::Text(text.into())), ..Delta::default() })
}

impl State {
    /// Answers as a gateway does: the turn is committed before its end is sent.
    fn generate(&mut self, request: GenerateRequest) -> Vec<Result<Body, Status>> {
        self.asked.push(request.clone());
        let fault = if self.next.is_empty() { None } else { Some(self.next.remove(0)) };
        let answer = format!("You said: {}", text_of(request.messages.last().unwrap()));
        let mut frames = vec![];
        let mut revision = None;
        let name = request.session.map(|session| session.session);
        if let Some(name) = &name {
            if !self.sessions.contains_key(name) {
                self.create(name, Session::default()).unwrap();
            }
            if fault == Some(Fault::ComesSecond) {
                self.commit(name, said("another", "answer")).unwrap();
            }
            revision = Some(self.sessions[name].0.revision + 1);
            let left_out_turns = u64::from(fault == Some(Fault::ComesSecond));
            let session_turn = Some(SessionTurn {
                session: name.clone(),
                revision: revision.unwrap(),
                left_out_turns,
                ..SessionTurn::default()
            });
            frames.push(Ok(Body::Started(Box::new(Started { session_turn, ..Started::default() }))));
        }
        frames.push(Ok(delta("You ")));
        self.down = fault == Some(Fault::TakesTheStoreAlong);
        if matches!(fault, Some(Fault::Fails | Fault::TakesTheStoreAlong)) {
            frames.push(Err(Status::unavailable("the engine was lost")));
            return frames;
        }
        if fault == Some(Fault::EndsEarly) {
            return frames;
        }
        if let Some(name) = &name {
            let output = Some(message(Role::Assistant, &answer));
            let kind = TurnKind::Generated.into();
            let (request_id, model) = (request.request_id, request.model);
            let turn = Turn { kind, request_id, model, input: request.messages, output, ..Turn::default() };
            self.commit(name, turn).unwrap();
        }
        if fault == Some(Fault::LosesItsEnd) {
            frames.push(Err(Status::unavailable("the connection was lost")));
            return frames;
        }
        frames.push(Ok(delta(answer.strip_prefix("You ").unwrap())));
        frames.push(Ok(Body::Finished(Finished { session_revision: revision })));
        frames
    }
}

#[async_trait]
impl InferenceService for FakeMesh {
    type GenerateStreamStream = BoxStream<'static, Result<Frame, Status>>;
    type ResumeStream = BoxStream<'static, Result<Frame, Status>>;
    type WatchLoadStream = BoxStream<'static, Result<Load, Status>>;

    async fn generate_stream(&self, request: Request<GenerateRequest>) -> Answer<Self::GenerateStreamStream> {
        let frames = self.state().generate(request.into_inner());
        let frames = frames
            .into_iter()
            .enumerate()
            .map(|(index, frame)| frame.map(|body| Frame { sequence: index as u64 + 1, body: Some(body) }));
        Ok(Response::new(iter(frames.collect::<Vec<_>>()).boxed()))
    }

    async fn describe(&self, _: Request<DescribeRequest>) -> Answer<DescribeResponse> {
        let target = |target: &str| TargetDescription { target: target.into(), ..TargetDescription::default() };
        let targets = vec![target("assistant"), target("models/pip/versions/1")];
        Ok(Response::new(DescribeResponse { targets, ..DescribeResponse::default() }))
    }

    async fn generate(&self, _: Request<GenerateRequest>) -> Answer<GenerateResponse> {
        Err(Status::unimplemented("commands stream"))
    }

    async fn resume(&self, _: Request<ResumeRequest>) -> Answer<Self::ResumeStream> {
        Err(Status::unimplemented("no command resumes"))
    }

    async fn embed(&self, _: Request<EmbedRequest>) -> Answer<EmbedResponse> {
        Err(Status::unimplemented("no command embeds"))
    }

    async fn count_tokens(&self, _: Request<CountTokensRequest>) -> Answer<CountTokensResponse> {
        Err(Status::unimplemented("no command counts"))
    }

    async fn watch_load(&self, _: Request<WatchLoadRequest>) -> Answer<Self::WatchLoadStream> {
        Err(Status::unimplemented("no command watches"))
    }
}
