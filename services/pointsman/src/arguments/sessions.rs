//! The arguments of `pointsman sessions`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use humantime_serde::re::humantime;
use pointsman_types::ByteSize;
use prost_types::Timestamp;

use super::{ClientOptions, ServeOptions};

#[derive(Debug, Args)]
pub(crate) struct SessionsOptions {
    #[command(subcommand)]
    pub(crate) command: SessionsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// Runs a session store.
    Serve(Box<ServeOptions>),
    /// Brings the schema of a session store's database up to date.
    Migrate(MigrateOptions),
    /// Lists sessions, the one that changed last first.
    List(ListOptions),
    /// Shows a session: its settings, where it stands, and what was said.
    Show(ShowOptions),
    /// Writes a session as JSON Lines: the session, then a turn in each line.
    Export(ExportOptions),
    /// Erases a session and every copy of its turns. Forks of it stay.
    Erase(EraseOptions),
    /// Lists what was erased, the latest first.
    Erasures(ErasuresOptions),
    /// Lists the runs of a session, the latest first.
    Runs(RunsOptions),
    /// Prints what a run answers, and follows it to its end.
    Resume(ResumeOptions),
    /// Ends a run, of which no turn is kept.
    Cancel(CancelOptions),
    /// Makes a session, with settings of its own.
    Create(Box<CreateOptions>),
    /// Makes a session of the turns of another.
    Fork(ForkOptions),
    /// Adds a message that no model made.
    Append(AppendOptions),
    /// Changes a session's settings, and which of its turns are pinned.
    Set(Box<SetOptions>),
}

