//! What every surface has around its own routes.

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use pointsman_errors::{Error, Reason};
use tonic::Status;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder as Reflection;

use crate::guard::{GuardLayer, is_grpc};
use crate::{Drain, Readiness, Task};

/// A service's routes and what is said of them.
#[derive(Debug)]
pub struct Surface {
    /// The gRPC services.
    pub grpc: Routes,
    /// Their full names, for health and reflection.
    pub names: Vec<&'static str>,
    /// Routes of other dialects. Empty: none.
    pub http: Router,
}

/// Puts health, reflection and the guard around the routes. The task keeps the health service true.
pub fn surface(surface: Surface, readiness: &Readiness, drain: &Drain) -> (Router, Task) {
    let (health, keep_true) = readiness.serve(surface.names.clone(), drain.clone());
    let mut grpc = surface.grpc.add_service(HealthServer::new(health));
    let reflection = || {
        let builder = Reflection::configure()
            .register_encoded_file_descriptor_set(pointsman_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // No service has them; with them a stock tool can show the details of an error.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health");
        surface.names.iter().fold(builder, |builder, name| builder.with_service_name(*name))
    };
    // Both versions: stock tools still ask for the older one first. The descriptors are our own build's;
    // that they can be read is a test's to show.
    if let (Ok(v1), Ok(v1alpha)) = (reflection().build_v1(), reflection().build_v1alpha()) {
        grpc = grpc.add_service(v1).add_service(v1alpha);
    }
    let router = grpc.prepare().into_axum_router().merge(surface.http).fallback(no_route);
    (router.layer(GuardLayer { drain: drain.clone() }), Task::new("health", keep_true))
}

async fn no_route(request: Request) -> Response {
    let message = format!("there is no {} here; ask by reflection, or read the README", request.uri().path());
    if is_grpc(request.headers()) {
        Status::from(Error::new(Reason::RouteNotFound, message)).into_http()
    } else {
        (StatusCode::NOT_FOUND, [(CONTENT_TYPE, "text/plain")], message + "\n").into_response()
    }
}
