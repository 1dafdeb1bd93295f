//! A gateway by itself.

use anyhow::{Context as _, Result};
use pointsman_client::{Channel, remote};
use pointsman_gateway::InstanceConfig;
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
        keyless: config.gateway.keys.is_empty(),
        config: &settled.process,
        listen: settled.listen,
        operator_listen: settled.operator_listen,
    };
    super::serve(service, async |context| {
        let instances = channels("gateway.instances", &config.gateway.instances, &config.gateway.client)?;
        let peers = channels("gateway.peers", &config.gateway.peers, &config.gateway.client)?;
        let max_request_bytes = config.server.max_request_size.as_usize();
        let sessions = channels("gateway.sessions", config.gateway.sessions.as_slice(), &config.gateway.client)?;
        let sessions = sessions.into_iter().next().map(|(_, channel)| channel);
        let deps = pointsman_gateway::Deps {
            instances,
            peers,
            sessions,
            instance: context.instance.clone(),
            max_request_bytes,
        };
        Ok(pointsman_gateway::build(&config.gateway, deps, &context)?)
    })
    .await
}

/// Opens channels to what a list of the configuration names. They connect at their first call.
fn channels(
    section: &str,
    named: &[InstanceConfig],
    client: &pointsman_client::Config,
) -> Result<Vec<(String, Channel)>> {
    let open = |one: &InstanceConfig| {
        let channel =
            remote(&one.endpoint, one.tls.as_ref(), client).with_context(|| format!("{section}: `{}`", one.name))?;
        Ok((one.name.clone(), channel))
    };
    named.iter().map(open).collect()
}
