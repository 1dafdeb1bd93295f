//! What is asked: a prompt in each line.

use std::path::Path;

use anyhow::{Context, Result};
use pointsman_proto::inference::v1::{Message, Part, Role, part};
use pointsman_server::ConfigError;
use serde::{Deserialize, Serialize};

/// Asked where nobody says what.
const OWN: [&str; 6] = [
    "Hello, who are you?",
    "Count from 1 to 10.",
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "Explain in two sentences why the sky is blue.",
    "List three uses of a paper clip.",
];

/// A conversation that waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Prompt {
    messages: Vec<Said>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Said {
    role: Speaker,
    content: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Speaker {
    System,
    User,
    Assistant,
}

impl Prompt {
    fn user(text: &str) -> Self {
        Self { messages: vec![Said { role: Speaker::User, content: text.to_owned() }] }
    }

    /// Returns it as the contract has it.
    pub(super) fn messages(&self) -> Vec<Message> {
        let message = |said: &Said| {
            let role = match said.role {
                Speaker::System => Role::System,
                Speaker::User => Role::User,
                Speaker::Assistant => Role::Assistant,
            };
            let part = Part { kind: Some(part::Kind::Text(said.content.clone())) };
            Message { role: role.into(), parts: vec![part], ..Message::default() }
        };
        self.messages.iter().map(message).collect()
    }
}

/// Reads a file, or takes our own.
pub(super) fn read(file: Option<&Path>) -> Result<Vec<Prompt>> {
    let Some(file) = file else { return Ok(OWN.map(Prompt::user).to_vec()) };
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("{name} cannot be read"))?;
    let (prompts, problems) = parse(&text);
    let mut problems: Vec<String> =
        problems.into_iter().map(|problem| format!("--prompts: {name}: {problem}")).collect();
    if prompts.is_empty() && problems.is_empty() {
        problems.push(format!("--prompts: {name}: has no prompt; write one in each line"));
    }
    if problems.is_empty() { Ok(prompts) } else { Err(ConfigError::Invalid(problems).into()) }
}

/// A line is what a user says, or a conversation as JSON.
fn parse(text: &str) -> (Vec<Prompt>, Vec<String>) {
    let (mut prompts, mut problems) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        if !line.starts_with('{') {
            prompts.push(Prompt::user(line));
            continue;
        }
        match serde_json::from_str(line) {
            Ok(Prompt { messages }) if messages.is_empty() => {
                problems.push(format!("line {number}: `messages` is empty"));
            }
            Ok(prompt) => prompts.push(prompt),
            Err(error) => problems.push(format!(
                "line {number}: {error}; write text, or {{\"messages\": [{{\"role\": \"user\", \"content\": \"…\"}}]}}"
            )),
        }
    }
    (prompts, problems)
}

#[cfg(test)]
mod tests {
    use super::{Prompt, parse};

    #[test]
    fn a_line_is_a_text_or_a_conversation() {
        let text = "Hello\n\n{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"Hi\"}]}\n";
        let (prompts, problems) = parse(text);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(prompts[0], Prompt::user("Hello"));
        assert_eq!((prompts.len(), prompts[1].messages().len()), (2, 2));
    }

    #[test]
    fn every_wrong_line_is_told() {
        let (prompts, problems) = parse("{\"messages\":[]}\nfine\n{\"prompt\":\"x\"}\n{\n");
        assert_eq!(prompts.len(), 1);
        let places: Vec<&str> = problems.iter().filter_map(|problem| problem.split(':').next()).collect();
        assert_eq!(places, ["line 1", "line 3", "line 4"], "{problems:?}");
    }
}
