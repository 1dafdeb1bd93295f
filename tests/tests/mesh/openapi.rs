//! The surface and the description that it gives away.

use std::time::Duration;

use anyhow::Result;
use pointsman_testkit::tools;
use serde_json::Value;

use crate::keys::new_key;
use crate::program::run_within;
use crate::service::{Service, Start, simulated_config};

/// Thousands of requests: half a minute on a quiet machine.
const FUZZ_LIMIT: Duration = Duration::from_secs(240);

/// Lets schemathesis loose on a part of the surface, with a key that is needed.
async fn fuzz(part: &str) -> Result<()> {
    let (key, config) = new_key().await?;
    let mesh = Start::new("up", &format!("{}{config}\n", simulated_config(""))).ready().await?;
    let script = tools::workspace()?.join("tests/python/openapi_fuzz.py");
    let script = script.to_string_lossy();
    let arguments = [&*script, &mesh.address, &key, part];
    run_within(FUZZ_LIMIT, &tools::schemathesis()?, &arguments, &[], "").await?.success()?;
    mesh.stop().await
}

#[tokio::test]
async fn chats_are_as_they_are_described() -> Result<()> {
    fuzz("chats").await
}

#[tokio::test]
async fn the_rest_of_the_surface_is_as_it_is_described() -> Result<()> {
    fuzz("others").await
}

#[tokio::test]
async fn the_description_needs_no_key() -> Result<()> {
    let (_, config) = new_key().await?;
    let mesh = Start::new("up", &format!("{}{config}\n", simulated_config(""))).ready().await?;
    let response = reqwest::get(format!("{}/openapi.json", mesh.address)).await?;
    assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &"application/json".parse()?));
    let description: Value = response.json().await?;
    assert_eq!(description["openapi"], "3.1.1");
    assert!(description["paths"]["/v1/chat/completions"]["post"].is_object(), "{description}");
    assert_eq!(reqwest::get(format!("{}/v1/models", mesh.address)).await?.status(), 401);
    mesh.stop().await
}

#[tokio::test]
async fn another_method_is_told_those_that_there_are() -> Result<()> {
    let mesh = Service::simulated("").await?;
    let client = reqwest::Client::new();
    for (method, path, allowed) in [
        ("GET", "chat/completions", "POST"),
        ("PUT", "completions", "POST"),
        ("DELETE", "models/simulated", "GET, HEAD"),
        ("POST", "models", "GET, HEAD"),
    ] {
        let response = client.request(method.parse()?, format!("{}/v1/{path}", mesh.address)).send().await?;
        assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &allowed.parse()?), "{path}");
        let body: Value = response.json().await?;
        assert_eq!(body["error"]["code"], "method_not_supported", "{body}");
    }
    mesh.stop().await
}
