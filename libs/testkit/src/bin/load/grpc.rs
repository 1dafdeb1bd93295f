//! A caller over gRPC, on a connection of its own or one that many share.

use std::time::Instant;

use anyhow::{Context, Result};
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;
use pointsman_proto::inference::v1::{GenerateRequest, Limits, Message, Part, Role, part};
use tonic::transport::{Channel, Endpoint};

use crate::Arguments;
use crate::figures::Sample;

#[derive(Clone)]
pub(crate) struct Caller(InferenceServiceClient<Channel>);

impl Caller {
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        Ok(Self(InferenceServiceClient::new(endpoint.connect().await?)))
    }

    pub(crate) async fn ask(&mut self, arguments: &Arguments, prompt: String) -> Result<Sample> {
        let part = Part { kind: Some(part::Kind::Text(prompt)) };
        let request = GenerateRequest {
            model: arguments.model.clone(),
            messages: vec![Message { role: Role::User.into(), parts: vec![part], ..Message::default() }],
            limits: Some(Limits { max_output_tokens: Some(arguments.max_tokens) }),
            ..GenerateRequest::default()
        };
        let begin = Instant::now();
        if !arguments.stream {
            let usage = self.0.generate(request).await?.into_inner().usage.context("no usage")?;
            let total = begin.elapsed();
            return Ok(Sample { first: total, total, tokens: u64::from(usage.output_tokens.unwrap_or(0)) });
        }
        let mut frames = self.0.generate_stream(request).await?.into_inner();
        let (mut first, mut tokens, mut finished) = (None, 0, false);
        while let Some(frame) = frames.message().await? {
            match frame.body {
                Some(Body::Delta(_)) if first.is_none() => first = Some(begin.elapsed()),
                Some(Body::Usage(usage)) => tokens = u64::from(usage.output_tokens.unwrap_or(0)),
                Some(Body::Finished(_)) => finished = true,
                _ => {}
            }
        }
        anyhow::ensure!(finished, "the stream has no end");
        Ok(Sample { first: first.context("no content")?, total: begin.elapsed(), tokens })
    }
}
