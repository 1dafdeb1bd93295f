//! `pointsman chat`

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Result, anyhow};
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{
    DescribeRequest, FinishReason, GenerateRequest, Limits, Message, Part, Role, Sampling, delta, part,
};
use pointsman_proto::metadata::TRACE_ID;
use pointsman_types::TargetName;

use crate::arguments::ChatOptions;
use crate::client::{Mesh, explain};

pub(crate) async fn run(options: ChatOptions) -> Result<()> {
    let mut mesh = Mesh::new(&options.client)?;
    let model = match &options.model {
        Some(model) => model.clone(),
        None => first_model(&mut mesh, &options).await?,
    };
    let mut messages: Vec<Message> = options.system.iter().map(|text| message(Role::System, text)).collect();
    if let Some(text) = &options.text {
        messages.push(message(Role::User, text));
        say(&mut mesh, &options, &model, messages).await?;
        return Ok(());
    }
    let interactive = std::io::stdin().is_terminal();
    if interactive {
        println!("Talking to {model}. An empty line or Ctrl-D ends the conversation.");
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

async fn first_model(mesh: &mut Mesh, options: &ChatOptions) -> Result<String> {
    let request = mesh.request(DescribeRequest {})?;
    let described =
        mesh.inference.describe(request).await.map_err(|status| explain(&status, &options.client.address))?;
    let first = described.into_inner().targets.into_iter().next();
    let target = first.ok_or_else(|| anyhow!("the mesh serves no model yet; see its log"))?.target;
    Ok(target.parse::<TargetName>().map(|name| name.model().to_owned()).unwrap_or(target))
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
