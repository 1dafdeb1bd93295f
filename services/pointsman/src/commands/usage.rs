//! `pointsman usage`

use std::io::{self, Write};

use anyhow::{Context, Result};
use pointsman_client::{Channel, Config, remote};
use pointsman_proto::json;
use pointsman_proto::ledger::v1::UsageRecord;
use pointsman_proto::operations::v1::operations_service_client::OperationsServiceClient;
use pointsman_proto::operations::v1::{TakeUsageRequest, TakeUsageResponse};

use crate::arguments::UsageOptions;
use crate::client::explain;

const RECORD: &str = "pointsman.ledger.v1.UsageRecord";

/// Prints the usage records that are there, a line each; with `--take` lets go of what was printed.
pub(crate) async fn run(options: UsageOptions) -> Result<()> {
    let mut gateway = Gateway::connect(options.operator.operator_address)?;
    let mut next = TakeUsageRequest::default();
    loop {
        let TakeUsageResponse { records, position, more, .. } = gateway.take(next).await?;
        print(&records, &mut io::stdout().lock())
            .context("the records could not be written; they stay where they are")?;
        next = match options.take {
            true => TakeUsageRequest { acknowledge: position, ..TakeUsageRequest::default() },
            false => TakeUsageRequest { after: position, ..TakeUsageRequest::default() },
        };
        if !more {
            break;
        }
    }
    if !next.acknowledge.is_empty() {
        // What came meanwhile is for the next to take.
        gateway.take(TakeUsageRequest { limit: 1, ..next }).await?;
    }
    Ok(())
}

struct Gateway {
    client: OperationsServiceClient<Channel>,
    address: String,
}

impl Gateway {
    fn connect(address: String) -> Result<Self> {
        Ok(Self { client: OperationsServiceClient::new(remote(&address, None, &Config::default())?), address })
    }

    async fn take(&mut self, request: TakeUsageRequest) -> Result<TakeUsageResponse> {
        let taken = self.client.take_usage(request).await;
        Ok(taken.map_err(|status| explain(&status, &self.address))?.into_inner())
    }
}

fn print(records: &[UsageRecord], to: &mut impl Write) -> Result<()> {
    let mut lines = Vec::new();
    for record in records {
        json::write(RECORD, record, &mut serde_json::Serializer::new(&mut lines))?;
        lines.push(b'\n');
    }
    to.write_all(&lines)?;
    Ok(to.flush()?)
}

#[cfg(test)]
mod tests {
    use pointsman_proto::ledger::v1::UsageRecord;

    use super::print;

    #[test]
    fn a_record_is_a_line() {
        let record = |id: &str| UsageRecord { attempt_id: id.into(), pieces: 7, ..UsageRecord::default() };
        let mut printed = Vec::new();
        print(&[record("a-1"), record("b-1")], &mut printed).unwrap();
        let want = "{\"attemptId\":\"a-1\",\"pieces\":\"7\"}\n{\"attemptId\":\"b-1\",\"pieces\":\"7\"}\n";
        assert_eq!(String::from_utf8(printed).unwrap(), want);
    }
}
