//! `pointsman chat`

use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Result, anyhow};
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{
    DescribeRequest, FinishReason, GenerateRequest, Limits, Message, Part, Role, Sampling, delta, part,
};
use pointsman_proto::metadata::TRACE_ID;
use pointsman_types::{TargetName, counted};

use crate::arguments::{ChatOptions, program};
use crate::client::{Mesh, explain};

pub(crate) async fn run(options: ChatOptions) -> Result<()> {
    let mut mesh = Mesh::new(&options.client)?;
    let interactive = options.text.is_none() && std::io::stdin().is_terminal();
    let (model, choice) = match &options.model {
        Some(model) => (model.clone(), None),
        None => choose(names(&mut mesh, &options).await?)?,
    };
    let talking = choice.iter().fold(format!("Talking to {model}"), |talking, choice| format!("{talking}, {choice}"));
    if interactive {
        println!("{talking}. An empty line or Ctrl-D ends the conversation.");
    } else if choice.is_some() {
        // Beside the answers, which may go to a file.
        eprintln!("({talking})");
    }
    let mut messages: Vec<Message> = options.system.iter().map(|text| message(Role::System, text)).collect();
    if let Some(text) = &options.text {
        messages.push(message(Role::User, text));
        say(&mut mesh, &options, &model, messages).await?;
        return Ok(());
    }
    loop {
        if interactive {
            print!("> ");
            std::io::stdout().flush()?;
        }
        let line = tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().next()).await?.transpose()?;
        let Some(line) = line.filter(|line| !line.trim().is_empty()) else { return Ok(()) };
        messages.push(message(Role::User, &line));
        let answer = say(&mut mesh, &options, &model, messages.clone()).await?;
        messages.push(message(Role::Assistant, &answer));
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

/// Takes the first name of the list: a virtual model where there is one, since that is what a policy gives callers.
/// Returns what to say of the choice, if there was one.
fn choose(names: Vec<String>) -> Result<(String, Option<String>)> {
    // Several versions of a model have one name.
    let count = names.iter().collect::<BTreeSet<_>>().len();
    let model =
        names.into_iter().next().ok_or_else(|| anyhow!("the mesh serves no model that answers yet; see its log"))?;
    let choice = || {
        let (count, program) = (counted(count, "model"), program());
        format!("the first of {count}; --model NAME chooses another, and `{program} models` lists them")
    };
    Ok((model, (count > 1).then(choice)))
}

/// Sends the conversation, prints the answer as it comes, and returns it.
async fn say(mesh: &mut Mesh, options: &ChatOptions, model: &str, messages: Vec<Message>) -> Result<String> {
    let sampling =
        options.temperature.map(|temperature| Sampling { temperature: Some(temperature), ..Sampling::default() });
    let request = GenerateRequest {
        model: model.to_owned(),
        messages,
        sampling,
        limits: options.max_tokens.map(|tokens| Limits { max_output_tokens: Some(tokens) }),
        seed: options.seed,
        ..GenerateRequest::default()
    };
    let request = mesh.request(request)?;
    let broken = |status: tonic::Status| explain(&status, &options.client.address);
    let response = mesh.inference.generate_stream(request).await.map_err(broken)?;
    let trace = response.metadata().get(TRACE_ID).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut frames = response.into_inner();
    let (mut answer, mut out) = (String::new(), std::io::stdout());
    loop {
        let frame = match frames.message().await {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(status) => {
                // What was printed of the answer is on a line of its own, above the error.
                writeln!(out)?;
                let error = broken(status);
                return Err(match trace {
                    Some(trace) => error.context(format!("trace {trace}")),
                    None => error,
                });
            }
        };
        match frame.body {
            Some(Body::Started(started)) if started.static_answer => {
                eprintln!("(no model answers: this is the policy's own text)");
            }
            Some(Body::Delta(delta)) => {
                if let Some(delta::Content::Text(text)) = delta.content {
                    write!(out, "{text}")?;
                    out.flush()?;
                    answer.push_str(&text);
                }
            }
            Some(Body::ChoiceFinished(choice)) if choice.reason() == FinishReason::Length => write!(out, " […]")?,
            _ => {}
        }
    }
    writeln!(out)?;
    if let Some(trace) = trace.filter(|_| std::io::stderr().is_terminal()) {
        eprintln!("trace {trace}");
    }
    Ok(answer)
}

fn message(role: Role, text: &str) -> Message {
    let part = Part { kind: Some(part::Kind::Text(text.to_owned())) };
    Message { role: role.into(), parts: vec![part], ..Message::default() }
}

#[cfg(test)]
mod tests {
    use super::choose;

    fn chosen(names: &[&str]) -> (String, Option<String>) {
        choose(names.iter().map(|name| (*name).to_owned()).collect()).unwrap()
    }

    #[test]
    fn a_choice_is_told_where_there_was_one() {
        assert_eq!(chosen(&["pip"]), ("pip".to_owned(), None));
        assert_eq!(chosen(&["pip", "pip"]), ("pip".to_owned(), None), "two versions");
        let (model, choice) = chosen(&["assistant", "pip", "pip"]);
        let choice = choice.unwrap();
        assert!(model == "assistant" && choice.starts_with("the first of 2 models; --model NAME"), "{choice}");
        assert!(choose(Vec::new()).is_err());
    }
}
