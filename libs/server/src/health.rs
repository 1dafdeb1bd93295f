//! Whether a service can do its work now, for gRPC health checks and `/readyz`.

use std::sync::Arc;

use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};

use crate::Drain;

/// Whether a service is ready. Cheap to clone; begins as not ready.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<watch::Sender<State>>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    ready: bool,
    draining: bool,
    /// Grows when watchers are to be told again, though they know whether the service is ready.
    news: u64,
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }
}

impl Readiness {
    /// Says whether the service can do its work now.
    pub fn set(&self, ready: bool) {
        self.0.send_if_modified(|state| std::mem::replace(&mut state.ready, ready) != ready);
    }

    /// Says that what the service has to offer has changed: watchers are told again how it is, and ask.
    pub fn tell_again(&self) {
        self.0.send_modify(|state| state.news += 1);
    }

    /// Says that the service goes down: it is not ready from now on, whatever is said later.
    pub fn drain(&self) {
        self.0.send_if_modified(|state| !std::mem::replace(&mut state.draining, true));
    }

    /// Whether the service is ready.
    pub fn is_ready(&self) -> bool {
        let state = *self.0.borrow();
        state.ready && !state.draining
    }

    /// Waits until the service is ready.
    pub async fn wait(&self) {
        // An error means that no sender is left, and this is one.
        let _ = self.0.subscribe().wait_for(|state| state.ready && !state.draining).await;
    }

    /// Makes the gRPC health service of these services, and the task that keeps it true. When the drain
    /// begins, watches end with their last word: they would hold up the end, since nothing else ends them.
    pub(crate) fn serve(
        &self,
        names: Vec<&'static str>,
        drain: Drain,
    ) -> (HealthService, impl Future<Output = ()> + Send + 'static) {
        let mut reporter = HealthReporter::new();
        let service = HealthService::from_health_reporter(reporter.clone());
        let mut changes = self.0.subscribe();
        let keep_true = async move {
            let names: Vec<&str> = std::iter::once("").chain(names).collect();
            let mut said = None;
            loop {
                let state = *changes.borrow_and_update();
                let status =
                    if state.ready && !state.draining { ServingStatus::Serving } else { ServingStatus::NotServing };
                // A watch tells whatever is said, also what it has told before.
                let now = (status, state.news);
                if said.replace(now) != Some(now) {
                    for name in &names {
                        reporter.set_service_status(*name, status).await;
                    }
                }
                tokio::select! {
                    // First, so that watches see the last change, which is made before the drain begins.
                    biased;
                    changed = changes.changed() => if changed.is_err() { break },
                    () = drain.begun() => {
                        for name in &names {
                            reporter.clear_service_status(name).await;
                        }
                        break;
                    }
                }
            }
            // What is said can no longer change.
            std::future::pending().await
        };
        (service, keep_true)
    }
}
