use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Metric, Registry, Unit};

/// The metrics of a process, served on the operator port. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Registry::with_prefix("pointsman"))))
    }
}

impl Metrics {
    /// Adds a metric and returns it. The name gets the prefix `pointsman_` and the unit as suffix.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, unit: Option<Unit>, metric: M) -> M {
        let mut registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, metric.clone()),
            None => registry.register(name, help, metric.clone()),
        }
        metric
    }

    /// Adds metrics that are found out when they are read. Their names get the prefix too.
    pub fn register_collector(&self, collector: impl Collector) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).register_collector(Box::new(collector));
    }

    /// Writes all metrics in the OpenMetrics text format.
    pub(crate) fn encode(&self) -> String {
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &registry);
        text
    }
}
