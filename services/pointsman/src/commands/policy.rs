//! `pointsman policy`

mod explain;

use std::path::Path;

use anyhow::{Context, Result};
use pointsman_policy::CompiledPolicy;
use pointsman_policy::source::load;
use pointsman_server::ConfigError;

use crate::arguments::{PolicyCommand, PolicyOptions};

pub(crate) fn run(options: PolicyOptions) -> Result<()> {
    match options.command {
        PolicyCommand::Check { file } => {
            let policy = read(&file)?;
            let count = policy.virtual_models().count();
            println!("the policy is good: revision {}, {count} virtual models", policy.revision);
            Ok(())
        }
        PolicyCommand::Explain(options) => explain::run(&options),
    }
}

/// Reads a policy. Its mistakes are those of a configuration.
fn read(file: &Path) -> Result<CompiledPolicy> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    load(&text).map_err(|mistakes| {
        let lines = mistakes.iter().map(|mistake| format!("{}:{mistake}", file.display())).collect();
        ConfigError::Invalid(lines).into()
    })
}
