//! What a tenant can do with the sessions of another: nothing. Every method of their service is tried; those of the other
//! service, and the routes, in [`super::routes`].

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use pointsman_errors::Reason;
use pointsman_proto::FILE_DESCRIPTOR_SET;
use pointsman_proto::inference::v1::GenerateRequest;
use pointsman_proto::sessions::v1::{
    AcknowledgeTurnsRequest, AppendMessagesRequest, BindChannelRequest, ChannelBinding, GetChannelBindingRequest,
    Session, Turn, UnbindChannelRequest, WatchTurnsRequest,
};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::{Sessions, sessions, turn, turns};
use crate::caller::{connect, reason, say};
use crate::named::{new_key, refusal};
use crate::service::{Start, simulated_config};

/// Something that nobody else may read.
const SECRET: &str = "the vault opens at nine";
const SERVICE: &str = "pointsman.sessions.v1.SessionService";

/// Messages as they are on the wire.
#[derive(Clone, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        prost::bytes::BufMut::put_slice(buffer, &message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = prost::bytes::Buf::remaining(buffer);
        Ok(Some(prost::bytes::Buf::copy_to_bytes(buffer, length).to_vec()))
    }
}

/// A request that names the session wherever it can: in every field of text, and in messages within.
fn about(message: &MessageDescriptor, session: &str) -> DynamicMessage {
    let mut request = DynamicMessage::new(message.clone());
    for field in message.fields().filter(|field| !field.is_map()) {
        if let Some(value) = value(&field, session) {
            request.set_field(&field, value);
        }
    }
    request
}

fn value(field: &FieldDescriptor, session: &str) -> Option<Value> {
    let one = match field.kind() {
        Kind::String if ["name", "session"].contains(&field.name()) => Value::String(session.to_owned()),
        Kind::String if ["channel", "external_user", "request_id", "group"].contains(&field.name()) => {
            Value::String("taken".to_owned())
        }
        Kind::Uint64 => Value::U64(1),
        Kind::Bool => Value::Bool(true),
        Kind::Message(inner) if inner.full_name() == "pointsman.inference.v1.Message" => said(&inner)?,
        Kind::Message(inner) if inner.full_name().starts_with("pointsman.sessions") => {
            Value::Message(about(&inner, session))
        }
        _ => return None,
    };
    // What an expectation of ours would refuse is not what is tried.
    if field.name() == "expected_revision" {
        return None;
    }
    Some(if field.is_list() { Value::List(vec![one]) } else { one })
}

fn said(descriptor: &MessageDescriptor) -> Option<Value> {
    let message = say("simulated", "mine now").messages.into_iter().next()?;
    DynamicMessage::decode(descriptor.clone(), message.encode_to_vec().as_slice()).ok().map(Value::Message)
}

async fn call(channel: &Channel, key: &str, method: &str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = Request::new(message);
    allow(request.metadata_mut(), key);
    let path = format!("/{SERVICE}/{method}").parse().map_err(|_| Status::internal("no path"))?;
    Ok(client.unary(request, path, Raw).await?.into_inner())
}

fn allow(metadata: &mut MetadataMap, key: &str) {
    if let Ok(value) = format!("Bearer {key}").parse() {
        metadata.insert("authorization", value);
    }
}

pub fn with<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    allow(request.metadata_mut(), key);
    request
}

/// What a tenant sees of a session of its own.
pub async fn seen(client: &mut Sessions, key: &str) -> Result<(Session, Vec<Turn>)> {
    let name = "sessions/vault".to_owned();
    let request = pointsman_proto::sessions::v1::GetSessionRequest { name: name.clone() };
    let session = client.get_session(with(key, request)).await?.into_inner();
    let request = pointsman_proto::sessions::v1::ListTurnsRequest { name, ..Default::default() };
    Ok((session, client.list_turns(with(key, request)).await?.into_inner().turns))
}

