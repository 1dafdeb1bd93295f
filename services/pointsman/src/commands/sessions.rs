//! `pointsman sessions`

pub(crate) mod draw;
mod erase;
mod export;
mod extend;
mod list;
mod runs;
mod serve;
mod settings;
mod show;

use std::io::{BufRead, IsTerminal};

use anyhow::Result;
use prost_types::Timestamp;

use crate::arguments::ClientOptions;
use crate::arguments::sessions::{SessionsCommand, SessionsOptions};
use crate::client::Mesh;
use crate::client::sessions::Sessions;

const SESSION: &str = "pointsman.sessions.v1.Session";
const TURN: &str = "pointsman.sessions.v1.Turn";

pub(crate) async fn run(options: SessionsOptions) -> Result<()> {
    let out = &mut std::io::stdout();
    match options.command {
        SessionsCommand::Serve(options) => Box::pin(serve::run(*options)).await,
        SessionsCommand::Migrate(options) => serve::bring_up_to_date(options).await,
        SessionsCommand::List(options) => list::run(&mut connect(&options.client)?, &options, out).await,
        SessionsCommand::Show(options) => show::run(&mut connect(&options.client)?, &options, out).await,
        SessionsCommand::Export(options) => export::run(&mut connect(&options.client)?, &options, out).await,
        SessionsCommand::Erase(options) => {
            let input = std::io::stdin();
            let mut terminal = input.is_terminal().then(|| input.lock());
            let terminal = terminal.as_mut().map(|terminal| terminal as &mut dyn BufRead);
            erase::run(&mut connect(&options.client)?, &options, terminal, out).await
        }
        SessionsCommand::Erasures(options) => erase::list(&mut connect(&options.client)?, &options, out).await,
        SessionsCommand::Runs(options) => runs::list(&mut connect(&options.client)?, &options, out).await,
        SessionsCommand::Resume(options) => runs::resume(&mut connect(&options.client)?, &options, out).await,
        SessionsCommand::Cancel(options) => runs::cancel(&mut connect(&options.client)?, &options, out).await,
        SessionsCommand::Create(options) => settings::create(&mut connect(&options.client)?, &options, out).await,
        SessionsCommand::Fork(options) => extend::fork(&mut connect(&options.client)?, &options, out).await,
        SessionsCommand::Append(options) => extend::append(&mut connect(&options.client)?, &options, out).await,
        SessionsCommand::Set(options) => settings::set(&mut connect(&options.client)?, &options, out).await,
    }
}

fn connect(options: &ClientOptions) -> Result<Sessions> {
    Ok(Sessions::of(&Mesh::new(options)?))
}

/// Writes a time to the second.
fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| Timestamp { nanos: 0, ..time }.to_string())
}

#[cfg(test)]
mod tests;
