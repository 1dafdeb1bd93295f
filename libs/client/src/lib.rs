//! The one seam between services: a generated tonic client over [`Channel`].
//!
//! A channel is remote ([`remote`]) or the peer's routes in the same process ([`in_process`]), and a caller
//! cannot tell which: deadlines, metadata, errors and cancel-on-drop are the same. It never retries:
//! retrying is the gateway's attempt machine's, and nobody else's.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use pointsman_client::{Config, remote};
//! use pointsman_proto::inference::v1::DescribeRequest;
//! use pointsman_proto::inference::v1::inference_service_client::InferenceServiceClient;
//!
//! let channel = remote("http://127.0.0.1:8080", None, &Config::default())?;
//! let described = InferenceServiceClient::new(channel).describe(DescribeRequest {}).await?;
//! # Ok(())
//! # }
//! ```

mod config;
mod deadline;
mod in_flight;
mod remote;
mod trace;

use http::{Request, Response};
use pointsman_types::Origin;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder, ServiceExt};

pub use config::Config;
pub use pointsman_tls::ClientTls;
pub use remote::{RemoteError, check_address, remote};

/// What a generated client speaks through. Cheap to clone; clones share their connection and its limit.
pub type Channel = BoxCloneSyncService<Request<Body>, Response<Body>, Status>;

/// Opens a channel to a service of the same process.
pub fn in_process(routes: Routes, config: &Config) -> Channel {
    let peer = routes.prepare().map_request(|mut request: Request<Body>| {
        request.extensions_mut().insert(Origin::InProcess);
        request
    });
    layered(peer.map_err(|never| match never {}), config)
}

/// Puts the layers around a peer, from the caller inwards.
fn layered<S>(peer: S, config: &Config) -> Channel
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Status> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let stack = ServiceBuilder::new()
        // Bodies of their own type below; one box for all of them here.
        .map_response(|response: Response<_>| response.map(Body::new))
        // First, so that the peer's spans join the span of the call, not of a layer.
        .layer_fn(trace::Propagate::new)
        // Above the limit: a call that waits for nothing but time ends here, and gives its place back.
        .layer_fn(deadline::Deadline::new)
        // Next to the wire: its permit lives in the body, so the limit covers streams to their end.
        .layer(in_flight::InFlightLayer::new(config.max_in_flight))
        .service(peer);
    BoxCloneSyncService::new(stack)
}
