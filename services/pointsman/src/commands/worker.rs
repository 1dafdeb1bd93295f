//! A worker by itself.

use anyhow::Result;
use pointsman_types::Origin;

use super::Service;
use crate::arguments::WorkerOptions;
use crate::config::{WorkerFile, settle};

pub(crate) async fn run(options: WorkerOptions) -> Result<()> {
    let change = |config: &mut WorkerFile| config.engine.choose(&options.engine);
    let Some(settled) = settle(&options.serve, change)? else { return Ok(()) };
    let config = settled.config;
    let service = Service {
        name: "worker",
        origin: Origin::Mesh,
        keyless: true,
        config: &settled.process,
        listen: settled.listen,
        operator_listen: settled.operator_listen,
    };
    super::serve(service, async |context| {
        let (engine, others) = config.engine.start().await?;
        let deps = pointsman_worker::Deps {
            engine,
            others,
            instance: context.instance.clone(),
            max_request_bytes: config.server.max_request_size.as_usize(),
            given_up: pointsman_worker::GivenUp::EndsTheProcess,
        };
        Ok(pointsman_worker::build(&config.worker, deps, &context))
    })
    .await
}
