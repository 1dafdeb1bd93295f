//! A session store by itself, and the schema of its database.

use anyhow::Result;
use pointsman_server::ConfigError;
use pointsman_server::config::read;
use pointsman_sessions::{Deps, build, migrate};
use pointsman_types::Origin;

use crate::arguments::ServeOptions;
use crate::arguments::sessions::MigrateOptions;
use crate::commands::{Service, serve};
use crate::config::{SessionsFile, settle};

pub(super) async fn run(options: ServeOptions) -> Result<()> {
    let Some(settled) = settle(&options, |_: &mut SessionsFile| Vec::new())? else { return Ok(()) };
    let config = settled.config;
    let service = Service {
        name: "sessions",
        origin: Origin::Mesh,
        keyless: true,
        config: &settled.process,
        listen: settled.listen,
        operator_listen: settled.operator_listen,
    };
    serve(service, async |context| {
        let deps = Deps { max_request_bytes: config.server.max_request_size.as_usize() };
        Ok(build(&config.sessions, deps, &context).await?)
    })
    .await
}

/// Brings the schema up to date, and nothing else.
pub(super) async fn bring_up_to_date(options: MigrateOptions) -> Result<()> {
    let config: SessionsFile = read(&options.config)?;
    let problems = config.sessions.problems();
    if !problems.is_empty() {
        return Err(ConfigError::Invalid(problems).into());
    }
    migrate(&config.sessions).await?;
    println!("the schema is up to date");
    Ok(())
}
