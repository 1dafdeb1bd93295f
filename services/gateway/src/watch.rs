//! Keeps the view of the fleet true: asks each instance what it serves, and watches its health.

use std::time::Duration;

use futures::future::join_all;
use pointsman_proto::inference::v1::DescribeRequest;
use pointsman_proto::inference::v1::inference_service_server::SERVICE_NAME;
use pointsman_server::{Drain, Readiness};
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::fleet::Fleet;

/// How long an instance may take to describe itself.
const DESCRIBE_LIMIT: Duration = Duration::from_secs(5);
/// Pauses between tries to reach an instance: doubling, from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Watches every instance for ever.
pub(crate) async fn run(fleet: Fleet, readiness: Readiness, drain: Drain) {
    let watches = (0..fleet.instances().len()).map(|index| watch(&fleet, index, &readiness, &drain));
    join_all(watches).await;
    // Only a fleet without instances gets here: it is never ready.
    std::future::pending().await
}

async fn watch(fleet: &Fleet, index: usize, readiness: &Readiness, drain: &Drain) {
    let mut pause = BACKOFF.0;
    let mut reached = true;
    loop {
        let ended = follow(fleet, index, readiness, &mut reached, &mut pause).await;
        readiness.set(fleet.set(index, None, false));
        if std::mem::take(&mut reached) && !drain.has_begun() {
            let name = &fleet.instances()[index].name;
            let error = ended.err().map_or_else(
                || "it closed the watch".to_owned(),
                |status| format!("{:?}: {}", status.code(), status.message()),
            );
            tracing::info!(instance = name, error, "an instance cannot be reached; trying again and again");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

/// Follows an instance's health until the connection ends.
async fn follow(
    fleet: &Fleet,
    index: usize,
    readiness: &Readiness,
    reached: &mut bool,
    pause: &mut Duration,
) -> Result<(), Status> {
    let instance = &fleet.instances()[index];
    let request = HealthCheckRequest { service: SERVICE_NAME.to_owned() };
    let mut changes = HealthClient::new(instance.channel.clone()).watch(request).await?.into_inner();
    while let Some(change) = changes.message().await? {
        let ready = change.status() == ServingStatus::Serving;
        // Asked again at each change: what comes back after a restart may serve something else.
        let described = tokio::time::timeout(DESCRIBE_LIMIT, instance.client().describe(DescribeRequest {}))
            .await
            .map_err(|_| Status::deadline_exceeded("describe took too long"))??;
        readiness.set(fleet.set(index, Some(described.into_inner().targets), ready));
        tracing::info!(instance = instance.name, ready, "an instance says how it is");
        (*reached, *pause) = (true, BACKOFF.0);
    }
    Ok(())
}
