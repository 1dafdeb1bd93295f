//! A gateway by itself.

use anyhow::{Context as _, Result};
use pointsman_client::remote;
use pointsman_types::Origin;

use crate::arguments::ServeOptions;
use crate::config::{GatewayFile, settle};

pub(crate) async fn run(options: ServeOptions) -> Result<()> {
    let Some(settled) = settle(&options, |_: &mut GatewayFile| Vec::new())? else { return Ok(()) };
    let config = settled.config;
    super::serve(
        "gateway",
        Origin::Public,
        &settled.process,
        settled.listen,
        settled.operator_listen,
        async |context| {
            let client = pointsman_client::Config::default();
            let mut instances = Vec::new();
            for instance in &config.gateway.instances {
                let channel = remote(&instance.endpoint, &client);
                let channel = channel.with_context(|| format!("gateway.instances: `{}`", instance.name))?;
                instances.push((instance.name.clone(), channel));
            }
            let max_request_bytes = config.server.max_request_size.as_usize();
            let deps = pointsman_gateway::Deps { instances, instance: context.instance.clone(), max_request_bytes };
            Ok(pointsman_gateway::build(&config.gateway, deps, &context))
        },
    )
    .await
}
