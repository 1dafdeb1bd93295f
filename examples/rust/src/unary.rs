//! Asks for a whole answer.

use std::time::Duration;

use anyhow::Result;
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;
use pointsman_proto::inference::v1::part::Kind;
use tonic::Request;
use tonic::transport::Channel;

pub async fn run(mut client: InferenceServiceClient<Channel>) -> Result<()> {
    let mut request = Request::new(crate::question("Hello"));
    // The deadline of the whole call, everywhere in the mesh.
    request.set_timeout(Duration::from_secs(30));
    let answer = client.generate(request).await?.into_inner();
    for part in answer.choices.into_iter().filter_map(|choice| choice.message).flat_map(|message| message.parts) {
        if let Some(Kind::Text(text)) = part.kind {
            println!("{text}");
        }
    }
    println!("{} on {}", answer.usage.unwrap_or_default().output_tokens(), answer.started.unwrap_or_default().target);
    Ok(())
}
