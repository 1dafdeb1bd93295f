//! The receiver's connections. hyper tells HTTP/1 from HTTP/2 by itself; the path tells the two protocols apart.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Full as Whole, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::Service;

use super::Store;

const HTTP_PATH: &str = "/v1/traces";
/// The most bytes of one request over HTTP; over gRPC tonic's limit is the same.
const REQUEST_LIMIT: usize = 4 << 20;

/// Accepts connections until it is aborted; they end with it.
pub async fn serve(listener: TcpListener, store: Store) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error here is the connection's, which is gone before it was accepted.
                if let Ok((stream, _)) = accepted {
                    let store = store.clone();
                    connections.spawn(async move {
                        let service = service_fn(move |request| answer(store.clone(), request));
                        let builder = auto::Builder::new(TokioExecutor::new());
                        // A client that goes away is no concern of the receiver.
                        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                    });
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(store: Store, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if request.uri().path() == HTTP_PATH {
        return Ok(over_http(&store, request).await);
    }
    TraceServiceServer::new(store).call(request).await
}

async fn over_http(store: &Store, request: Request<Incoming>) -> Response<Body> {
    let Ok(body) = Limited::new(request.into_body(), REQUEST_LIMIT).collect().await else {
        return response(StatusCode::PAYLOAD_TOO_LARGE, Bytes::new());
    };
    let Ok(request) = ExportTraceServiceRequest::decode(body.to_bytes()) else {
        return response(StatusCode::BAD_REQUEST, Bytes::new());
    };
    match store.add(request) {
        Ok(()) => response(StatusCode::OK, ExportTraceServiceResponse::default().encode_to_vec().into()),
        Err(super::Full) => response(StatusCode::SERVICE_UNAVAILABLE, Bytes::new()),
    }
}

fn response(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(Whole::new(body)));
    *response.status_mut() = status;
    let protobuf = hyper::header::HeaderValue::from_static("application/x-protobuf");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, protobuf);
    response
}

#[tonic::async_trait]
impl TraceService for Store {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.add(request.into_inner())
            .map_err(|super::Full| tonic::Status::resource_exhausted("no more spans are kept"))?;
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}
