//! The usage of this gateway, for those who operate it: the records of its spool, and how full that is.

use std::fmt;

use pointsman_errors::{Error, Reason};
use pointsman_proto::ledger::v1::UsageRecord;
use pointsman_proto::operations::v1::TakeUsageRequest;
use pointsman_server::{UsageBatch, UsageSource};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use prost::Message;
use tonic_types::FieldViolation;

use crate::spool::{Position, Spool, SpoolError, Status};

/// A batch ends once its records have so many bytes: with one more record it stays below the 4 MiB that
/// clients of gRPC take by default.
const BATCH_BYTES: usize = 2 << 20;

/// A spool, as operators take from it.
pub(crate) struct Taken(pub(crate) Spool);

impl UsageSource for Taken {
    fn take(&self, request: &TakeUsageRequest) -> Result<UsageBatch, Error> {
        let acknowledge = position("acknowledge", &request.acknowledge)?;
        let after = position("after", &request.after)?;
        if let Some(acknowledge) = acknowledge {
            self.0.acknowledge(acknowledge).map_err(|error| refusal("acknowledge", &error))?;
        }
        let mut batch = UsageBatch::default();
        let (mut last, mut bytes) = (None, 0);
        for read in self.0.records(after).map_err(|error| refusal("after", &error))? {
            if batch.records.len() >= request.limit as usize || bytes >= BATCH_BYTES {
                batch.more = true;
                break;
            }
            let (position, record) = read.map_err(|error| refusal("after", &error))?;
            last = Some(position);
            match UsageRecord::decode(record.as_slice()) {
                Ok(decoded) => {
                    bytes += record.len();
                    batch.records.push(decoded);
                }
                // Whole, but of no version that this one knows: it would be in the way for ever.
                Err(error) => tracing::error!(%position, %error, "a usage record is no message; it is passed over"),
            }
        }
        batch.position = last.map_or_else(String::new, |last| last.to_string());
        Ok(batch)
    }
}

fn position(field: &str, text: &str) -> Result<Option<Position>, Error> {
    let position = (!text.is_empty()).then(|| text.parse()).transpose();
    position.map_err(|error| refusal(field, &error))
}

fn refusal(field: &str, error: &SpoolError) -> Error {
    if matches!(error, SpoolError::NoSuchPosition) {
        let description = "is no position of this gateway's records; read without one";
        return Error::invalid(vec![FieldViolation::new(field, description)]);
    }
    let source = std::error::Error::source(error).map(tracing::field::display);
    tracing::error!(%error, source, "usage could not be taken");
    Error::new(Reason::Internal, "usage could not be taken; see this gateway's log")
}

/// How full a spool is, found out whenever the metrics are read.
#[derive(Debug)]
pub(crate) struct Fullness(pub(crate) Spool);

impl Collector for Fullness {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Status { bytes, records, segments, torn, damaged, lost } = self.0.status();
        let has_room = u64::from(self.0.has_room());
        let mut counter = |name, help, value| {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
        };
        counter("gateway_usage_records", "Usage records that were written, or dropped where none are kept", records)?;
        counter("gateway_usage_lost_records", "Usage records that could not be written", lost)?;
        counter("gateway_usage_torn_segments", "Unfinished ends that were cut off at the start", torn)?;
        counter("gateway_usage_damaged_segments", "Segments with a part that cannot be read", damaged)?;
        let mut gauge = |name, help, unit: Option<Unit>, value: u64| {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?)
        };
        gauge("gateway_usage_spool", "What the usage spool takes of the disk", Some(Unit::Bytes), bytes)?;
        gauge("gateway_usage_spool_segments", "Files of the usage spool", None, segments)?;
        gauge(
            "gateway_usage_spool_has_room",
            "1 while new requests are taken; 0 while usage has no room",
            None,
            has_room,
        )
    }
}

#[cfg(test)]
mod tests {
    use pointsman_errors::Reason;
    use pointsman_proto::ledger::v1::UsageRecord;
    use pointsman_proto::operations::v1::TakeUsageRequest;
    use pointsman_server::{UsageBatch, UsageSource};
    use prost::Message;
    use tempfile::{TempDir, tempdir};

