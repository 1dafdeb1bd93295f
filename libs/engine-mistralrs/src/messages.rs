//! The messages of a request, as a chat template gets them.

use std::collections::HashMap;

use indexmap::IndexMap;
use mistralrs::MessageContent;
use pointsman_engine::EngineError;
use pointsman_proto::inference::v1::{GenerateRequest, Image, Message, Part, Role, ToolCall, ToolResult, part};
use serde_json::{Value, json};

use crate::pictures::{Picture, Place};
use crate::request::invalid;
use crate::template::Template;

/// What a chat template gets.
pub(crate) type Messages = Vec<IndexMap<String, MessageContent>>;

/// Messages, and the pictures that they show, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conversation {
    pub(crate) messages: Messages,
    pub(crate) pictures: Vec<Picture>,
}

/// Makes what the model's chat template gets of a request's messages. `sees`: whether the model takes pictures.
pub(crate) fn conversation(
    request: &GenerateRequest,
    template: &Template,
    sees: bool,
) -> Result<Conversation, EngineError> {
    if request.messages.is_empty() {
        return Err(invalid("messages", "give at least one"));
    }
    let mut writer = Writer { template, sees, called: HashMap::new(), messages: Vec::new(), pictures: Vec::new() };
    for (index, message) in request.messages.iter().enumerate() {
        writer.write(index, message)?;
    }
    Ok(Conversation { messages: writer.messages, pictures: writer.pictures })
}

struct Writer<'a> {
    template: &'a Template,
    sees: bool,
    /// Which tool each call was made to, by the call's id.
    called: HashMap<&'a str, &'a str>,
    messages: Messages,
    pictures: Vec<Picture>,
}

/// What one message says.
#[derive(Default)]
struct Saying {
    text: String,
    /// Texts and pictures one by one, where there are pictures.
    shown: Vec<IndexMap<String, Value>>,
    thought: String,
    calls: Vec<IndexMap<String, Value>>,
}

impl<'a> Writer<'a> {
    fn write(&mut self, index: usize, message: &'a Message) -> Result<(), EngineError> {
        let role = match message.role() {
            Role::System | Role::Developer => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool if self.template.knows_tools() => return self.results(index, message),
            Role::Tool | Role::Unspecified => {
                return Err(invalid(&format!("messages[{index}].role"), "must be one that this model knows"));
            }
        };
        let mut saying = Saying::default();
        for (number, part) in message.parts.iter().enumerate() {
            self.say(part, role, &format!("messages[{index}].parts[{number}]"), &mut saying)?;
        }
        let shows = saying.shown.iter().any(|part| part.contains_key("image"));
        let content = if shows { MessageContent::Right(saying.shown) } else { text(&saying.text) };
        let mut fields = IndexMap::from([("role".to_owned(), text(role)), ("content".to_owned(), content)]);
        for (key, value) in [("name", &message.name), ("reasoning_content", &saying.thought)] {
            if !value.is_empty() {
                fields.insert(key.to_owned(), text(value));
            }
        }
        if !saying.calls.is_empty() {
            fields.insert("tool_calls".to_owned(), MessageContent::Right(saying.calls));
        }
        self.messages.push(fields);
        Ok(())
    }

    fn say(&mut self, part: &'a Part, role: &str, field: &str, saying: &mut Saying) -> Result<(), EngineError> {
        let is_answer = role == "assistant";
        match &part.kind {
            Some(part::Kind::Text(said)) => {
                saying.text.push_str(said);
                saying
                    .shown
                    .push(IndexMap::from([("type".to_owned(), json!("text")), ("text".to_owned(), json!(said))]));
            }
            Some(part::Kind::Image(image)) if self.sees && role == "user" => {
                saying.shown.push(self.show(image, field)?);
            }
            Some(part::Kind::Image(_)) if self.sees => {
                return Err(invalid(field, "a picture stands in a message of the user only"));
            }
            Some(part::Kind::ToolCall(call)) if is_answer && self.template.knows_tools() => {
                self.called.insert(&call.id, &call.name);
                saying.calls.push(self.call(call));
            }
            Some(part::Kind::Reasoning(thought)) if is_answer && self.template.takes_thoughts() => {
                saying.thought.push_str(&thought.text);
            }
            Some(part::Kind::Reasoning(_)) if is_answer => {
                return Err(invalid(field, "leave thoughts out: this model's chat template has no place for them"));
            }
            _ => return Err(invalid(field, "must be text for this model")),
        }
        Ok(())
    }

    /// A template writes a mark for each picture, in which it looks at the type, or whether there is an `image`.
    fn show(&mut self, image: &Image, field: &str) -> Result<IndexMap<String, Value>, EngineError> {
        let number = self.pictures.len() + 1;
        self.pictures.push(Picture::read(image, Place { field: format!("{field}.image"), number })?);
        Ok(IndexMap::from([("type".to_owned(), json!("image")), ("image".to_owned(), json!(number.to_string()))]))
    }

    fn call(&self, call: &ToolCall) -> IndexMap<String, Value> {
        let arguments = match call.arguments_json.as_str() {
            "" => json!({}),
            written if self.template.takes_arguments_as_text() => json!(written),
            written => serde_json::from_str(written).unwrap_or_else(|_| json!(written)),
        };
        IndexMap::from([
            ("id".to_owned(), json!(call.id)),
            ("type".to_owned(), json!("function")),
            ("function".to_owned(), json!({ "name": call.name, "arguments": arguments })),
        ])
    }

