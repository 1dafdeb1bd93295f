use std::fmt::Display;
use std::sync::Arc;

use indexmap::IndexMap;
use mistralrs::core::TokenizationRequest;
use mistralrs::{Constraint, MessageContent, NormalRequest, Request, RequestMessage, Response, SamplingParams};
use pointsman_engine::EngineError;
use pointsman_proto::inference::v1::{GenerateRequest, Message, Role, part};
use tokio::sync::mpsc;

use crate::sampling::TokenChooser;

type Messages = Vec<IndexMap<String, MessageContent>>;

/// Makes the request that generates an answer into a channel.
pub(crate) fn generation(
    request: &GenerateRequest,
    max_output_tokens: u32,
    chooser: TokenChooser,
    response: mpsc::Sender<Response>,
) -> Result<Request, EngineError> {
    let messages = messages(request)?;
    let sampling_params = SamplingParams {
        // Absent, it gives the most probable token and true probabilities. 0 takes the highest logit without
        // making probabilities of them, which is 2 ms less for each token with a vocabulary of 152,000; for
        // sampled answers it is enough, where the chooser leaves a single token.
        temperature: chooser.samples().then_some(0.0),
        top_k: Some(1),
        max_len: usize::try_from(max_output_tokens).ok(),
        ..SamplingParams::neutral()
    };
    Ok(Request::Normal(Box::new(NormalRequest {
        messages: RequestMessage::Chat { messages, enable_thinking: None, reasoning_effort: None },
        sampling_params,
        logits_processors: Some(vec![Arc::new(chooser)]),
        response,
        // Always: when a receiver of a whole answer is dropped, mistral.rs panics.
        is_streaming: true,
        id: 0,
        model_id: None,
        return_logprobs: false,
        return_raw_logits: false,
        constraint: Constraint::None,
        suffix: None,
        tools: None,
        tool_choice: None,
        web_search_options: None,
        truncate_sequence: false,
    })))
}

/// Makes the request that turns the same messages into the same prompt, and no more.
pub(crate) fn tokenization(
    request: &GenerateRequest,
    response: mpsc::Sender<anyhow::Result<Vec<u32>>>,
) -> Result<Request, EngineError> {
    let messages = messages(request)?;
    Ok(Request::Tokenize(TokenizationRequest {
        // An `Either`, whose crate is not among our dependencies: any other of its kind can be changed into it.
        text: MessageContent::Left(String::new()).map_left(|_| messages).map_right(|_| String::new()),
        tools: None,
        add_generation_prompt: true,
        add_special_tokens: true,
        enable_thinking: None,
        reasoning_effort: None,
        response,
    }))
}

/// Returns the first line of an error, for a caller: what follows it is a backtrace.
pub(crate) fn first_line(error: &impl Display) -> String {
    error.to_string().lines().next().unwrap_or_default().chars().take(300).collect()
}

fn messages(request: &GenerateRequest) -> Result<Messages, EngineError> {
    if request.messages.is_empty() {
        return Err(invalid("messages", "give at least one"));
    }
    request.messages.iter().enumerate().map(|(index, message)| template_message(index, message)).collect()
}

fn template_message(index: usize, message: &Message) -> Result<IndexMap<String, MessageContent>, EngineError> {
    let role = match message.role() {
        Role::System | Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool | Role::Unspecified => {
            return Err(invalid(&format!("messages[{index}].role"), "must be system, developer, user or assistant"));
        }
    };
    let mut content = String::new();
    for (number, part) in message.parts.iter().enumerate() {
        match &part.kind {
            Some(part::Kind::Text(text)) => content.push_str(text),
            _ => return Err(invalid(&format!("messages[{index}].parts[{number}]"), "must be text for this model")),
        }
    }
    let text = |text: &str| MessageContent::Left(text.to_owned());
    let mut fields = IndexMap::from([("role".to_owned(), text(role)), ("content".to_owned(), text(&content))]);
    if !message.name.is_empty() {
        fields.insert("name".to_owned(), text(&message.name));
    }
    Ok(fields)
}

fn invalid(field: &str, what_to_do: &str) -> EngineError {
    EngineError::InvalidRequest { message: format!("{field}: {what_to_do}") }
}

#[cfg(test)]
mod tests {
    use pointsman_engine::EngineError;
    use pointsman_proto::inference::v1::{GenerateRequest, Message, Part, Role, ToolResult, part};

    use super::{first_line, messages};

    fn request(role: Role, kinds: &[part::Kind]) -> GenerateRequest {
        let parts = kinds.iter().map(|kind| Part { kind: Some(kind.clone()) }).collect();
        GenerateRequest {
            messages: vec![Message { role: role.into(), parts, ..Message::default() }],
            ..GenerateRequest::default()
        }
    }

    fn text(text: &str) -> part::Kind {
        part::Kind::Text(text.to_owned())
    }

    #[test]
    fn roles_and_texts_are_what_a_template_knows() {
        for (role, want) in [
            (Role::System, "system"),
            (Role::Developer, "system"),
            (Role::User, "user"),
            (Role::Assistant, "assistant"),
        ] {
            let messages = messages(&request(role, &[text("Hel"), text("lo")])).unwrap();
            let field = |name: &str| messages[0][name].as_ref().left().cloned();
            assert_eq!((field("role"), field("content")), (Some(want.to_owned()), Some("Hello".to_owned())));
            assert!(!messages[0].contains_key("name"));
        }
    }

    #[test]
    fn the_speakers_name_is_passed_on() {
        let mut request = request(Role::User, &[text("Hi")]);
        request.messages[0].name = "Maria".to_owned();
        assert_eq!(messages(&request).unwrap()[0]["name"].as_ref().left().map(String::as_str), Some("Maria"));
    }

    #[test]
    fn what_a_template_does_not_know_is_refused_by_name() {
        let result = part::Kind::ToolResult(ToolResult::default());
        for (request, field) in [
            (GenerateRequest::default(), "messages"),
            (request(Role::Unspecified, &[text("Hi")]), "messages[0].role"),
            (request(Role::Tool, std::slice::from_ref(&result)), "messages[0].role"),
            (request(Role::User, &[text("Hi"), result]), "messages[0].parts[1]"),
        ] {
            let Err(EngineError::InvalidRequest { message }) = messages(&request) else { panic!("{field}") };
            assert!(message.starts_with(&format!("{field}:")), "{message}");
        }
    }

    #[test]
    fn backtraces_stay_behind() {
        assert_eq!(first_line(&"bad\n   0: std::backtrace"), "bad");
        assert_eq!(first_line(&""), "");
        assert_eq!(first_line(&"ä".repeat(400)).chars().count(), 300);
    }
}
