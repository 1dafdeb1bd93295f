//! Keeps the view of the fleet true: asks each instance what it serves, and watches its health.

use std::convert::Infallible;
use std::time::Duration;

use futures::future::join_all;
use pointsman_proto::inference::v1::inference_service_server::SERVICE_NAME;
use pointsman_proto::inference::v1::{DescribeRequest, WatchLoadRequest};
use pointsman_server::{Drain, Readiness};
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::fleet::{Change, Fleet, Instance};

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
        tell(readiness, fleet.unready(index));
        if std::mem::take(&mut reached) && !drain.has_begun() {
            let name = &fleet.instances()[index].name;
            let error = ended.err().map_or_else(
                || "it closed the watch".to_owned(),
                |status| format!("{:?}: {}", status.code(), status.message()),
            );
            tracing::info!(instance = &**name, error, "an instance cannot be reached; trying again and again");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

/// Says how this gateway is. A gateway before it has asked what it serves, and must ask again when that changes.
fn tell(readiness: &Readiness, change: Change) {
    if change.offers && readiness.is_ready() {
        readiness.tell_again();
    }
    readiness.set(change.ready);
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
    let mut load = std::pin::pin!(follow_load(instance));
    loop {
        let change = tokio::select! {
            change = changes.message() => change?,
            never = &mut load => match never {},
        };
        let Some(change) = change else { return Ok(()) };
        if change.status() != ServingStatus::Serving {
            // At once: an instance that hangs would not describe itself either.
            tell(readiness, fleet.unready(index));
            (*reached, *pause) = (true, BACKOFF.0);
            tracing::info!(instance = &*instance.name, ready = false, "an instance says how it is");
            continue;
        }
        // Asked again at each change: what comes back after a restart may serve something else.
        let described = tokio::time::timeout(DESCRIBE_LIMIT, instance.client().describe(DescribeRequest {}))
            .await
            .map_err(|_| Status::deadline_exceeded("describe took too long"))??;
        tell(readiness, fleet.describe(index, described.into_inner()));
        (*reached, *pause) = (true, BACKOFF.0);
        tracing::info!(instance = &*instance.name, ready = true, "an instance says how it is");
    }
}

/// Notes what an instance says of its load, again and again.
async fn follow_load(instance: &Instance) -> Infallible {
    let mut pause = BACKOFF.0;
    loop {
        if let Ok(loads) = instance.client().watch_load(WatchLoadRequest {}).await {
            let mut loads = loads.into_inner();
            while let Ok(Some(load)) = loads.message().await {
                instance.says(&load);
                pause = BACKOFF.0;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}
