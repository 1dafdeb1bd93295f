//! OpenAI's API over HTTP. The dialect itself is `libs/dialects`; here it meets the wire.

mod form;
mod sse;
mod unary;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{any, get, post};
use futures::future::{BoxFuture, FutureExt};
use http_body_util::LengthLimitError;
use pointsman_dialects::openai::{Endpoint, ModelEntry, render_error, render_model, render_models};
use pointsman_errors::{Error, Reason};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{GenerateRequest, SessionReference, TargetDescription};
use pointsman_proto::metadata::{DETACH, REASON, RESUME_WINDOW, SESSION, SESSION_REVISION, STATIC_ANSWER};
use pointsman_server::{BodyTimeout, Refused};
use pointsman_telemetry::propagation;
use pointsman_types::{Origin, new_request_id};
use tonic_types::FieldViolation;

use crate::caller::Caller;
use crate::config::Scope;
use crate::exchange::{Answer, Exchange, Gateway};
use crate::frame_log::token::EventId;
use crate::metrics::SurfaceName;
use crate::span;
use crate::surfaces::named::Named;
use form::{Form, Wanted};
use sse::{Events, Flow};

/// The caller's own name for a request, as other APIs have it too.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The last event that a reader got, in the HTML standard's words for server-sent events.
const LAST_EVENT_ID: &str = "last-event-id";

/// How long the first piece of a stream may take before the caller's connection is kept alive.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Makes the routes under `/v1`.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat).fallback(only_post))
        .route("/v1/completions", post(text).fallback(only_post))
        .route("/v1/embeddings", post(unary::embeddings).fallback(only_post))
        .route("/v1/tokenize", post(unary::tokenize).fallback(only_post))
        .route("/v1/models", get(models).fallback(only_get))
        .route("/v1/models/{*name}", get(model).fallback(only_get))
        .route("/v1/{*rest}", any(no_route))
        .with_state(gateway)
}

async fn chat(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    complete(gateway, request, Endpoint::Chat).await
}

async fn text(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    complete(gateway, request, Endpoint::Completions).await
}

/// Answers a request for completions of either kind.
async fn complete(gateway: Arc<Gateway>, request: Request, endpoint: Endpoint) -> Response {
    let mut named = Named::new(new_request_id());
    let surface = SurfaceName::Openai;
    let understood = understand(&gateway, request, endpoint, &named.request).await;
    let (caller, headers, after, Wanted { request, stream, form }) = match understood {
        Ok(understood) => understood,
        Err(error) => return error_response(endpoint, &gateway.refuse(surface, error), &named),
    };
    named.request.clone_from(&request.request_id);
    let keep = headers.contains_key(IDEMPOTENCY_KEY) || request.resume_window.is_some() || request.detach;
    // The events of a kept stream have ids: a reader that lost it says the last one it got.
    let numbered = keep.then_some(after.map_or(0, |event| event.number));
    let span = span::operation(&request, &caller, surface, &headers);
    named.trace = propagation::trace_id(&span).map(Into::into);
    let exchange = Exchange {
        surface,
        caller,
        request,
        is_streamed: stream,
        keep,
        after,
        deadline: None,
        span,
        trace: named.trace.clone(),
        trail: Arc::clone(&named.trail),
    };
    let answer = async move { gateway.answer(exchange).await }.boxed();
    if stream { streamed(answer, Events { form, numbered }, named).await } else { whole(answer, &form, named).await }
}

/// Who asks, and what for.
async fn understand(
    gateway: &Gateway,
    request: Request,
    endpoint: Endpoint,
    new_id: &str,
) -> Result<(Caller, HeaderMap, Option<EventId>, Wanted), Error> {
    let (parts, body) = request.into_parts();
    let caller = caller(gateway, &parts.headers, &parts.extensions)?;
    let body = read(body, gateway.max_request_bytes).await?;
    let is_kept = [RESUME_WINDOW, DETACH].iter().any(|name| parts.headers.contains_key(*name));
    let new_id = match is_kept {
        true => gateway.own_name(&caller.tenant),
        false => new_id.to_owned(),
    };
    let wanted = Wanted::parse(endpoint, &body)?;
    let request = name(wanted.request, &parts.headers, new_id)?;
    let after = after(&parts.headers)?;
    Ok((caller, parts.headers, after, Wanted { request, ..wanted }))
}

async fn whole(answer: BoxFuture<'static, Result<Answer, Error>>, form: &Form, named: Named) -> Response {
    let (is_static, whole) = match answer.await {
        Ok(answer) => (answer.is_static(), answer.fold().await),
        Err(error) => (false, Err(error)),
    };
    match whole {
        Ok(whole) => marked(json_response(StatusCode::OK, form.render(&whole), &named), is_static),
        Err(error) => error_response(form.endpoint(), &error, &named),
    }
}

