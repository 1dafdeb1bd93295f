//! What a process keeps of usage, for those who operate it: one source, which the service registers.

use std::fmt;
use std::sync::{Arc, OnceLock};

use pointsman_errors::{Error, Reason};
use pointsman_proto::ledger::v1::UsageRecord;
use pointsman_proto::operations::v1::TakeUsageRequest;
use tonic_types::FieldViolation;

/// Records of a batch whose request says nothing.
const DEFAULT_LIMIT: u32 = 1_000;
const LARGEST_LIMIT: u32 = 10_000;

/// Keeps usage records until they are taken.
pub trait UsageSource: Send + Sync + 'static {
    /// Lets go of what is acknowledged, then reads a batch of at most `limit` records (1 to 10,000) and about
    /// 2 MiB. Blocks for the disk: it is called off the async threads.
    fn take(&self, request: &TakeUsageRequest) -> Result<UsageBatch, Error>;
}

/// Usage records, oldest first.
#[derive(Clone, Debug, Default)]
pub struct UsageBatch {
    /// The records.
    pub records: Vec<UsageRecord>,
    /// Where the last of what was read stands; empty if nothing was.
    pub position: String,
    /// Whether there was more to read.
    pub more: bool,
}

/// Where a service gives its source of usage. Cheap to clone.
#[derive(Clone, Default)]
pub struct Usage(Arc<OnceLock<Arc<dyn UsageSource>>>);

impl Usage {
    /// Gives the source of this process. It has one: a second is not taken.
    pub fn register(&self, source: impl UsageSource) {
        let _ = self.0.set(Arc::new(source));
    }

    pub(crate) async fn take(&self, mut request: TakeUsageRequest) -> Result<UsageBatch, Error> {
        let Some(source) = self.0.get().cloned() else {
            let message = "this process keeps no usage: it is no gateway, or has no gateway.data_dir";
            return Err(Error::new(Reason::UsageNotKept, message));
        };
        match request.limit {
            0 => request.limit = DEFAULT_LIMIT,
            1..=LARGEST_LIMIT => {}
            _ => return Err(Error::invalid(vec![FieldViolation::new("limit", "is above 10,000")])),
        }
        match tokio::task::spawn_blocking(move || source.take(&request)).await {
            Ok(batch) => batch,
            // A panic has said what it was.
            Err(_) => Err(Error::new(Reason::Internal, "usage could not be read; see this process's log")),
        }
    }
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Usage").field(&self.0.get().is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use pointsman_errors::{Error, Reason};
    use pointsman_proto::operations::v1::TakeUsageRequest;

    use super::{Usage, UsageBatch, UsageSource};

    /// Says the limit that it was asked with.
    struct Limit;

    impl UsageSource for Limit {
        fn take(&self, request: &TakeUsageRequest) -> Result<UsageBatch, Error> {
            Ok(UsageBatch { position: request.limit.to_string(), ..UsageBatch::default() })
        }
    }

    #[tokio::test]
    async fn a_source_is_asked_within_the_limits() {
        let usage = Usage::default();
        let refused = usage.take(TakeUsageRequest::default()).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::UsageNotKept);
        usage.register(Limit);
        for (asked, given) in [(0, "1000"), (1, "1"), (10_000, "10000")] {
            let request = TakeUsageRequest { limit: asked, ..TakeUsageRequest::default() };
            assert_eq!(usage.take(request).await.unwrap().position, given);
        }
        let refused = usage.take(TakeUsageRequest { limit: 10_001, ..TakeUsageRequest::default() }).await.unwrap_err();
        assert_eq!((refused.reason(), refused.violations()[0].field.as_str()), (Reason::InvalidRequest, "limit"));
    }
}
