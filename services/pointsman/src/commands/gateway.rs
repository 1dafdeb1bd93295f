//! A gateway by itself.

use anyhow::{Context as _, Result};
use pointsman_client::remote;
use pointsman_types::Origin;

use super::Service;
use crate::arguments::GatewayOptions;
use crate::config::{GatewayFile, settle};

pub(crate) async fn run(options: GatewayOptions) -> Result<()> {
    let change = |config: &mut GatewayFile| options.route.change(&mut config.gateway);
    let Some(settled) = settle(&options.serve, change)? else { return Ok(()) };
    let config = settled.config;
    let service = Service {
        name: "gateway",
        origin: Origin::Public,
        config: &settled.process,
        listen: settled.listen,
        operator_listen: settled.operator_listen,
    };
    super::serve(service, async |context| {
        let mut instances = Vec::new();
        for instance in &config.gateway.instances {
            let channel = remote(&instance.endpoint, &config.gateway.client);
            let channel = channel.with_context(|| format!("gateway.instances: `{}`", instance.name))?;
            instances.push((instance.name.clone(), channel));
        }
        let max_request_bytes = config.server.max_request_size.as_usize();
        let deps = pointsman_gateway::Deps { instances, instance: context.instance.clone(), max_request_bytes };
        Ok(pointsman_gateway::build(&config.gateway, deps, &context)?)
    })
    .await
}