/// Waits for the first piece, so that an error before it has a status of its own; but not longer than
/// proxies on the way keep a silent connection.
async fn streamed(answer: BoxFuture<'static, Result<Answer, Error>>, events: Events, named: Named) -> Response {
    let endpoint = events.form.endpoint();
    let mut flow = async move { Flow::begin(answer.await?, events).await }.boxed();
    let trace = named.trace.as_deref().unwrap_or_default().to_owned();
    let (is_static, body) = match tokio::time::timeout(KEEPALIVE_INTERVAL, &mut flow).await {
        Ok(Ok(flow)) => (flow.is_static, sse::Sse::flowing(flow, endpoint, trace)),
        Ok(Err(error)) => return error_response(endpoint, &error, &named),
        Err(_) => (false, sse::Sse::waiting(flow, endpoint, trace)),
    };
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Asks buffering proxies (nginx) to pass pieces on as they come.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    write(&named, headers);
    marked(response, is_static)
}

/// Says of a policy's fixed text that it is one.
fn marked(mut response: Response, is_static: bool) -> Response {
    if is_static {
        response.headers_mut().insert(HeaderName::from_static(STATIC_ANSWER), HeaderValue::from_static("true"));
    }
    response
}

async fn models(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let named = Named::new(new_request_id());
    match describing(&gateway, &request) {
        Ok(caller) => {
            let models = gateway.models(&caller.tenant);
            json_response(StatusCode::OK, render_models(models.iter().map(|(name, can)| entry(name, can))), &named)
        }
        Err(error) => error_response(Endpoint::Chat, &error, &named),
    }
}

async fn model(State(gateway): State<Arc<Gateway>>, Path(name): Path<String>, request: Request) -> Response {
    let named = Named::new(new_request_id());
    match describing(&gateway, &request).and_then(|caller| gateway.resolve(&name, &caller.tenant)) {
        Ok(can) => json_response(StatusCode::OK, render_model(entry(&name, &can)), &named),
        Err(error) => error_response(Endpoint::Chat, &error, &named),
    }
}

async fn no_route(request: Request) -> Response {
    let named = Named::new(new_request_id());
    let message = format!(
        "there is no {} {} here; see docs/reference/openai.md for what there is",
        request.method(),
        request.uri().path()
    );
    error_response(Endpoint::Chat, &Error::new(Reason::RouteNotFound, message), &named)
}

async fn only_post(request: Request) -> Response {
    wrong_method(&request, "POST")
}

async fn only_get(request: Request) -> Response {
    wrong_method(&request, "GET, HEAD")
}

