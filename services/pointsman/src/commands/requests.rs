//! `pointsman requests` and `pointsman cancel`

use std::time::SystemTime;

use anyhow::Result;
use pointsman_client::{Channel, Config, remote};
use pointsman_proto::operations::v1::operations_service_client::OperationsServiceClient;
use pointsman_proto::operations::v1::{
    CancelRequestRequest, ListRequestsRequest, ListRequestsResponse, RequestInFlight, RequestPhase,
};
use pointsman_types::counted;

use crate::arguments::{CancelOptions, OperatorOptions};
use crate::client::explain;
use crate::table;

/// Lists the requests in flight.
pub(crate) async fn list(options: OperatorOptions) -> Result<()> {
    let listed = client(&options)?.list_requests(ListRequestsRequest {}).await;
    let listed = listed.map_err(|status| explain(&status, &options.operator_address))?.into_inner();
    print!("{}", render(&listed, SystemTime::now()));
    Ok(())
}

/// Ends one of them.
pub(crate) async fn cancel(options: CancelOptions) -> Result<()> {
    let request = CancelRequestRequest { id: options.id.clone() };
    let cancelled = client(&options.operator)?.cancel_request(request).await;
    cancelled.map_err(|status| explain(&status, &options.operator.operator_address))?;
    println!("{} was told to end", options.id);
    Ok(())
}

fn client(options: &OperatorOptions) -> Result<OperationsServiceClient<Channel>> {
    Ok(OperationsServiceClient::new(remote(&options.operator_address, None, &Config::default())?))
}

/// Draws the requests as a table, oldest first.
fn render(listed: &ListRequestsResponse, now: SystemTime) -> String {
    let count = counted(listed.requests.len() + listed.left_out as usize, "request");
    let mut out = format!("{count} in flight at {}\n", listed.process);
    if listed.requests.is_empty() {
        return out;
    }
    let titles = ["AGE", "PHASE", "TENANT", "MODEL", "TARGET", "INSTANCE", "TOKENS", "REQUEST"];
    out.push_str(&table::draw(titles, listed.requests.iter().map(|request| row(request, now))));
    if listed.left_out > 0 {
        out.push_str(&format!("({} more)\n", listed.left_out));
    }
    out
}

fn row(request: &RequestInFlight, now: SystemTime) -> [String; 8] {
    let accepted = request.accept_time.and_then(|time| SystemTime::try_from(time).ok());
    let age = accepted.and_then(|time| now.duration_since(time).ok()).unwrap_or_default();
    let phase = match request.phase() {
        RequestPhase::Unspecified => "?",
        RequestPhase::Queued => "queued",
        RequestPhase::Waiting => "waiting",
        RequestPhase::Answering => "answering",
    };
    let tokens = request.output_tokens.map_or_else(|| "-".to_owned(), |tokens| tokens.to_string());
    let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    [
        format!("{:.1}s", age.as_secs_f64()),
        phase.to_owned(),
        request.tenant.clone(),
        request.model.clone(),
        or_none(&request.target),
        or_none(&request.instance),
        tokens,
        request.request_id.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use pointsman_proto::operations::v1::{ListRequestsResponse, RequestInFlight};

    use super::render;

    #[test]
    fn requests_are_drawn_as_a_table() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let request = |id: &str, age: u64, pieces, output_tokens| RequestInFlight {
            request_id: id.into(),
            accept_time: Some((now - Duration::from_secs(age)).into()),
            phase: 3,
            tenant: "local".into(),
            model: "pip".into(),
            target: "models/pip/versions/1".into(),
            instance: "w1".into(),
            pieces,
            output_tokens,
            ..RequestInFlight::default()
        };
        let drawn = |requests, left_out| render(&ListRequestsResponse { process: "g".into(), requests, left_out }, now);
        let want = "\
2 requests in flight at g
AGE    PHASE      TENANT  MODEL  TARGET                 INSTANCE  TOKENS  REQUEST
12.0s  answering  local   pip    models/pip/versions/1  w1        250     a
1.0s   answering  local   pip    models/pip/versions/1  w1        -       b
";
        assert_eq!(drawn(vec![request("a", 12, 100, Some(250)), request("b", 1, 3, None)], 0), want);
        assert!(drawn(vec![request("a", 12, 100, Some(250))], 0).starts_with("1 request in flight at g\n"));
        assert!(drawn(vec![request("a", 12, 100, Some(250))], 1).ends_with("(1 more)\n"));
        assert_eq!(drawn(vec![], 0), "0 requests in flight at g\n");
    }
}
