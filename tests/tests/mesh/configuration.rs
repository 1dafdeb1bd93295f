//! What a process is told, and what it says to it before anything runs.

use std::net::TcpListener;

use anyhow::{Context, Result};
use pointsman_testkit::tools;

use crate::program::{Ended, pointsman};

/// Runs a command with a configuration of its own.
async fn with_config(command: &str, config: &str, options: &[&str]) -> Result<Ended> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, config)?;
    let file = file.to_str().context("the temporary folder's name is no text")?;
    pointsman(&[&[command, "--config", file], options].concat()).await
}

#[tokio::test]
async fn a_number_that_is_not_whole_says_what_to_write() -> Result<()> {
    let key = |limits: &str| {
        format!(
            "gateway: {{keys: [{{id: a, sha256: {}, tenant: t, limits: {{{limits}}}}}], instances: [{{name: one, endpoint: \"http://127.0.0.1:1\"}}]}}\n",
            "0".repeat(64)
        )
    };
    for limits in ["requests_per_second: 0.5", "concurrent: many"] {
        let ended = with_config("gateway", &key(limits), &["--check-config"]).await?;
        assert!(
            ended.code == Some(64) && ended.stderr.contains("cannot be read: write a whole number, from 1"),
            "{ended:?}"
        );
    }
    with_config("gateway", &key("requests_per_second: 5, concurrent: null"), &["--check-config"]).await?.success()?;
    Ok(())
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() -> Result<()> {
    for address in ["http://127.0.0.1:35190x", "http://127.0.0.1:35190/path?x", "http://:99999"] {
        let config = format!("gateway: {{instances: [{{name: one, endpoint: \"{address}\"}}]}}\n");
        let ended = with_config("gateway", &config, &["--check-config"]).await?;
        let told = format!("gateway.instances[0].endpoint: `{address}` is no address of a service");
        assert!(ended.code == Some(64) && ended.stderr.contains(&told), "{ended:?}");
    }
    Ok(())
}

#[tokio::test]
async fn all_mistakes_are_told_at_once() -> Result<()> {
    let config = "\
server: {max_request_size: 0B, shutdown_grace: 0s, connection: {max_connections: 0, max_streams: 0, max_age: 0s, stall_timeout: 0s}}
telemetry: {sample_ratio: 7}
gateway:
  instances: [{name: one, endpoint: \"http://127.0.0.1:1\"}, {name: one, endpoint: \"http://127.0.0.1:2\"}]
  keys: [{id: a_b, sha256: short, tenant: \"\"}]
";
    let ended = with_config("gateway", config, &["--check-config"]).await?;
    assert_eq!(ended.code, Some(64), "{ended:?}");
    for field in [
        "server.max_request_size",
        "server.shutdown_grace",
        "server.connection.max_connections",
        "server.connection.max_streams",
        "server.connection.max_age",
        "server.connection.stall_timeout",
        "telemetry.sample_ratio",
        "gateway.instances[1].name",
        "gateway.keys[0].id",
        "gateway.keys[0].sha256",
        "gateway.keys[0].tenant",
    ] {
        assert!(ended.stderr.contains(&format!("\n  {field}: ")), "{field} is not in {}", ended.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_key_is_a_mistake_with_its_place() -> Result<()> {
    for (config, line) in [
        ("server: {}\nworker: {slotz: 1}\n", "line 2"),
        ("server: {}\nwroker: {}\n", "line 2"),
        ("server: [\n", "line 1"),
    ] {
        let ended = with_config("worker", config, &["--check-config"]).await?;
        assert_eq!(ended.code, Some(64), "{ended:?}");
        assert!(ended.stderr.contains("config.yaml: ") && ended.stderr.contains(line), "{}", ended.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn a_bad_instance_address_is_a_mistake() -> Result<()> {
    let config = "gateway: {instances: [{name: one, endpoint: \"no address\"}]}\n";
    let ended = with_config("gateway", config, &["--check-config"]).await?;
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(ended.stderr.contains("gateway.instances[0].endpoint"), "{}", ended.stderr);
    Ok(())
}

#[tokio::test]
async fn a_dump_can_be_read_again() -> Result<()> {
    let gateway = crate::service::gateway_config("http://127.0.0.1:9090");
    for (command, config) in
        [("up", ""), ("worker", "engine: {simulated: {answer_tokens: 3}}\n"), ("gateway", &gateway)]
    {
        let dump = with_config(command, config, &["--dump-config"]).await?.success()?;
        let again = with_config(command, &dump, &["--dump-config"]).await?.success()?;
        assert_eq!(again, dump);
        assert!(dump.contains("shutdown_grace: 30s"), "{dump}");
        let checked = with_config(command, &dump, &["--check-config"]).await?.success()?;
        assert_eq!(checked, "the configuration is good\n");
    }
    Ok(())
}

#[tokio::test]
async fn the_command_line_wins_over_the_file() -> Result<()> {
    let file = "server: {listen: \"127.0.0.1:1\"}\nengine: {simulated: {answer_tokens: 3}}\n";
    let dump = with_config("up", file, &["--dump-config", "--listen", "127.0.0.1:2"]).await?.success()?;
    assert!(dump.contains("listen: 127.0.0.1:2"), "{dump}");
    let dump = with_config("up", file, &["--dump-config", "--engine", "simulated"]).await?.success()?;
    assert!(dump.contains("answer_tokens: 3"), "{dump}");
    Ok(())
}

#[tokio::test]
async fn a_public_address_needs_keys_and_a_word_about_plaintext() -> Result<()> {
    let keyed = format!("gateway: {{keys: [{{id: a, sha256: \"{}\", tenant: t}}]}}\n", "00".repeat(32));
    let allowed = format!("{keyed}server: {{plaintext: true}}\n");
    for (command, config, mistake) in [
        ("up", "", Some("gateway.keys is empty")),
        ("up", &*keyed, Some("without TLS")),
        ("up", &*allowed, None),
        ("worker", "", Some("server.peers: trusted_network")),
        ("worker", "server: {peers: trusted_network}\n", None),
    ] {
        let ended = with_config(command, config, &["--check-config", "--listen", "0.0.0.0:0"]).await?;
        assert_eq!(ended.code, Some(if mistake.is_some() { 64 } else { 0 }), "{config}: {ended:?}");
        assert!(ended.stderr.contains(mistake.unwrap_or_default()), "{}", ended.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn a_taken_port_is_told() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for option in ["--listen", "--operator-listen"] {
        let other = if option == "--listen" { "--operator-listen" } else { "--listen" };
        let ended = pointsman(&["up", "--engine", "simulated", option, &address, other, "127.0.0.1:0"]).await?;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.stderr.contains(&format!("error: cannot listen on {address}; stop what listens there")),
            "{ended:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_model_is_told() -> Result<()> {
    let ended = pointsman(&["up", "--listen", "127.0.0.1:0", "--model", "/no/such/folder"]).await?;
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(ended.stderr.contains("/no/such/folder"), "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn wrong_arguments_are_told() -> Result<()> {
    for arguments in [&["up", "--no-such-option"][..], &["fly"], &["up", "--config", "/no/such/file"]] {
        let ended = pointsman(arguments).await?;
        assert_eq!(ended.code, Some(64), "{ended:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_tenant_that_no_gateway_takes_gets_no_key() -> Result<()> {
    for tenant in ["a\"b", "", "a b", "a\nb", &"a".repeat(64)] {
        let ended = pointsman(&["key", "new", "--tenant", tenant]).await?;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(64), ""), "{tenant:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("--tenant: "), "{}", ended.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn the_configuration_that_we_ship_is_good() -> Result<()> {
    let root = tools::workspace()?;
    for (command, name) in [("gateway", "gateway"), ("worker", "worker"), ("worker", "worker-models")] {
        let file = root.join(format!("deploy/config/{name}.yaml"));
        let file = file.to_str().context("the workspace's path is no text")?;
        pointsman(&[command, "--config", file, "--check-config"]).await?.success()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_device_that_this_build_lacks_is_refused_with_what_to_build() -> Result<()> {
    let hardware = "device: cuda:0, dtype: bf16, paged_attention: {mode: on, memory: 8GiB}, device_map: \"0:20;1:12\"";
    let config = format!("engine: {{mistralrs: {{name: m, model: models/demo/model, hardware: {{{hardware}}}}}}}\n");
    let ended = with_config("worker", &config, &["--check-config"]).await?;
    assert_eq!(ended.code, Some(64), "{ended:?}");
    for said in [
        "engine.mistralrs.hardware.device: this build knows no `cuda:0`; build it with `cargo build --release --features cuda`",
        "engine.mistralrs.hardware.dtype",
        "engine.mistralrs.hardware.paged_attention.mode",
        "engine.mistralrs.hardware.device_map",
    ] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    let config = config.replace(hardware, "device: cpu, dtype: f32, paged_attention: {mode: off}");
    with_config("worker", &config, &["--check-config"]).await?.success()?;
    Ok(())
}
