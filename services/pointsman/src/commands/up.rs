//! The whole mesh in one process: the same services, joined by their routes instead of sockets.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use pointsman_client::in_process;
use pointsman_server::{Context, Parts, Readiness, Task};
use pointsman_types::Origin;
use pointsman_worker::GivenUp;
use tonic::service::Routes;

use super::Service;
use crate::arguments::UpOptions;
use crate::banner;
use crate::config::{UpConfig, settle};

pub(crate) async fn run(options: UpOptions) -> Result<()> {
    let change = |config: &mut UpConfig| {
        let mut problems = options.route.change(&mut config.gateway);
        problems.extend(config.engine.choose(&options.engine));
        let database = &mut config.sessions.database;
        if database.url.is_none() && database.url_file.is_none() {
            let folder = config.gateway.data_dir.clone().unwrap_or_else(state_folder);
            database.url = Some(pointsman_sessions::SecretUrl::of_file(&folder.join("sessions.db")));
        }
        problems
    };
    let Some(settled) = settle(&options.serve, change)? else { return Ok(()) };
    let service = Service {
        name: "up",
        origin: Origin::Public,
        keyless: settled.config.gateway.keys.is_empty(),
        config: &settled.process,
        listen: settled.listen,
        operator_listen: settled.operator_listen,
    };
    super::serve(service, async |context| {
        let parts = Box::pin(build(settled.config, &context)).await?;
        Ok(parts)
    })
    .await
}

/// Where conversations are kept unless something else is said: the user's own folder for what programs keep
/// (XDG Base Directory Specification).
fn state_folder() -> PathBuf {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let states = named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local/state")));
    states.unwrap_or_else(|| PathBuf::from(".")).join("pointsman")
}

async fn build(config: UpConfig, context: &Context) -> Result<Parts> {
    let max_request_bytes = config.server.max_request_size.as_usize();
    let worker_name = format!("{}-worker", context.instance);
    // A readiness of its own: the process is ready when the gateway is.
    let worker_context = Context { readiness: Readiness::default(), ..context.clone() };
    let sessions = sessions(&config, context).await?;
    let (engine, others) = config.engine.start().await?;
    let target = engine.description().target.clone();
    let given_up = GivenUp::IsReported;
    let deps = pointsman_worker::Deps { engine, others, instance: worker_name.clone(), max_request_bytes, given_up };
    let worker = pointsman_worker::build(&config.worker, deps, &worker_context);
    let channel = in_process(Routes::from(worker.router), &config.gateway.client);
    let deps = pointsman_gateway::Deps {
        sessions: Some(in_process(Routes::from(sessions.router), &config.gateway.client)),
        instances: vec![(worker_name, channel)],
        peers: Vec::new(),
        instance: context.instance.clone(),
        max_request_bytes,
    };
    let gateway = pointsman_gateway::build(&config.gateway, deps, context)?;
    let (keyed, tls) = (!config.gateway.keys.is_empty(), config.server.tls.is_some());
    let kept = config.sessions.database.url.as_ref().map_or_else(|| "a database".to_owned(), |url| url.place());
    let banner = Task::new("banner", banner::when_ready(context.clone(), target, kept, (keyed, tls)));
    let tasks = worker.tasks.into_iter().chain(sessions.tasks).chain(gateway.tasks).chain([banner]).collect();
    Ok(Parts { router: gateway.router, tasks })
}

async fn sessions(config: &UpConfig, context: &Context) -> Result<Parts> {
    // The gateway is ready without it: what has no session needs none.
    let context = Context { readiness: Readiness::default(), ..context.clone() };
    let deps = pointsman_sessions::Deps { max_request_bytes: config.server.max_request_size.as_usize() };
    let hint = "say where to keep conversations with `--data-dir DIR`, or `sessions.database.url`";
    pointsman_sessions::build(&config.sessions, deps, &context).await.context(hint)
}
