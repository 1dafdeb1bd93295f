//! The port for operators: is it alive, is it ready, what does it count, what did it do.

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use pointsman_errors::{Error, Reason};
use pointsman_proto::operations::v1::operations_service_server::{
    OperationsService, OperationsServiceServer, SERVICE_NAME,
};
use pointsman_proto::operations::v1::{
    CancelRequestRequest, CancelRequestResponse, GetTraceRequest, ListRequestsRequest, ListRequestsResponse,
    TakeUsageRequest, TakeUsageResponse, Trace,
};
use pointsman_telemetry::{RecentTraces, bounded};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::{Context, Drain, Requests, Surface, Task, Usage, UsageBatch, surface};

/// Makes the routes of the operator port.
pub(crate) fn router(context: &Context, recent: RecentTraces, drain: &Drain) -> (Router, Task) {
    let (ready, metrics) = (context.readiness.clone(), context.metrics.clone());
    let http = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route(
            "/readyz",
            get(async move || {
                if ready.is_ready() {
                    (StatusCode::OK, "ready\n")
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
                }
            }),
        )
        .route(
            "/metrics",
            get(async move || {
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                ([(CONTENT_TYPE, kind)], metrics.encode()).into_response()
            }),
        );
    let operations = Operations { recent, requests: context.requests.clone(), usage: context.usage.clone() };
    let grpc = Routes::new(OperationsServiceServer::new(operations));
    surface(Surface { grpc, names: vec![SERVICE_NAME], http }, &context.readiness, drain)
}

struct Operations {
    recent: RecentTraces,
    requests: Requests,
    usage: Usage,
}

#[tonic::async_trait]
impl OperationsService for Operations {
    async fn get_trace(&self, request: Request<GetTraceRequest>) -> Result<Response<Trace>, Status> {
        let id = request.into_inner().id;
        let trace = self.recent.find(&id).ok_or_else(|| {
            let message =
                format!("no recent trace or request `{id}` in this process; spans are kept until newer ones come");
            Error::new(Reason::TraceNotFound, message)
        })?;
        Ok(Response::new(trace))
    }

    async fn list_requests(&self, _: Request<ListRequestsRequest>) -> Result<Response<ListRequestsResponse>, Status> {
        Ok(Response::new(self.requests.list(self.recent.process().to_owned())))
    }

    async fn cancel_request(
        &self,
        request: Request<CancelRequestRequest>,
    ) -> Result<Response<CancelRequestResponse>, Status> {
        let id = request.into_inner().id;
        if id.is_empty() || !self.requests.cancel(&id) {
            let message =
                format!("this process is not answering a request `{id}`: it has ended, or another process answers it");
            return Err(Error::new(Reason::RequestNotFound, message).into());
        }
        tracing::info!(id = bounded(&id), "an operator ended a request");
        Ok(Response::new(CancelRequestResponse {}))
    }

    async fn take_usage(&self, request: Request<TakeUsageRequest>) -> Result<Response<TakeUsageResponse>, Status> {
        let UsageBatch { records, position, more } = self.usage.take(request.into_inner()).await?;
        let process = self.recent.process().to_owned();
        Ok(Response::new(TakeUsageResponse { process, records, position, more }))
    }
}