#[derive(Debug, Args)]
pub(crate) struct MigrateOptions {
    /// The configuration of the store, as YAML.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// Those with this label; several times: with all of them.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// Those that changed at this time (RFC 3339) or later, or so long ago at most, such as `2h`.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) updated_after: Option<Timestamp>,
    /// Those that changed before this time (RFC 3339), or longer ago than this.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) updated_before: Option<Timestamp>,
    /// The most that are listed.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// Prints JSON, a line each, instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ShowOptions {
    /// The session, with `sessions/` before it or without.
    pub(crate) name: SessionName,
    /// Prints one JSON object instead: `session`, `bindings`, `turns`.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ExportOptions {
    /// The session, with `sessions/` before it or without.
    pub(crate) name: SessionName,
    /// Where to; it is there when all of it is [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Args)]
pub(crate) struct EraseOptions {
    /// The session, with `sessions/` before it or without.
    pub(crate) name: SessionName,
    /// Does not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ErasuresOptions {
    /// The most that are listed.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// Prints JSON, a line each, instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Args)]
pub(crate) struct RunsOptions {
    /// The session, with `sessions/` before it or without.
    pub(crate) name: SessionName,
    /// The most that are listed.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// Prints JSON, a line each, instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeOptions {
    /// The session, with `sessions/` before it or without.
    pub(crate) name: SessionName,
    /// The run: the id of its request.
    pub(crate) request_id: String,
    /// The sequence number of the last frame that is known.
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    pub(crate) after: u64,
    /// Prints each frame as a line of JSON, instead of the text.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Args)]
pub(crate) struct CancelOptions {
    /// The session, with `sessions/` before it or without.
    pub(crate) name: SessionName,
    /// The run: the id of its request.
    pub(crate) request_id: String,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Args)]
pub(crate) struct CreateOptions {
    /// What it is called [default: a UUID].
    pub(crate) name: Option<SessionName>,
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ForkOptions {
    /// The session whose turns are copied, with `sessions/` before it or without.
    pub(crate) name: SessionName,
    /// The last turn that is copied; 0 copies none [default: the youngest].
    #[arg(long, value_name = "REVISION")]
    pub(crate) at: Option<u64>,
    /// What the new one is called [default: a UUID].
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) new: Option<SessionName>,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

#[derive(Debug, Args)]
pub(crate) struct AppendOptions {
    /// The session, with `sessions/` before it or without.
    pub(crate) name: SessionName,
    /// Who says it.
    #[arg(long, value_enum)]
    pub(crate) role: Speaker,
    /// What is said.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) text: String,
    /// Sends it with every later request, however little room there is.
    #[arg(long)]
    pub(crate) pin: bool,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

/// Who can say something that no model made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Speaker {
    /// The operator, with standing instructions.
    System,
    /// The application's developer, with standing instructions.
    Developer,
    /// The person or program that asks.
    User,
    /// Whoever answers in the model's place.
    Assistant,
}

#[derive(Debug, Args)]
pub(crate) struct SetOptions {
    /// The session, with `sessions/` before it or without.
    pub(crate) name: SessionName,
    #[command(flatten)]
    pub(crate) changes: Changes,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

/// What is to change: something at least.
#[derive(Debug, Args)]
#[group(required = true, multiple = true, args = CHANGES)]
pub(crate) struct Changes {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// A label that it loses.
    #[arg(long = "remove-label", value_name = "KEY")]
    pub(crate) remove_labels: Vec<String>,
    /// A turn that is sent with every later request, however little room there is.
    #[arg(long, value_name = "REVISION")]
    pub(crate) pin: Vec<u64>,
    /// A turn that is pinned no longer.
    #[arg(long, value_name = "REVISION")]
    pub(crate) unpin: Vec<u64>,
}

/// The fields of [`Changes`]: a group does not know those that are flattened into it.
const CHANGES: [&str; 15] = [
    "title",
    "system",
    "labels",
    "data_class",
    "home_zone",
    "retention",
    "second_turn",
    "merge_window",
    "tool_timeout",
    "max_turns",
    "max_size",
    "keep_partial_output",
    "remove_labels",
    "pin",
    "unpin",
];

/// What a session may be set to.
#[derive(Debug, Default, Args)]
pub(crate) struct Settings {
    /// Its title; an empty one takes it away.
    #[arg(long, value_name = "TEXT")]
    pub(crate) title: Option<String>,
    /// Standing instructions for the model; empty ones take them away.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// A label that it gets, beside those that it has.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// How sensitive all of it is, at least.
    #[arg(long, value_enum)]
    pub(crate) data_class: Option<Sensitive>,
    /// The zone whose instances answer it first; an empty one takes it away.
    #[arg(long, value_name = "ZONE")]
    pub(crate) home_zone: Option<String>,
    /// How long it is kept after its last change, such as `30d`.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) retention: Option<Duration>,
    /// What happens to a turn that comes while another one runs.
    #[arg(long, value_enum)]
    pub(crate) second_turn: Option<WhatOfSecond>,
    /// How long messages are collected with `--second-turn merge`.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) merge_window: Option<Duration>,
    /// How long the results of tools are awaited.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) tool_timeout: Option<Duration>,
    /// The most turns that it may have.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_turns: Option<u64>,
    /// The most that its turns may take, such as `16MiB`.
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<ByteSize>,
    /// Whether what came of a turn that failed is kept, as such.
    #[arg(long, value_name = "BOOL")]
    pub(crate) keep_partial_output: Option<bool>,
}

/// How sensitive a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sensitive {
    /// It may be published.
    Public,
    /// It is for the company.
    Internal,
    /// It is for some in the company; personal data.
    Confidential,
    /// It is bound by law or contract to named places.
    Restricted,
}

/// What happens to a turn that comes while another one runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhatOfSecond {
    /// It is refused.
    Reject,
    /// It waits.
    Queue,
    /// Messages that come together are answered together.
    Merge,
    /// It ends the running one, which leaves nothing behind.
    Supersede,
}

/// A session as an argument names it: its id, with or without `sessions/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionName(String);

impl SessionName {
    pub(crate) fn id(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sessions/{}", self.0)
    }
}

impl FromStr for SessionName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = text.strip_prefix("sessions/").unwrap_or(text);
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~@+:".contains(&byte);
        if (1..=128).contains(&id.len()) && id.bytes().all(is_allowed) {
            return Ok(Self(id.to_owned()));
        }
        Err("give 1 to 128 letters, digits, `-`, `_`, `.`, `~`, `@`, `+` or `:`, with `sessions/` before them or without"
            .to_owned())
    }
}

/// Collects labels; the last of those with the same key counts.
pub(crate) fn collected(labels: &[(String, String)]) -> BTreeMap<String, String> {
    labels.iter().cloned().collect()
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("give KEY=VALUE".to_owned()),
    }
}

fn moment(text: &str) -> Result<Timestamp, String> {
    moment_before(SystemTime::now(), text)
}

/// Reads a time, or a time of so long before now.
fn moment_before(now: SystemTime, text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        let time = now.checked_sub(ago).ok_or("that is longer ago than this machine can count")?;
        return Ok(time.into());
    }
    text.parse().map_err(|_| "give a time such as 2026-11-21T18:00:00Z, or how long ago it is, such as 2h".to_owned())
}

#[cfg(test)]
mod tests;
