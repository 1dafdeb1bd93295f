//! Calls with one answer, as gRPC has them.

use pointsman_errors::Error;
use pointsman_proto::inference::v1::{CountTokensRequest, CountTokensResponse, EmbedRequest, EmbedResponse};
use pointsman_proto::{Valid, Validate};
use pointsman_server::Deadline;
use pointsman_types::new_request_id;
use tonic::Request;

use super::{Grpc, caller};
use crate::attempt::unary::Unary;
use crate::exchange::unary::{Asked, Count};
use crate::metrics::SurfaceName;
use crate::surfaces::named::Named;

/// A kind of request: where its id stands, and what it asks for.
struct Kind<M, C> {
    id: fn(&mut M) -> Option<&mut String>,
    call: fn(Valid<M>) -> C,
}

impl Grpc {
    pub(super) async fn embedded(&self, request: Request<EmbedRequest>) -> (Named, Result<EmbedResponse, Error>) {
        let mut named = Named::new(new_request_id());
        let kind = Kind { id: |message: &mut EmbedRequest| Some(&mut message.request_id), call: |valid| valid };
        let answer = match self.understand(request, &mut named, &kind) {
            Ok(asked) => self.0.embed(asked).await,
            Err(error) => Err(self.0.refuse(SurfaceName::Grpc, error)),
        };
        (named, answer)
    }

    pub(super) async fn counted(
        &self,
        request: Request<CountTokensRequest>,
    ) -> (Named, Result<CountTokensResponse, Error>) {
        let mut named = Named::new(new_request_id());
        let kind = Kind {
            id: |message: &mut CountTokensRequest| message.request.as_mut().map(|of| &mut of.request_id),
            call: |valid: Valid<CountTokensRequest>| Count(valid.into_request()),
        };
        let answer = match self.understand(request, &mut named, &kind) {
            Ok(asked) => self.0.count_tokens(asked).await,
            Err(error) => Err(self.0.refuse(SurfaceName::Grpc, error)),
        };
        (named, answer)
    }

    /// Who asks, and for what. A request without an id gets that of the response.
    fn understand<M: Validate, C: Unary>(
        &self,
        request: Request<M>,
        named: &mut Named,
        kind: &Kind<M, C>,
    ) -> Result<Asked<C>, Error> {
        let (metadata, extensions, mut message) = request.into_parts();
        let caller = caller(&self.0, &metadata, &extensions)?;
        if let Some(id) = (kind.id)(&mut message).filter(|id| id.is_empty()) {
            id.clone_from(&named.request);
        }
        let call = (kind.call)(Valid::new(message).map_err(Error::invalid)?);
        let deadline = extensions.get::<Deadline>().copied();
        Ok(Asked { deadline, ..named.asks(SurfaceName::Grpc, caller, call, metadata.as_ref()) })
    }
}