fn wrong_method(request: &Request, allowed: &'static str) -> Response {
    let message = format!("{} is no method of {}; use {allowed}", request.method(), request.uri().path());
    let named = Named::new(new_request_id());
    let mut response = error_response(Endpoint::Chat, &Error::new(Reason::MethodNotAllowed, message), &named);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn entry<'a>(name: &'a str, description: &'a TargetDescription) -> ModelEntry<'a> {
    // When a model was made is the registry's to know.
    ModelEntry { id: name, created: 0, owned_by: "pointsman", description }
}

fn describing(gateway: &Gateway, request: &Request) -> Result<Caller, Error> {
    let caller = caller(gateway, request.headers(), request.extensions())?;
    caller.require(Scope::Describe)?;
    Ok(caller)
}

/// A mesh context travels over gRPC only.
fn caller(gateway: &Gateway, headers: &HeaderMap, extensions: &axum::http::Extensions) -> Result<Caller, Error> {
    if let Some(Refused(error)) = extensions.get() {
        return Err(error.clone());
    }
    gateway.callers.authenticate(headers, extensions.get::<Origin>().copied().unwrap_or_default(), None)
}

async fn read(body: Body, limit: usize) -> Result<axum::body::Bytes, Error> {
    to_bytes(body, limit).await.map_err(|error| {
        let is_too_large = error.source().is_some_and(|source| source.is::<LengthLimitError>());
        if is_too_large {
            return Error::new(Reason::RequestTooLarge, format!("the request has more than {limit} bytes"));
        }
        let message = match BodyTimeout::in_sources_of(&error) {
            Some(_) => "the body came too slowly; send it without pauses",
            None => "the body broke off before its end; send it whole",
        };
        Error::new(Reason::InvalidRequest, message)
    })
}

/// Gives the request what headers say: its id, the caller's `Idempotency-Key` or ours, and its session.
fn name(request: Valid<GenerateRequest>, headers: &HeaderMap, new_id: String) -> Result<Valid<GenerateRequest>, Error> {
    let window = headers.get(RESUME_WINDOW).map(resume_window).transpose()?;
    let request = request.named(given_id(headers)?.unwrap_or(new_id)).map_err(not_an_id)?;
    let request = match window {
        Some(window) => request.resumable(window),
        None => request,
    };
    match session(headers)? {
        Some(session) => request.of_session(session, detach(headers)?).map_err(not_a_session),
        None if detach(headers)? => {
            Err(Error::invalid(vec![FieldViolation::new(DETACH, "needs x-pointsman-session, which keeps a run")]))
        }
        None => Ok(request),
    }
}

/// The conversation that the request is a turn of.
fn session(headers: &HeaderMap) -> Result<Option<SessionReference>, Error> {
    let text = |value: &HeaderValue| value.to_str().unwrap_or("\u{fffd}").to_owned();
    let expected_revision = headers.get(SESSION_REVISION).map(|value| {
        let mistake = || Error::invalid(vec![FieldViolation::new(SESSION_REVISION, "must be a whole number, from 0")]);
        text(value).parse().map_err(|_| mistake())
    });
    let expected_revision = expected_revision.transpose()?;
    match headers.get(SESSION) {
        Some(session) => {
            Ok(Some(SessionReference { session: text(session), expected_revision, ..SessionReference::default() }))
        }
        None if expected_revision.is_some() => {
            Err(Error::invalid(vec![FieldViolation::new(SESSION_REVISION, "needs x-pointsman-session beside it")]))
        }
        None => Ok(None),
    }
}

/// Whether the request is a run.
fn detach(headers: &HeaderMap) -> Result<bool, Error> {
    match headers.get(DETACH).map(HeaderValue::as_bytes) {
        None | Some(b"false") => Ok(false),
        Some(b"true") => Ok(true),
        Some(_) => Err(Error::invalid(vec![FieldViolation::new(DETACH, "must be `true` or `false`")])),
    }
}

/// Says where the field stands in HTTP.
fn not_a_session(mut violations: Vec<FieldViolation>) -> Error {
    for violation in &mut violations {
        match violation.field.as_str() {
            "session.session" => violation.field = SESSION.to_owned(),
            "choice_count" => violation.field = "n".to_owned(),
            _ => {}
        }
    }
    Error::invalid(violations)
}

/// The caller's own name for the request.
fn given_id(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (first, second) = (given.next(), given.next());
    if second.is_some() {
        return Err(not_an_id(vec![FieldViolation::new("", "must be given once")]));
    }
    // Empty it would be no name at all, which nobody means who sends one.
    let text = first.map(|value| value.to_str().ok().filter(|text| !text.is_empty()).unwrap_or("\u{fffd}"));
    Ok(text.map(str::to_owned))
}

fn not_an_id(mut violations: Vec<FieldViolation>) -> Error {
    violations.iter_mut().for_each(|violation| violation.field = "Idempotency-Key".to_owned());
    Error::invalid(violations)
}

/// Reads the last event that the caller has got of an answer. What follows must be of the same answer: so only one that
/// is there goes on, and none is begun. 0 is no event.
fn after(headers: &HeaderMap) -> Result<Option<EventId>, Error> {
    let Some(given) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let mistake = |what| Err(Error::invalid(vec![FieldViolation::new(LAST_EVENT_ID, what)]));
    match given.to_str().map(str::parse) {
        _ if given == "0" => Ok(None),
        Ok(Ok(_)) if !headers.contains_key(IDEMPOTENCY_KEY) => mistake("needs the Idempotency-Key of the request"),
        Ok(Ok(after)) => Ok(Some(after)),
        _ => mistake("must be the `id` of an event, as it came, or 0"),
    }
}

/// Reads how long the work goes on when the connection is lost: whole seconds.
fn resume_window(value: &HeaderValue) -> Result<Duration, Error> {
    let seconds = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|seconds| (0..=300).contains(seconds));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| Error::invalid(vec![FieldViolation::new(RESUME_WINDOW, "must be 0 to 300, in seconds")]))
}

fn write(named: &Named, headers: &mut HeaderMap) {
    named.each(|name, value| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    });
}

fn error_response(endpoint: Endpoint, error: &Error, named: &Named) -> Response {
    let (status, body) = render_error(endpoint, error);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(status, body, named);
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static(REASON), HeaderValue::from_static(error.reason().name()));
    // What OpenAI's libraries look at before they try again by themselves: they would for 409 and 5xx.
    if error.is_for_good() {
        headers.insert(HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"));
    }
    if let Some(delay) = error.retry_delay() {
        // Whole seconds, never 0: that would ask for an immediate retry.
        headers.insert(RETRY_AFTER, HeaderValue::from(delay.as_secs_f64().ceil().max(1.0) as u64));
    }
    response
}

fn json_response(status: StatusCode, body: Vec<u8>, named: &Named) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    write(named, response.headers_mut());
    response
}
