//! What `up` says when it is ready.

use pointsman_server::Context;

/// Prints the banner once the mesh is ready, and then waits for ever.
pub(crate) async fn when_ready(context: Context, keyed: bool) {
    context.readiness.wait().await;
    let (address, operator) = (context.address, context.operator_address);
    let (key, api_key) = if keyed { (" -H 'Authorization: Bearer KEY'", "KEY") } else { ("", "none") };
    println!(
        "\
Pointsman is ready on http://{address} (gRPC and OpenAI), operators on http://{operator}

  pointsman chat --address http://{address} \"Hello\"
  curl http://{address}/v1/chat/completions{key} \\
    -d '{{\"model\":\"pip\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'
  python: OpenAI(base_url=\"http://{address}/v1\", api_key=\"{api_key}\")
  grpcurl -plaintext{key} -d '{{\"model\":\"pip\",\"messages\":[{{\"role\":\"ROLE_USER\",\"parts\":[{{\"text\":\"Hello\"}}]}}]}}' \\
    {address} pointsman.inference.v1.InferenceService/GenerateStream
"
    );
    std::future::pending().await
}
