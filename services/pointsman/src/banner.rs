//! What `up` says when it is ready.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use pointsman_server::Context;
use pointsman_types::TargetName;

use crate::arguments::program;

/// Prints the banner once the mesh is ready, and then waits for ever. `kept`: where conversations are.
pub(crate) async fn when_ready(context: Context, target: String, kept: String, (keyed, tls): (bool, bool)) {
    context.readiness.wait().await;
    let (address, operator) = (callable(context.address), callable(context.operator_address));
    let model = target.parse::<TargetName>().map_or(target, |target| target.model().to_owned());
    let (key, api_key) = if keyed { (" -H 'Authorization: Bearer KEY'", "KEY") } else { ("", "none") };
    let (program, chat_key) = (program(), if keyed { " --key KEY" } else { "" });
    let (scheme, ca, curl_ca, grpcurl) = match tls {
        true => ("https", " --ca CA.pem", " --cacert CA.pem", "-cacert CA.pem"),
        false => ("http", "", "", "-plaintext"),
    };
    println!(
        "\
Pointsman is ready on {scheme}://{address} (gRPC and OpenAI), operators on http://{operator}

  {program} chat --address {scheme}://{address}{ca}{chat_key} \"Hello\"
  curl{curl_ca} {scheme}://{address}/v1/chat/completions{key} \\
    -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'
  python: OpenAI(base_url=\"{scheme}://{address}/v1\", api_key=\"{api_key}\")
  grpcurl {grpcurl}{key} -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"ROLE_USER\",\"parts\":[{{\"text\":\"Hello\"}}]}}]}}' \\
    {address} pointsman.inference.v1.InferenceService/GenerateStream
  {program} trace --operator-address http://{operator} TRACE_ID      (x-pointsman-trace-id of an answer)

Conversations are kept in {kept}
"
    );
    std::future::pending().await
}

/// An address that a caller on this machine can use: a listener on every interface has none.
fn callable(address: SocketAddr) -> SocketAddr {
    let everywhere = address.ip().is_unspecified();
    SocketAddr::new(if everywhere { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() }, address.port())
}
