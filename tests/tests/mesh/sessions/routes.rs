//! What a tenant can do with the sessions and requests of another where models answer: nothing. Every route of the description
//! and every method of the service is tried.

use anyhow::{Context, Result, bail, ensure};
use futures::TryStreamExt;
use pointsman_proto::FILE_DESCRIPTOR_SET;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{CountTokensRequest, GenerateRequest, ResumeRequest};
use prost::Message as _;
use prost_reflect::DescriptorPool;
use serde_json::{Map, Value, json};
use tonic::transport::Endpoint;

use super::meddling::{Raw, seen, with};
use super::{sessions, turn};
use crate::caller::{connect, say};
use crate::named::{new_key, post};
use crate::service::{LIMIT, Start, simulated_config};

/// Something that nobody else may read: the simulated engine says it again.
const SECRET: &str = "the vault opens at nine";

/// One way to call an operation: its headers.
type Headers = Vec<(String, String)>;

/// What each header that names something names here.
fn named(header: &str, event: &str) -> Option<String> {
    let value = match header {
        "x-pointsman-session" => "vault",
        "idempotency-key" => "taken",
        "last-event-id" => event,
        "x-pointsman-resume-window" => "60",
        "x-pointsman-detach" => "true",
        _ => return None,
    };
    Some(value.to_owned())
}

/// Every set of these headers: rules between them refuse some.
fn ways(operation: &Value, event: &str) -> Vec<Headers> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let names = parameters.filter(|parameter| parameter["in"] == "header").filter_map(|it| it["name"].as_str());
    let all: Headers = names.filter_map(|name| Some((name.to_owned(), named(name, event)?))).collect();
    let chosen = |set: u32| all.iter().enumerate().filter(move |(index, _)| set >> index & 1 == 1);
    (0..1_u32 << all.len()).map(|set| chosen(set).map(|(_, header)| header.clone()).collect()).collect()
}

/// A body with what any of the operations asks for, as far as this one knows it.
fn body(description: &Value, operation: &Value) -> Option<Value> {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    let name = schema["$ref"].as_str()?.rsplit('/').next()?;
    let known = description["components"]["schemas"][name]["properties"].as_object()?;
    let all = json!({
        "model": "simulated",
        "messages": [{"role": "user", "content": "mine now"}],
        "prompt": "mine now",
        "input": "mine now",
    });
    let all: Map<String, Value> = all.as_object()?.clone();
    Some(all.into_iter().filter(|(field, _)| known.contains_key(field)).collect::<Map<_, _>>().into())
}

#[tokio::test]
async fn no_route_reaches_into_another_tenant() -> Result<()> {
    let ((owner, first), (other, second)) = (new_key("acme").await?, new_key("globex").await?);
    let engine = simulated_config("answer_tokens: 6");
    let mesh = Start::new("up", &format!("{engine}gateway:\n  keys:{first}{second}\n")).ready().await?;
    let chat = json!({"model": "simulated", "stream": true, "messages": [{"role": "user", "content": SECRET}]});
    let key = format!("Bearer {owner}");
    let told = [("authorization", &*key), ("idempotency-key", "taken"), ("x-pointsman-session", "vault")];
    let answer = post(&mesh.address, &chat, &told).await?.text().await?;
    let event = answer.lines().find_map(|line| line.strip_prefix("id: ")).context("no event has an id")?;
    let mut store = sessions(&mesh.address).await?;
    let before = seen(&mut store, &owner).await?;

    let description: Value = reqwest::get(format!("{}/openapi.json", mesh.address)).await?.json().await?;
    let client = reqwest::Client::builder().timeout(LIMIT).build()?;
    let mut tried = 0;
    for (path, operations) in description["paths"].as_object().context("no paths")? {
        for (method, operation) in operations.as_object().context("no operations")? {
            let Ok(method) = method.to_uppercase().parse::<reqwest::Method>() else { continue };
            let body = body(&description, operation);
            for headers in ways(operation, event) {
                let request =
                    client.request(method.clone(), format!("{}{}", mesh.address, path.replace("{model}", "simulated")));
                let request =
                    headers.iter().fold(request.bearer_auth(&other), |it, (name, value)| it.header(name, value));
                let request = body.iter().fold(request, |request, body| request.json(body));
                let response = request.send().await?;
                let status = response.status();
                let text = response.text().await?;
                ensure!(!status.is_server_error(), "{method} {path} with {headers:?}: {status} {text}");
                ensure!(!text.contains("vault opens"), "{method} {path} with {headers:?} tells {text}");
                tried += 1;
            }
        }
        ensure!(seen(&mut store, &owner).await? == before, "{path} has changed it");
    }
    assert!(tried > 60, "{tried}");
    mesh.stop().await
}

#[tokio::test]
async fn no_method_of_inference_reaches_into_another_tenant() -> Result<()> {
    const SERVICE: &str = "pointsman.inference.v1.InferenceService";
    let ((owner, first), (other, second)) = (new_key("acme").await?, new_key("globex").await?);
    let engine = simulated_config("answer_tokens: 6");
    let mesh = Start::new("up", &format!("{engine}gateway:\n  keys:{first}{second}\n")).ready().await?;
    let taken = |words| GenerateRequest { request_id: "taken".to_owned(), ..turn("vault", words) };
    let answer = connect(&mesh.address).await?.generate_stream(with(&owner, taken(SECRET))).await?.into_inner();
    let frames: Vec<_> = answer.try_collect().await?;
    let Some(Body::Started(started)) = frames.first().and_then(|frame| frame.body.clone()) else { bail!("no start") };
    let mut store = sessions(&mesh.address).await?;
    let before = seen(&mut store, &owner).await?;

    let channel = Endpoint::from_shared(mesh.address.clone())?.connect().await?;
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET)?;
    for method in pool.get_service_by_name(SERVICE).context("no service")?.methods() {
        let resume_token = started.resume_token.clone();
        let message = match method.name() {
            "Generate" | "GenerateStream" => taken("mine now").encode_to_vec(),
            "Resume" => ResumeRequest { resume_token, after_sequence: 0 }.encode_to_vec(),
            "CountTokens" => CountTokensRequest { request: Some(say("simulated", "mine now")) }.encode_to_vec(),
            // They name nothing that anybody has.
            "Describe" | "Embed" | "WatchLoad" => Vec::new(),
            other => bail!("{other} is new, and is not tried"),
        };
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await?;
        let path = format!("/{SERVICE}/{}", method.name()).parse()?;
        let told: Vec<Vec<u8>> = match client.server_streaming(with(&other, message), path, Raw).await {
            Ok(response) => response.into_inner().try_collect().await?,
            Err(status) => vec![status.message().as_bytes().to_vec(), status.details().to_vec()],
        };
        let text = String::from_utf8_lossy(&told.concat()).into_owned();
        ensure!(!text.contains("vault opens") && !text.contains(&before.0.uid), "{} tells {text}", method.name());
        ensure!(seen(&mut store, &owner).await? == before, "{} has changed it", method.name());
    }
    mesh.stop().await
}