    /// Writes a message for each result.
    fn results(&mut self, index: usize, message: &Message) -> Result<(), EngineError> {
        for (number, part) in message.parts.iter().enumerate() {
            let Some(part::Kind::ToolResult(result)) = &part.kind else {
                return Err(invalid(&format!("messages[{index}].parts[{number}]"), "must be the result of a tool"));
            };
            self.result(result);
        }
        Ok(())
    }

    fn result(&mut self, result: &ToolResult) {
        let content = if result.failed { format!("Error: {}", result.text) } else { result.text.clone() };
        let mut fields = IndexMap::from([
            ("role".to_owned(), text("tool")),
            ("content".to_owned(), text(&content)),
            ("tool_call_id".to_owned(), text(&result.tool_call_id)),
        ]);
        if let Some(name) = self.called.get(result.tool_call_id.as_str()) {
            fields.insert("name".to_owned(), text(name));
        }
        self.messages.push(fields);
    }
}

fn text(text: &str) -> MessageContent {
    MessageContent::Left(text.to_owned())
}

#[cfg(test)]
mod tests {
    use pointsman_engine::EngineError;
    use pointsman_proto::inference::v1::part::Kind;
    use pointsman_proto::inference::v1::{GenerateRequest, Message, Part, Role, ToolCall, ToolResult};
    use serde_json::{Value, json};

    use super::{Conversation, conversation};
    use crate::template::Template;

    const PLAIN: &str = "{{ messages }}";
    const TOOLS: &str = "{{ tools }}<tool_call>";

    fn message(role: Role, kinds: &[Kind]) -> Message {
        let parts = kinds.iter().map(|kind| Part { kind: Some(kind.clone()) }).collect();
        Message { role: role.into(), parts, ..Message::default() }
    }

    fn text(text: &str) -> Kind {
        Kind::Text(text.to_owned())
    }

    fn call(id: &str, arguments: &str) -> Kind {
        Kind::ToolCall(ToolCall { id: id.to_owned(), name: "now".to_owned(), arguments_json: arguments.to_owned() })
    }

    fn result(id: &str, text: &str, failed: bool) -> Kind {
        Kind::ToolResult(ToolResult { tool_call_id: id.to_owned(), text: text.to_owned(), failed })
    }

    /// The messages as JSON.
    fn written(template: &str, messages_of: Vec<Message>) -> Result<Vec<Value>, EngineError> {
        let request = GenerateRequest { messages: messages_of, ..GenerateRequest::default() };
        let Conversation { messages, .. } = conversation(&request, &Template::from(template), false)?;
        let field =
            |content: &mistralrs::MessageContent| content.as_ref().either(|text| json!(text), |items| json!(items));
        Ok(messages
            .iter()
            .map(|fields| fields.iter().map(|(key, value)| (key.clone(), field(value))).collect())
            .collect())
    }

    #[test]
    fn roles_and_texts_are_what_a_template_knows() {
        for (role, want) in [
            (Role::System, "system"),
            (Role::Developer, "system"),
            (Role::User, "user"),
            (Role::Assistant, "assistant"),
        ] {
            let written = written(PLAIN, vec![message(role, &[text("Hel"), text("lo")])]).unwrap();
            assert_eq!(written, [json!({ "role": want, "content": "Hello" })]);
        }
        let maria = Message { name: "Maria".to_owned(), ..message(Role::User, &[text("Hi")]) };
        assert_eq!(written(PLAIN, vec![maria]).unwrap()[0]["name"], "Maria");
    }

    #[test]
    fn calls_and_their_results_are_what_a_template_knows() {
        let conversation = vec![
            message(Role::Assistant, &[text("Well."), call("a", r#"{"x": 1}"#), call("b", "")]),
            message(Role::Tool, &[result("b", "noon", false), result("z", "broken", true)]),
        ];
        let calls = |first: Value| {
            json!({ "role": "assistant", "content": "Well.", "tool_calls": [
                { "id": "a", "type": "function", "function": { "name": "now", "arguments": first } },
                { "id": "b", "type": "function", "function": { "name": "now", "arguments": {} } },
            ]})
        };
        let results = [
            json!({ "role": "tool", "content": "noon", "tool_call_id": "b", "name": "now" }),
            json!({ "role": "tool", "content": "Error: broken", "tool_call_id": "z" }),
        ];
        let told = written(TOOLS, conversation.clone()).unwrap();
        assert_eq!(told, [&[calls(json!({ "x": 1 }))], results.as_slice()].concat());
        // As the model wrote it, where the template takes that.
        let told = written(&format!("{TOOLS} arguments is string"), conversation).unwrap();
        assert_eq!(told[0], calls(json!(r#"{"x": 1}"#)));
    }

    #[test]
    fn what_a_template_does_not_know_is_refused_by_name() {
        for (template, messages, field) in [
            (TOOLS, vec![], "messages"),
            (TOOLS, vec![message(Role::Unspecified, &[text("Hi")])], "messages[0].role"),
            (PLAIN, vec![message(Role::Tool, &[result("a", "", false)])], "messages[0].role"),
            (PLAIN, vec![message(Role::Assistant, &[call("a", "{}")])], "messages[0].parts[0]"),
            (TOOLS, vec![message(Role::User, &[text("Hi"), result("a", "", false)])], "messages[0].parts[1]"),
            (TOOLS, vec![message(Role::User, &[call("a", "{}")])], "messages[0].parts[0]"),
            (TOOLS, vec![message(Role::Tool, &[text("Hi")])], "messages[0].parts[0]"),
        ] {
            let refused = written(template, messages).unwrap_err();
            assert!(matches!(&refused, EngineError::InvalidField { field: named, .. } if named == field), "{refused}");
        }
    }
}
