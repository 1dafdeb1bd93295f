//! What a gateway must be told to listen for others of the mesh.

use anyhow::{Context, Result};

use crate::program::pointsman;

/// Checks the configuration of a gateway that has this section.
async fn checked(server: &str, gateway: &str) -> Result<(Option<i32>, String)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config.yaml");
    let instances = "instances: [{name: w, endpoint: \"http://127.0.0.1:9\"}]";
    std::fs::write(&file, format!("server: {{{server}}}\ngateway: {{{instances}{gateway}}}\n"))?;
    let file = file.to_str().context("the temporary folder's name is no text")?;
    let ended = pointsman(&["gateway", "--config", file, "--check-config"]).await?;
    Ok((ended.code, ended.stderr))
}

#[tokio::test]
async fn a_mesh_listener_is_open_on_purpose_only() -> Result<()> {
    let (code, told) = checked("mesh_listen: \"0.0.0.0:8070\"", "").await?;
    assert_eq!(code, Some(64), "{told}");
    assert!(told.contains("server.mesh_listen: 0.0.0.0:8070 is not loopback"), "{told}");
    assert!(told.contains("server.peers: trusted_network"), "{told}");
    for good in ["mesh_listen: \"0.0.0.0:8070\", peers: trusted_network", "mesh_listen: \"127.0.0.1:8070\""] {
        assert_eq!(checked(good, "").await?, (Some(0), String::new()), "{good}");
    }
    let (code, told) =
        checked("", ", peers: [{name: b, endpoint: nowhere}, {name: b, endpoint: \"http://x:1\"}]").await?;
    assert_eq!(code, Some(64), "{told}");
    assert!(told.contains("gateway.peers[0].endpoint: ") && told.contains("gateway.peers[1].name: "), "{told}");
    // Whoever shares requests has a name and an address, or two gateways own one request.
    assert!(told.contains("server.instance: must be there") && told.contains("server.mesh_listen: must be"), "{told}");
    let peers = ", peers: [{name: a, endpoint: \"http://x:1\"}]";
    let (code, told) = checked("mesh_listen: \"127.0.0.1:8070\", instance: a", peers).await?;
    assert!(code == Some(64) && told.contains("`a` is this gateway itself"), "{told}");
    Ok(())
}
