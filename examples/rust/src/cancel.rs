//! Reads a few pieces of an answer and leaves. The model stops at once.

use anyhow::Result;
use futures::stream::{StreamExt, TryStreamExt};
use pointsman_proto::inference::v1::Frame;
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;
use tonic::transport::Channel;

pub async fn run(mut client: InferenceServiceClient<Channel>) -> Result<()> {
    let mut frames = client.generate_stream(crate::question("Tell me a story.")).await?.into_inner();
    let first: Vec<Frame> = frames.by_ref().take(6).try_collect().await?;
    // Dropping the stream is all that it takes.
    drop(frames);
    println!("cancelled after {} frames", first.len());
    Ok(())
}
