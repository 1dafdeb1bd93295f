//! Who may ask: keys as `pointsman key new` makes them, over both surfaces.

use anyhow::{Context, Result};
use pointsman_errors::Reason;
use pointsman_proto::inference::v1::{DescribeRequest, MeshContext};
use pointsman_proto::mesh_context;
use serde_json::Value;
use tonic::{Code, Request};

use crate::caller::{chat_body, connect, reason, say};
use crate::program::pointsman;
use crate::service::{Pair, Start, simulated_config};

/// A new key, and its lines of configuration.
pub async fn new_key() -> Result<(String, String)> {
    let printed = pointsman(&["key", "new", "--tenant", "acme"]).await?.success()?;
    let key = printed.lines().map(str::trim).find(|line| line.starts_with("pm_")).context("no key")?.to_owned();
    let (_, config) = printed.split_once("configuration of the gateway:\n").context("no configuration")?;
    let lines: Vec<&str> = config.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
    Ok((key, lines.join("\n")))
}

struct Got {
    http: (u16, String),
    grpc: Result<(), tonic::Status>,
}

/// Asks over both surfaces.
async fn ask(address: &str, key: Option<&str>) -> Result<Got> {
    let mut post = reqwest::Client::new().post(format!("{address}/v1/chat/completions"));
    let mut request = Request::new(say("simulated", "Hello"));
    if let Some(key) = key {
        post = post.bearer_auth(key);
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse()?);
    }
    let http = post.json(&chat_body("simulated", "Hello", false)).send().await?;
    let status = http.status().as_u16();
    let body: Value = http.json().await?;
    let grpc = connect(address).await?.generate(request).await.map(|_| ());
    Ok(Got { http: (status, body["error"]["code"].as_str().unwrap_or_default().to_owned()), grpc })
}

#[tokio::test]
async fn only_a_known_key_is_let_in() -> Result<()> {
    let (key, config) = new_key().await?;
    let mesh = Start::new("up", &format!("{}{config}\n", simulated_config(""))).ready().await?;
    let (other, _) = new_key().await?;
    // The id of the one, the secret of another.
    let id_end = "pm_00000000".len();
    let mixed = format!("{}{}", &key[..id_end], &other[id_end..]);
    for wrong in [None, Some("none"), Some(other.as_str()), Some(mixed.as_str())] {
        let got = ask(&mesh.address, wrong).await?;
        assert_eq!(got.http, (401, "invalid_api_key".to_owned()));
        let status = got.grpc.err().context("it was let in")?;
        assert_eq!((status.code(), reason(&status)?), (Code::Unauthenticated, Reason::KeyInvalid));
    }
    let models = reqwest::get(format!("{}/v1/models", mesh.address)).await?;
    assert_eq!(models.status(), 401);
    let described = connect(&mesh.address).await?.describe(DescribeRequest {}).await;
    assert_eq!(reason(&described.err().context("it was described")?)?, Reason::KeyInvalid);

    let got = ask(&mesh.address, Some(&key)).await?;
    assert_eq!(got.http.0, 200);
    got.grpc?;
    let chat = ["chat", "--address", &mesh.address, "--key", &key, "Hello"];
    assert_eq!(pointsman(&chat).await?.success()?, "You said: Hello\n");
    let refused = pointsman(&["models", "--address", &mesh.address]).await?;
    assert!(refused.code == Some(1) && refused.stderr.contains("KEY_INVALID"), "{refused:?}");
    let written = mesh.process.lines().join("\n");
    assert!(!written.contains(&key) && !written.contains(&other), "a key is in the log");
    mesh.stop().await
}

#[tokio::test]
async fn a_key_is_good_for_its_scopes() -> Result<()> {
    let (key, config) = new_key().await?;
    let config = format!("{}{config}\n      scopes: [describe]\n", simulated_config(""));
    let mesh = Start::new("up", &config).ready().await?;
    let got = ask(&mesh.address, Some(&key)).await?;
    assert_eq!(got.http, (403, "scope_missing".to_owned()));
    let status = got.grpc.err().context("it was let in")?;
    assert_eq!((status.code(), reason(&status)?), (Code::PermissionDenied, Reason::ScopeMissing));
    let models = reqwest::Client::new().get(format!("{}/v1/models", mesh.address)).bearer_auth(&key).send().await?;
    assert_eq!(models.status(), 200);
    mesh.stop().await
}

#[tokio::test]
async fn a_mesh_context_is_believed_from_the_mesh_only() -> Result<()> {
    let mesh = Pair::start(&simulated_config(""), &[]).await?;
    let context = MeshContext { tenant: "acme".to_owned(), ..MeshContext::default() };
    let request = || {
        let mut request = Request::new(say("simulated", "Hello"));
        mesh_context::write(&context, request.metadata_mut());
        request
    };
    let status = connect(&mesh.gateway.address).await?.generate(request()).await.err().context("it was let in")?;
    assert_eq!((status.code(), reason(&status)?), (Code::PermissionDenied, Reason::MeshContextRefused));
    let post = reqwest::Client::new().post(format!("{}/v1/chat/completions", mesh.gateway.address));
    let post =
        post.header("x-pointsman-mesh-context-bin", "AA").json(&chat_body("simulated", "Hello", false)).send().await?;
    assert_eq!(
        (post.status().as_u16(), &post.headers()["x-pointsman-reason"]),
        (403, &"MESH_CONTEXT_REFUSED".parse()?)
    );
    connect(&mesh.worker.address).await?.generate(request()).await?;
    mesh.stop().await
}
