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
//! let channel = remote("http://127.0.0.1:8080", &Config::default())?;
//! let described = InferenceServiceClient::new(channel).describe(DescribeRequest {}).await?;
//! # Ok(())
//! # }
//! ```

mod config;
mod deadline;
mod in_flight;
mod trace;

use http::{Request, Response};
use pointsman_types::Origin;
use thiserror::Error;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::Endpoint;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder, ServiceExt};

pub use config::Config;

/// What a generated client speaks through. Cheap to clone; clones share their connection and its limit.
pub type Channel = BoxCloneSyncService<Request<Body>, Response<Body>, Status>;

/// The address of a peer is no URI that can be called.
#[derive(Debug, Error)]
#[error("`{address}` is no address of a service: write http://HOST:PORT")]
pub struct InvalidAddress {
    address: String,
    source: Option<tonic::transport::Error>,
}

/// How much of one answer may wait here for its reader, in bytes.
const STREAM_WINDOW: u32 = 64 << 10;

/// Room for every stream's window: were it smaller, the answers that nobody reads would keep those of
/// others from coming, and a peer's health with them.
fn connection_window(max_in_flight: usize) -> u32 {
    /// RFC 9113, section 6.9.1.
    const LARGEST: u32 = (1 << 31) - 1;
    let streams = u32::try_from(max_in_flight).unwrap_or(u32::MAX);
    STREAM_WINDOW.saturating_mul(streams).clamp(STREAM_WINDOW, LARGEST)
}

/// Opens a channel to another process. It connects at the first call, and again after a loss.
pub fn remote(address: &str, config: &Config) -> Result<Channel, InvalidAddress> {
    let channel = endpoint(address)?
        .connect_timeout(config.connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(connection_window(config.max_in_flight))
        .connect_lazy();
    Ok(layered(channel.map_err(|error| Status::from_error(error.into())), config))
}

/// Checks an address without calling it.
pub fn check_address(address: &str) -> Result<(), InvalidAddress> {
    endpoint(address).map(|_| ())
}

fn endpoint(address: &str) -> Result<Endpoint, InvalidAddress> {
    let invalid = |source| InvalidAddress { address: address.to_owned(), source };
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|source| invalid(Some(source)))?;
    if endpoint.uri().scheme_str() != Some("http") || endpoint.uri().host().is_none() {
        return Err(invalid(None));
    }
    Ok(endpoint)
}

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