    use super::{BATCH_BYTES, Taken};
    use crate::spool::Spool;

    fn spool() -> (TempDir, Spool) {
        let folder = tempdir().unwrap();
        let spool = Spool::open(folder.path(), 1 << 30, 4096).unwrap();
        (folder, spool)
    }

    fn append(spool: &Spool, ids: std::ops::Range<usize>, bytes: usize) {
        for id in ids {
            let record = UsageRecord { attempt_id: id.to_string(), model: "x".repeat(bytes), ..UsageRecord::default() };
            spool.append(&record.encode_to_vec()).unwrap();
        }
    }

    fn ids(batch: &UsageBatch) -> Vec<usize> {
        batch.records.iter().map(|record| record.attempt_id.parse().unwrap()).collect()
    }

    fn request(acknowledge: &str, after: &str, limit: u32) -> TakeUsageRequest {
        TakeUsageRequest { acknowledge: acknowledge.into(), after: after.into(), limit }
    }

    #[test]
    fn what_is_not_acknowledged_comes_again() {
        let (_folder, spool) = spool();
        append(&spool, 0..25, 300);
        let taken = Taken(spool.clone());
        let first = taken.take(&request("", "", 10)).unwrap();
        assert_eq!((ids(&first), first.more), ((0..10).collect(), true));
        assert_eq!(ids(&taken.take(&request("", "", 10)).unwrap()), ids(&first));
        let second = taken.take(&request("", &first.position, 10)).unwrap();
        assert_eq!(ids(&second), (10..20).collect::<Vec<_>>());
        assert_eq!(ids(&taken.take(&request("", "", 1)).unwrap()), [0], "reading behind lets go of nothing");
        let third = taken.take(&request(&second.position, "", 10)).unwrap();
        assert_eq!((ids(&third), third.more), ((20..25).collect(), false));
        let none = taken.take(&request(&third.position, "", 10)).unwrap();
        assert_eq!((none.records.len(), none.position.as_str(), none.more), (0, "", false));
        append(&spool, 25..26, 300);
        assert_eq!(ids(&taken.take(&request(&first.position, "", 10)).unwrap()), [25], "an old one changes nothing");
    }

    #[test]
    fn a_batch_fits_a_message() {
        let (_folder, spool) = spool();
        append(&spool, 0..100, 60 << 10);
        let taken = Taken(spool);
        let (mut read, mut position) = (Vec::new(), String::new());
        loop {
            let batch = taken.take(&request(&position, "", 10_000)).unwrap();
            let bytes: usize = batch.records.iter().map(Message::encoded_len).sum();
            assert!(bytes < BATCH_BYTES + (64 << 10) && (bytes >= BATCH_BYTES || !batch.more), "{bytes}");
            read.extend(ids(&batch));
            if !batch.more {
                break;
            }
            position = batch.position;
        }
        assert_eq!(read, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_record_is_passed_over() {
        let (_folder, spool) = spool();
        append(&spool, 0..2, 10);
        spool.append(&[0xFF; 20]).unwrap();
        append(&spool, 3..4, 10);
        let taken = Taken(spool);
        let batch = taken.take(&request("", "", 10)).unwrap();
        assert_eq!(ids(&batch), [0, 1, 3]);
        assert_eq!(taken.take(&request(&batch.position, "", 10)).unwrap().records, []);
    }

    #[test]
    fn a_strange_position_is_refused() {
        let (_folder, spool) = spool();
        append(&spool, 0..2, 10);
        let taken = Taken(spool);
        for strange in ["x", "2-0-10", "1-0-1000000", "18446744073709551615-0-10"] {
            for (field, request) in [("acknowledge", request(strange, "", 1)), ("after", request("", strange, 1))] {
                let refused = taken.take(&request).unwrap_err();
                let at = refused.violations()[0].field.as_str();
                assert_eq!((refused.reason(), at), (Reason::InvalidRequest, field), "{strange}");
            }
        }
        assert_eq!(taken.take(&request("", "", 10)).unwrap().records.len(), 2);
    }
}
