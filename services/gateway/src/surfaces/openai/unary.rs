//! Embeddings, and how long a prompt is.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use pointsman_dialects::openai::{
    EmbeddingsRequest, Endpoint, parse_embeddings, parse_tokenize, render_embeddings, render_tokenize,
};
use pointsman_errors::Error;
use pointsman_proto::metadata::{SESSION, SESSION_REVISION};
use pointsman_types::new_request_id;
use tonic_types::FieldViolation;

use super::{caller, error_response, given_id, json_response, not_an_id, read};
use crate::caller::Caller;
use crate::exchange::Gateway;
use crate::exchange::unary::Count;
use crate::metrics::SurfaceName;
use crate::surfaces::named::Named;

/// Who asks, and what was sent.
type Sent = (Caller, HeaderMap, Bytes);

pub(super) async fn embeddings(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let mut named = Named::new(new_request_id());
    let answer = embed(&gateway, request, &mut named).await;
    respond(Endpoint::Embeddings, answer, &named)
}

async fn embed(gateway: &Gateway, request: Request, named: &mut Named) -> Result<Vec<u8>, Error> {
    let understood = understand(gateway, request).await.and_then(|(caller, headers, body)| {
        let EmbeddingsRequest { request, encoding } = parse_embeddings(&body)?;
        let call = request.named(id(&headers, named)?).map_err(not_an_id)?;
        Ok((named.asks(SurfaceName::Openai, caller, call, &headers), encoding))
    });
    let (asked, encoding) = understood.map_err(|error| gateway.refuse(SurfaceName::Openai, error))?;
    Ok(render_embeddings(&gateway.embed(asked).await?, encoding))
}

pub(super) async fn tokenize(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let mut named = Named::new(new_request_id());
    let answer = count(&gateway, request, &mut named).await;
    respond(Endpoint::Tokenize, answer, &named)
}

async fn count(gateway: &Gateway, request: Request, named: &mut Named) -> Result<Vec<u8>, Error> {
    let understood = understand(gateway, request).await.and_then(|(caller, headers, body)| {
        let request = parse_tokenize(&body)?.into_request();
        let call = Count(request.named(id(&headers, named)?).map_err(not_an_id)?);
        Ok(named.asks(SurfaceName::Openai, caller, call, &headers))
    });
    let asked = understood.map_err(|error| gateway.refuse(SurfaceName::Openai, error))?;
    Ok(render_tokenize(&gateway.count_tokens(asked).await?))
}

async fn understand(gateway: &Gateway, request: Request) -> Result<Sent, Error> {
    let (parts, body) = request.into_parts();
    let caller = caller(gateway, &parts.headers, &parts.extensions)?;
    check_no_session(&parts.headers)?;
    Ok((caller, parts.headers, read(body, gateway.max_request_bytes).await?))
}

/// What is no turn is said without a conversation: neither is one read for it, nor is it kept in one.
fn check_no_session(headers: &HeaderMap) -> Result<(), Error> {
    let given = [SESSION, SESSION_REVISION].into_iter().filter(|name| headers.contains_key(*name));
    let mistake = |name| FieldViolation::new(name, "this is no turn of a session; leave the header out");
    match given.map(mistake).collect::<Vec<_>>() {
        violations if violations.is_empty() => Ok(()),
        violations => Err(Error::unsupported(violations)),
    }
}

fn id(headers: &HeaderMap, named: &Named) -> Result<String, Error> {
    Ok(given_id(headers)?.unwrap_or_else(|| named.request.clone()))
}

fn respond(endpoint: Endpoint, answer: Result<Vec<u8>, Error>, named: &Named) -> Response {
    match answer {
        Ok(body) => json_response(StatusCode::OK, body, named),
        Err(error) => error_response(endpoint, &error, named),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};
    use pointsman_errors::Reason;

    use super::check_no_session;

    #[test]
    fn no_session_is_passed_over_in_silence() {
        assert!(check_no_session(&HeaderMap::new()).is_ok());
        let (session, revision) = ("x-pointsman-session", "x-pointsman-session-revision");
        for names in [&[session][..], &[revision], &[session, revision]] {
            let header = |name| (HeaderName::from_static(name), HeaderValue::from_static("1"));
            let error = check_no_session(&names.iter().copied().map(header).collect()).unwrap_err();
            assert_eq!(error.reason(), Reason::UnsupportedField);
            let fields: Vec<_> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
            assert_eq!(fields, names);
        }
    }
}
