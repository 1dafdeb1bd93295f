//! `pointsman chat`

mod answer;
mod console;
mod stored;

use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal};

use anyhow::{Result, anyhow};
use console::Console;
use pointsman_proto::inference::v1::{
    DescribeRequest, GenerateRequest, Limits, Message, Part, Role, Sampling, SessionReference, part,
};
use pointsman_types::{TargetName, counted, new_request_id};
use stored::Stored;

use crate::arguments::{ChatOptions, program};
use crate::client::{Mesh, explain};

pub(crate) async fn run(options: ChatOptions) -> Result<()> {
    let mesh = Mesh::new(&options.client)?;
    let interactive = options.text.is_none() && std::io::stdin().is_terminal();
    let line = async || {
        let line = tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().next()).await?;
        Ok(line.transpose()?)
    };
    hold(mesh, &options, Console::standard(interactive), line).await
}

/// Holds a conversation, or one exchange of it, with lines from wherever they come.
async fn hold(
    mut mesh: Mesh,
    options: &ChatOptions,
    mut console: Console,
    mut next_line: impl AsyncFnMut() -> Result<Option<String>>,
) -> Result<()> {
    let mut memory = Memory::open(&mesh, options).await?;
    let (model, choice) = match (&options.model, memory.model()) {
        (Some(model), _) => (model.clone(), None),
        (None, before) => choose(names(&mut mesh, options).await?, before)?,
    };
    let talking = choice.iter().fold(format!("Talking to {model}"), |talking, choice| format!("{talking}, {choice}"));
    if console.interactive {
        console.open(&format!("{talking}. An empty line or Ctrl-D ends the conversation."))?;
    } else if choice.is_some() {
        console.open(&format!("({talking})"))?;
    }
    memory.begin(options, &mut console).await?;
    let mut talk = Talk { mesh, options, console, model, memory };
    if let Some(text) = &options.text {
        return talk.exchange(text).await;
    }
    loop {
        talk.console.prompt()?;
        let Some(line) = next_line().await?.filter(|line| !line.trim().is_empty()) else { return Ok(()) };
        match talk.exchange(&line).await {
            Ok(()) => {}
            // Somebody is there to read what happened, and it is known where the session stands.
            Err(error) if talk.may_go_on() => talk.console.remark(&format!("error: {error:#}"))?,
            Err(error) => return Err(error),
        }
    }
}

/// Where what was said is kept.
enum Memory {
    /// Here: each request has all of it.
    Here(Vec<Message>),
    /// In a session of the mesh: each request has what is new.
    Session(Box<Stored>),
}

impl Memory {
    async fn open(mesh: &Mesh, options: &ChatOptions) -> Result<Self> {
        Ok(match &options.session {
            Some(name) => Self::Session(Box::new(Stored::open(mesh, name, options.system.as_deref()).await?)),
            None => Self::Here(options.system.iter().map(|text| message(Role::System, text)).collect()),
        })
    }

    /// The model that answered last.
    fn model(&self) -> Option<&str> {
        match self {
            Self::Here(_) => None,
            Self::Session(stored) => stored.model(),
        }
    }

    async fn begin(&mut self, options: &ChatOptions, console: &mut Console) -> Result<()> {
        match self {
            Self::Here(_) => Ok(()),
            Self::Session(stored) => stored.begin(options.system.as_deref(), console).await,
        }
    }
}

/// A conversation that is going on.
struct Talk<'a> {
    mesh: Mesh,
    options: &'a ChatOptions,
    console: Console,
    model: String,
    memory: Memory,
}

impl Talk<'_> {
    /// Says a text, prints the answer as it comes, and remembers both.
    async fn exchange(&mut self, text: &str) -> Result<()> {
        let said = message(Role::User, text);
        match &mut self.memory {
            Memory::Here(messages) => {
                messages.push(said);
                let request = request(self.options, &self.model, messages.clone());
                let answer = answer::print(&mut self.mesh, self.options, request, &mut self.console).await?;
                messages.push(message(Role::Assistant, &answer.text));
                Ok(())
            }
            Memory::Session(stored) => {
                let session =
                    SessionReference { session: stored.name(), expected_revision: None, ..SessionReference::default() };
                // A name of ours, so that the store can be asked for this turn when its end does not arrive.
                let request_id = new_request_id();
                let request = GenerateRequest {
                    session: Some(session),
                    request_id: request_id.clone(),
                    detach: self.options.detach,
                    ..request(self.options, &self.model, vec![said])
                };
                if self.options.detach {
                    self.console.remark(&format!("run {request_id}"))?;
                }
                let printed = answer::print(&mut self.mesh, self.options, request, &mut self.console).await;
                let error = match printed.map(|answer| (answer.revision, answer)) {
                    Ok((Some(revision), answer)) => return stored.answered(&answer, revision, &mut self.console),
                    Ok((None, _)) => anyhow!("the answer ended without saying that it is kept"),
                    Err(error) => error,
                };
                Err(stored.failed(&request_id, error, &mut self.console).await?)
            }
        }
    }

    /// Whether another line may follow an exchange that failed.
    fn may_go_on(&self) -> bool {
        match &self.memory {
            Memory::Here(_) => false,
            Memory::Session(stored) => self.console.interactive && stored.is_known(),
        }
    }
}

fn request(options: &ChatOptions, model: &str, messages: Vec<Message>) -> GenerateRequest {
    let sampling =
        options.temperature.map(|temperature| Sampling { temperature: Some(temperature), ..Sampling::default() });
    GenerateRequest {
        model: model.to_owned(),
        messages,
        sampling,
        limits: options.max_tokens.map(|tokens| Limits { max_output_tokens: Some(tokens) }),
        seed: options.seed,
        ..GenerateRequest::default()
    }
}

/// Returns the names that a chat can be with, in the order of the list.
async fn names(mesh: &mut Mesh, options: &ChatOptions) -> Result<Vec<String>> {
    let request = mesh.request(DescribeRequest {})?;
    let described = mesh.inference.describe(request).await;
    let described = described.map_err(|status| explain(&status, &options.client.address))?.into_inner();
    let model = |target: String| target.parse::<TargetName>().map(|name| name.model().to_owned()).unwrap_or(target);
    let answering = described.targets.into_iter().filter(|described| !described.embeds_only);
    Ok(answering.map(|described| model(described.target)).collect())
}

/// Takes the name from before, if it is there still, or the first of the list: a virtual model where there is one, since
/// that is what a policy gives callers. Returns what to say of the choice, if there was one.
fn choose(names: Vec<String>, before: Option<&str>) -> Result<(String, Option<String>)> {
    // Several versions of a model have one name.
    let count = names.iter().collect::<BTreeSet<_>>().len();
    if let Some(before) = before.filter(|before| names.iter().any(|name| name == before)) {
        return Ok((before.to_owned(), (count > 1).then(|| "as before; --model NAME chooses another".to_owned())));
    }
    let model =
        names.into_iter().next().ok_or_else(|| anyhow!("the mesh serves no model that answers yet; see its log"))?;
    let choice = || {
        let (count, program) = (counted(count, "model"), program());
        format!("the first of {count}; --model NAME chooses another, and `{program} models` lists them")
    };
    Ok((model, (count > 1).then(choice)))
}

fn message(role: Role, text: &str) -> Message {
    let part = Part { kind: Some(part::Kind::Text(text.to_owned())) };
    Message { role: role.into(), parts: vec![part], ..Message::default() }
}

#[cfg(test)]
mod tests;