#[tokio::test]
async fn no_method_reaches_into_another_tenant() -> Result<()> {
    let ((owner, first), (other, second)) = (new_key("acme").await?, new_key("globex").await?);
    let config = format!("{}gateway:\n  keys:{first}{second}\n", simulated_config(""));
    let mesh = Start::new("up", &config).ready().await?;
    let mut client = sessions(&mesh.address).await?;
    let generated = connect(&mesh.address).await?.generate(with(&owner, turn("vault", SECRET))).await;
    generated?;
    let binding = ChannelBinding {
        channel: "taken".to_owned(),
        external_user: "taken".to_owned(),
        session: "sessions/vault".to_owned(),
        ..ChannelBinding::default()
    };
    let bind = BindChannelRequest { binding: Some(binding) };
    let bound = client.bind_channel(with(&owner, bind)).await?.into_inner();
    let run = GenerateRequest { request_id: "taken".to_owned(), detach: true, ..turn("vault", SECRET) };
    connect(&mesh.address).await?.generate(with(&owner, run)).await?;
    let before = seen(&mut client, &owner).await?;

    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET)?;
    let service = pool.get_service_by_name(SERVICE).context("no service")?;
    let channel = Endpoint::from_shared(mesh.address.clone())?.connect().await?;
    let (mut tried, mut streams) = (Vec::new(), Vec::new());
    for method in service.methods() {
        if method.name() == "WatchTurns" {
            // It is tried below.
            streams.push(method.name().to_owned());
            continue;
        }
        for name in ["sessions/vault", "vault", &before.0.uid] {
            let request = about(&method.input(), name).encode_to_vec();
            match call(&channel, &other, method.name(), request).await {
                Ok(answer) => {
                    let text = String::from_utf8_lossy(&answer);
                    ensure!(!text.contains(SECRET) && !text.contains(&before.0.uid), "{} tells {text}", method.name());
                }
                Err(status) => {
                    let reason = reason(&status)?;
                    let blind = [
                        Reason::SessionNotFound,
                        Reason::BindingNotFound,
                        Reason::TurnNotFound,
                        Reason::InvalidRequest,
                    ];
                    ensure!(blind.contains(&reason), "{} answers {status:?}", method.name());
                }
            }
        }
        // A stranger without a key is let into none of them.
        let status = call(&channel, "pm_00_00", method.name(), Vec::new()).await.err().context("it was let in")?;
        ensure!(reason(&status)? == Reason::KeyInvalid, "{} answers {status:?}", method.name());
        ensure!(seen(&mut client, &owner).await? == before, "{} has changed it", method.name());
        tried.push(Arc::<str>::from(method.name()));
    }
    assert!(tried.len() >= 18, "{tried:?}");
    // The person is the owner's still, whom others of that name were taken away from.
    let taken = || "taken".to_owned();
    let look_up = GetChannelBindingRequest { channel: taken(), external_user: taken() };
    assert_eq!(client.get_channel_binding(with(&owner, look_up.clone())).await?.into_inner(), bound);
    let unbind = UnbindChannelRequest { channel: taken(), external_user: taken() };
    assert_eq!(client.unbind_channel(with(&owner, unbind.clone())).await?.into_inner(), bound);
    assert_eq!(refusal(client.get_channel_binding(with(&owner, look_up)).await)?, Reason::BindingNotFound);
    assert_eq!(refusal(client.unbind_channel(with(&owner, unbind)).await)?, Reason::BindingNotFound);
    assert_eq!(streams, ["WatchTurns"]);
    // A group of the same name is another's, and is told its own sessions: of which there is one, made here.
    let watch =
        || WatchTurnsRequest { group: "crm".to_owned(), from_the_beginning: true, ..WatchTurnsRequest::default() };
    let mut own = client.watch_turns(with(&owner, watch())).await?.into_inner();
    let told = own.message().await?.context("nothing is told")?;
    assert_eq!(told.turns, before.1);
    let mut others = client.watch_turns(with(&other, watch())).await?.into_inner();
    connect(&mesh.address).await?.generate(with(&other, turn("mine", "hello"))).await?;
    let heard = others.message().await?.context("nothing is told")?;
    assert_eq!(heard.session, "sessions/mine");
    // Nor can it acknowledge for the owner.
    let stolen = AcknowledgeTurnsRequest { tokens: vec![told.token.clone()] };
    assert_eq!(client.acknowledge_turns(with(&other, stolen.clone())).await?.into_inner().late_count, 1);
    assert_eq!(client.acknowledge_turns(with(&owner, stolen)).await?.into_inner().late_count, 0);
    drop((own, others));
    // The mesh's own service is no tenant's.
    let mut begin = tonic::client::Grpc::new(channel.clone());
    begin.ready().await?;
    let mut request = Request::new(Vec::new());
    allow(request.metadata_mut(), &other);
    let path = "/pointsman.sessions.v1.TurnService/RunTurn".parse()?;
    let status = begin.unary::<_, Vec<u8>, _>(request, path, Raw).await.err().context("it is served")?;
    assert_eq!(reason(&status)?, Reason::RouteNotFound);
    mesh.stop().await
}

#[tokio::test]
async fn a_name_means_each_tenants_own_session() -> Result<()> {
    let ((owner, first), (other, second)) = (new_key("acme").await?, new_key("globex").await?);
    let config = format!("{}gateway:\n  keys:{first}{second}\n", simulated_config(""));
    let mesh = Start::new("up", &config).ready().await?;
    let mut client = connect(&mesh.address).await?;
    for (key, words) in [(&owner, SECRET), (&other, "hello"), (&other, "again")] {
        client.generate(with(key, turn("vault", words))).await?;
    }
    // The same name for a request in another session is another request: ids are a session's, not a tenant's only.
    let named = |session| GenerateRequest { request_id: "one".to_owned(), ..turn(session, "hello") };
    client.generate(with(&other, named("vault"))).await?;
    let append = AppendMessagesRequest {
        name: "sessions/vault".to_owned(),
        messages: say("simulated", "of a human").messages,
        ..AppendMessagesRequest::default()
    };
    let mut store = sessions(&mesh.address).await?;
    store.append_messages(with(&other, append)).await?;
    assert_eq!(seen(&mut store, &owner).await?.1.len(), 1);
    let (session, kept) = seen(&mut store, &other).await?;
    assert_eq!((session.revision, kept.len()), (4, 4));
    // Without a key there is nothing at all.
    assert!(turns(&mut store, "vault").await.is_err());
    mesh.stop().await
}
