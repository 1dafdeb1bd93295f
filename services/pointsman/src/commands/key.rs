//! `pointsman key`

use anyhow::Result;
use pointsman_gateway::new_key;
use pointsman_server::ConfigError;
use pointsman_types::is_tenant_name;

use crate::arguments::{KeyCommand, KeyOptions};

pub(crate) fn run(options: &KeyOptions) -> Result<()> {
    let KeyCommand::New { tenant } = &options.command;
    if !is_tenant_name(tenant) {
        let problem = format!("--tenant: {tenant:?} must be 1 to 63 letters, digits, `-`, `_` or `.`");
        return Err(ConfigError::Invalid(vec![problem]).into());
    }
    let new = new_key(tenant, rand::random(), rand::random());
    println!("key (shown once; give it to the caller):\n  {}\n", new.key);
    println!("configuration of the gateway:");
    println!(
        "  gateway:\n    keys:\n      - id: \"{}\"\n        sha256: \"{}\"\n        tenant: \"{}\"",
        new.config.id, new.config.sha256, new.config.tenant
    );
    Ok(())
}
