//! An instance that breaks its promises in ways that no transport notices: the gateway passes none of it on.

use anyhow::{Context, Result};
use futures::stream::{self, BoxStream, StreamExt};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::inference_service_server::{InferenceService, InferenceServiceServer};
use pointsman_proto::inference::v1::{
    Ability, CountTokensRequest, CountTokensResponse, Delta, DescribeRequest, DescribeResponse, EmbedRequest,
    EmbedResponse, Finished, Frame, GenerateRequest, GenerateResponse, Load, ResumeRequest, TargetDescription,
    WatchLoadRequest, delta,
};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::caller::{chat_body, connect, post_chat, read, reason, retry_delay, say};
use crate::service::{Start, gateway_config};

#[tokio::test]
async fn a_stream_that_only_looks_whole_is_an_error() -> Result<()> {
    for lie in [Lie::NoEnd, Lie::Gap, Lie::Nothing] {
        let instance = listen(lie).await?;
        let gateway = Start::new("gateway", &gateway_config(&instance)).ready().await?;
        let mut client = connect(&gateway.address).await?;
        let error = match client.generate_stream(say("liar", "Hello")).await {
            Ok(frames) => read(frames.into_inner()).await?.reason()?,
            Err(status) => reason(&status)?,
        };
        assert_eq!(error, Reason::StreamTruncated, "{lie:?}");
        let whole = post_chat(&gateway.address, &chat_body("liar", "Hello", false)).await?;
        assert_eq!(
            (whole.status().as_u16(), &whole.headers()["x-pointsman-reason"]),
            (502, &"STREAM_TRUNCATED".parse()?)
        );
        let events = post_chat(&gateway.address, &chat_body("liar", "Hello", true)).await?.text().await?;
        assert!(events.contains("stream_truncated") && !events.contains("[DONE]"), "{lie:?}: {events}");
        gateway.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_error_of_the_network_is_told_without_its_text() -> Result<()> {
    let instance = listen(Lie::Away).await?;
    let gateway = Start::new("gateway", &gateway_config(&instance)).ready().await?;
    let refused = connect(&gateway.address).await?.generate(say("liar", "Hello")).await.err().context("answered")?;
    assert_eq!(reason(&refused)?, Reason::InstanceUnreachable);
    assert!(retry_delay(&refused).is_some() && !refused.message().contains("10.0.0.7"), "{refused:?}");
    for stream in [false, true] {
        let refused = post_chat(&gateway.address, &chat_body("liar", "Hello", stream)).await?;
        let headers = refused.headers();
        assert_eq!(
            (refused.status().as_u16(), &headers["x-pointsman-reason"]),
            (503, &"INSTANCE_UNREACHABLE".parse()?)
        );
        assert!(headers.contains_key("retry-after"), "{headers:?}");
        assert!(!refused.text().await?.contains("10.0.0.7"));
    }
    gateway.stop_after(&["an instance could not be reached"]).await
}

/// How an instance breaks its promises.
#[derive(Clone, Copy, Debug)]
pub enum Lie {
    /// A clean end without `Finished`.
    NoEnd,
    /// A frame is missing.
    Gap,
    /// A clean end without any frame.
    Nothing,
    /// The error of a proxy between.
    Away,
}

/// Listens for as long as the test runs.
pub async fn listen(lie: Lie) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<InferenceServiceServer<Lie>>().await;
    let server = Server::builder().add_service(health).add_service(InferenceServiceServer::new(lie));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    Ok(address)
}

#[tonic::async_trait]
impl InferenceService for Lie {
    type GenerateStreamStream = BoxStream<'static, Result<Frame, Status>>;

    async fn generate_stream(
        &self,
        _: Request<GenerateRequest>,
    ) -> Result<Response<Self::GenerateStreamStream>, Status> {
        let text = Delta { content: Some(delta::Content::Text("half".to_owned())), ..Delta::default() };
        let (started, text) = (Body::Started(Box::default()), Body::Delta(text));
        let frames = match self {
            Self::Away => return Err(Status::unavailable("10.0.0.7:9090 refused the connection")),
            Self::NoEnd => vec![(1, started), (2, text)],
            Self::Gap => vec![(1, started), (2, text), (4, Body::Finished(Finished::default()))],
            Self::Nothing => vec![],
        };
        let frames = frames.into_iter().map(|(sequence, body)| Ok(Frame { sequence, body: Some(body) }));
        Ok(Response::new(stream::iter(frames).boxed()))
    }

    async fn generate(&self, _: Request<GenerateRequest>) -> Result<Response<GenerateResponse>, Status> {
        Err(Status::unimplemented("the gateway folds streams"))
    }

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        let abilities = vec![Ability::Embeddings.into()];
        let target = TargetDescription { target: "models/liar/versions/1".to_owned(), abilities, ..Default::default() };
        Ok(Response::new(DescribeResponse { targets: vec![target], ..Default::default() }))
    }

    async fn embed(&self, _: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        // Of none of the texts.
        Ok(Response::new(EmbedResponse::default()))
    }

    async fn count_tokens(&self, _: Request<CountTokensRequest>) -> Result<Response<CountTokensResponse>, Status> {
        // As one of an older version does.
        Err(Status::unimplemented(""))
    }

    type ResumeStream = BoxStream<'static, Result<Frame, Status>>;

    async fn resume(&self, _: Request<ResumeRequest>) -> Result<Response<Self::ResumeStream>, Status> {
        Err(Status::unimplemented("liars keep nothing"))
    }

    type WatchLoadStream = BoxStream<'static, Result<Load, Status>>;

    async fn watch_load(&self, _: Request<WatchLoadRequest>) -> Result<Response<Self::WatchLoadStream>, Status> {
        Err(Status::unimplemented("liars have no load"))
    }
}
