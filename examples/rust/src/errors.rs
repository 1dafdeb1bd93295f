//! Asks for what cannot be, and reads all that the mesh says about it.

use anyhow::{Result, bail};
use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;
use pointsman_proto::inference::v1::{GenerateRequest, Sampling};
use tonic::transport::Channel;
use tonic_types::StatusExt;

pub async fn run(mut client: InferenceServiceClient<Channel>) -> Result<()> {
    let sampling = Sampling { temperature: Some(9.0), ..Sampling::default() };
    let request = GenerateRequest { sampling: Some(sampling), ..crate::question("Hello") };
    let Err(status) = client.generate(request).await else { bail!("it was answered") };
    println!("{:?}", status.code());
    let details = status.get_error_details();
    if let Some(info) = details.error_info() {
        println!("reason {0}: see docs/errors/{0}.md", info.reason);
    }
    for violation in details.bad_request().iter().flat_map(|bad| &bad.field_violations) {
        println!("  {}: {}", violation.field, violation.description);
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        println!("  worth repeating in {delay:?}");
    }
    println!("trace {:?}", status.metadata().get("x-pointsman-trace-id"));
    Ok(())
}
