//! Reads an answer as it is made.

use std::io::Write;

use anyhow::{Result, ensure};
use pointsman_proto::inference::v1::delta::Content;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;
use tonic::transport::Channel;

pub async fn run(mut client: InferenceServiceClient<Channel>) -> Result<()> {
    let mut frames = client.generate_stream(crate::question("Tell me a story.")).await?.into_inner();
    let mut whole = false;
    // An error here means that the stream broke, and that what was printed is not the whole answer.
    while let Some(frame) = frames.message().await? {
        match frame.body {
            Some(Body::Delta(delta)) => {
                if let Some(Content::Text(text)) = delta.content {
                    print!("{text}");
                    std::io::stdout().flush()?;
                }
            }
            Some(Body::Usage(usage)) => println!("\n{} tokens", usage.output_tokens()),
            Some(Body::Finished(_)) => whole = true,
            // Kinds of frames that later versions may add are no concern of this program.
            _ => {}
        }
    }
    ensure!(whole, "the stream has no end");
    Ok(())
}
