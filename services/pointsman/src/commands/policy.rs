//! `pointsman policy`

mod explain;

use std::path::Path;

use anyhow::{Context, Result};
use pointsman_policy::CompiledPolicy;
use pointsman_policy::source::load;
use pointsman_server::ConfigError;
use pointsman_types::counted;

use crate::arguments::{PolicyCommand, PolicyOptions};

pub(crate) fn run(options: PolicyOptions) -> Result<()> {
    match options.command {
        PolicyCommand::Check { file } => {
            let policy = read(&file)?;
            let count = counted(policy.virtual_models().count(), "virtual model");
            println!("the policy is good: revision {}, {count}", policy.revision);
            Ok(())
        }
        PolicyCommand::Explain(options) => explain::run(&options),
    }
}

/// Reads a policy. With mistakes the process ends as it does for those of a configuration.
fn read(file: &Path) -> Result<CompiledPolicy> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    load(&text).map_err(|mistakes| {
        let mistakes = mistakes.iter().map(|mistake| format!("{}:{mistake}", file.display())).collect();
        ConfigError::InvalidFile { what: "the policy file", path: file.to_owned(), mistakes }.into()
    })
}
