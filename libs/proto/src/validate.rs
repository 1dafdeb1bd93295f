//! The rules that the comments in `generate.proto`, `message.proto`, `embed.proto` and `count_tokens.proto` state.

mod other;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Arguments;
use std::time::Duration;

use tonic_types::FieldViolation;

use crate::inference::v1::response_format::Format;
use crate::inference::v1::tool_choice::{Choice, Mode};
use crate::inference::v1::{
    DataClass, GenerateRequest, JsonSchemaFormat, Limits, Logprobs, Message, Part, Priority, ReasoningEffort,
    ResponseFormat, Role, Sampling, SessionReference, Tool, ToolChoice, image, part,
};
use crate::{LABEL_RULE, SESSION_RULE, Valid, Validate, Violations, is_label, session_id};

impl Validate for GenerateRequest {
    fn validate(&self, v: &mut Violations) {
        check_model(&self.model, v);
        v.require((1..=4096).contains(&self.messages.len()), "messages", "give 1 to 4,096 messages");
        for (index, message) in self.messages.iter().enumerate() {
            check_message(message, format_args!("messages[{index}]"), v);
        }
        check_tools(&self.tools, v);
        if let Some(choice) = &self.tool_choice {
            check_tool_choice(choice, &self.tools, v);
        }
        if let Some(ResponseFormat { format: Some(format) }) = &self.response_format {
            check_format(format, v);
        }
        if let Some(sampling) = &self.sampling {
            check_sampling(sampling, v);
        }
        if let Some(Limits { max_output_tokens: Some(0) }) = self.limits {
            v.add("limits.max_output_tokens", "must be at least 1");
        }
        v.require(self.stop.len() <= 16, "stop", "give at most 16 texts");
        for (index, stop) in self.stop.iter().enumerate() {
            v.require((1..=256).contains(&stop.len()), format_args!("stop[{index}]"), "must have 1 to 256 bytes");
        }
        if let Some(Logprobs { top_count: 21.. }) = self.logprobs {
            v.add("logprobs.top_count", "must be at most 20");
        }
        if let Some(0 | 129..) = self.choice_count {
            v.add("choice_count", "must be 1 to 128");
        }
        v.require(ReasoningEffort::try_from(self.reasoning_effort).is_ok(), "reasoning_effort", UNKNOWN);
        if let Some(SessionReference { session, channel, .. }) = &self.session {
            v.require(session_id(session).is_some(), "session.session", SESSION_RULE);
            v.require(channel.is_empty() || is_label(channel), "session.channel", LABEL_RULE);
            let one = self.choice_count.unwrap_or(1) == 1;
            v.require(one, "choice_count", "must be 1 in a session, which keeps one answer");
        }
        let (labels, end_user, request_id) = (&self.labels, &self.end_user, &self.request_id);
        check_asker(Asker { labels, data_class: self.data_class, priority: self.priority, end_user, request_id }, v);
        v.require(!self.detach || self.session.is_some(), "detach", "needs `session`, which keeps the frames of a run");
        if let Some(window) = &self.resume_window {
            let fits = (0..300).contains(&window.seconds) || (window.seconds, window.nanos) == (300, 0);
            let is_fraction = (0..1_000_000_000).contains(&window.nanos);
            v.require(fits && is_fraction, "resume_window", "must be 0 to 300 s");
        }
    }
}

impl Valid<GenerateRequest> {
    /// Lets the work go on for so long when the connection is lost; at most 5 min.
    pub fn resumable(self, window: Duration) -> Self {
        let window = window.min(Duration::from_secs(300));
        self.change(|request| request.resume_window = window.try_into().ok())
    }

    /// Makes the request a turn of a session, and perhaps a run.
    pub fn of_session(self, session: SessionReference, detach: bool) -> Result<Self, Vec<FieldViolation>> {
        Self::new(GenerateRequest { session: Some(session), detach, ..self.into_inner() })
    }

    /// Puts the messages of its session before its own, and those that are answered with them after: they were checked when
    /// they were stored, or came. Its content is at least as sensitive as theirs.
    pub fn between(self, before: Vec<Message>, after: &[Message], data_class: DataClass) -> Self {
        self.change(|request| {
            request.messages.splice(..0, before);
            request.messages.extend_from_slice(after);
            request.data_class = request.data_class.max(data_class.into());
        })
    }

    /// Gives the request another id. Checks that alone.
    pub fn named(self, request_id: String) -> Result<Self, Vec<FieldViolation>> {
        let mut violations = Violations::default();
        check_request_id(&request_id, &mut violations);
        violations.done(self.change(|request| request.request_id = request_id))
    }
}

fn check_model(model: &str, v: &mut Violations) {
    v.require((1..=256).contains(&model.len()), "model", "name a model in 1 to 256 bytes");
}

/// What every request says of who asks.
struct Asker<'a> {
    labels: &'a BTreeMap<String, String>,
    data_class: i32,
    priority: i32,
    end_user: &'a str,
    request_id: &'a str,
}

fn check_asker(asker: Asker<'_>, v: &mut Violations) {
    v.require(DataClass::try_from(asker.data_class).is_ok(), "data_class", UNKNOWN);
    v.require(Priority::try_from(asker.priority).is_ok(), "priority", UNKNOWN);
    v.require(asker.labels.len() <= 32, "labels", "give at most 32 labels");
    for (key, value) in asker.labels {
        v.require((1..=63).contains(&key.len()), "labels", "keys must have 1 to 63 bytes");
        v.require(value.len() <= 256, "labels", "values must have at most 256 bytes");
    }
    v.require(asker.end_user.len() <= 256, "end_user", "must have at most 256 bytes");
    check_request_id(asker.request_id, v);
}

fn check_request_id(id: &str, v: &mut Violations) {
    let fits = id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic());
    v.require(fits, "request_id", "must have at most 128 visible ASCII characters");
}

const UNKNOWN: &str = "is no value of the enum";

fn check_message(message: &Message, field: Arguments<'_>, v: &mut Violations) {
    if !matches!(Role::try_from(message.role), Ok(role) if role != Role::Unspecified) {
        v.add(format!("{field}.role"), "must be system, developer, user, assistant or tool");
    }
    if message.parts.is_empty() {
        v.add(format!("{field}.parts"), "give at least one part");
    }
    for (index, part) in message.parts.iter().enumerate() {
        check_part(part, format_args!("{field}.parts[{index}]"), v);
    }
    v.require(message.name.len() <= 64, format_args!("{field}.name"), "must have at most 64 bytes");
}

fn check_part(part: &Part, field: Arguments<'_>, v: &mut Violations) {
    match &part.kind {
        None => v.add(field.to_string(), "set one kind of content"),
        Some(part::Kind::Text(text)) => {
            v.require((1..=4 << 20).contains(&text.len()), format_args!("{field}.text"), "must have 1 byte to 4 MiB");
        }
        Some(part::Kind::Image(image)) => {
            let fits = match &image.source {
                Some(image::Source::Data(data)) => (1..=16 << 20).contains(&data.len()),
                Some(image::Source::Uri(uri)) => (1..=8192).contains(&uri.len()),
                None => false,
            };
            v.require(
                fits,
                format_args!("{field}.image.source"),
                "give 1 byte to 16 MiB, or a URI of at most 8,192 bytes",
            );
        }
        Some(part::Kind::ToolCall(call)) => {
            v.require(!call.id.is_empty(), format_args!("{field}.tool_call.id"), "is required");
            v.require(is_name(&call.name), format_args!("{field}.tool_call.name"), NAME_RULE);
        }
        Some(part::Kind::ToolResult(result)) => {
            v.require(!result.tool_call_id.is_empty(), format_args!("{field}.tool_result.tool_call_id"), "is required");
        }
        Some(part::Kind::Reasoning(_)) => {}
        Some(part::Kind::Opaque(opaque)) => {
            v.require(!opaque.origin.is_empty(), format_args!("{field}.opaque.origin"), "is required");
        }
    }
}

const NAME_RULE: &str = "must have 1 to 64 letters, digits, `_` or `-`";

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn check_tools(tools: &[Tool], v: &mut Violations) {
    v.require(tools.len() <= 128, "tools", "give at most 128 tools");
    let mut names = HashSet::new();
    for (index, tool) in tools.iter().enumerate() {
        v.require(is_name(&tool.name), format_args!("tools[{index}].name"), NAME_RULE);
        v.require(names.insert(&tool.name), format_args!("tools[{index}].name"), "another tool has this name");
        v.require(
            tool.description.len() <= 16 << 10,
            format_args!("tools[{index}].description"),
            "must have at most 16 KiB",
        );
    }
}

fn check_tool_choice(choice: &ToolChoice, tools: &[Tool], v: &mut Violations) {
    match &choice.choice {
        Some(Choice::ToolName(name)) => {
            let known = tools.iter().any(|tool| tool.name == *name);
            v.require(known, "tool_choice.tool_name", "names no tool of `tools`");
        }
        Some(Choice::Mode(mode)) => match Mode::try_from(*mode) {
            Ok(Mode::Required) => {
                v.require(!tools.is_empty(), "tool_choice.mode", "requires a tool, but `tools` is empty")
            }
            Ok(_) => {}
            Err(_) => v.add("tool_choice.mode", UNKNOWN),
        },
        None => {}
    }
}

fn check_format(format: &Format, v: &mut Violations) {
    match format {
        Format::Text(_) | Format::JsonObject(_) => {}
        Format::JsonSchema(JsonSchemaFormat { name, json_schema, .. }) => {
            v.require(is_name(name), "response_format.json_schema.name", NAME_RULE);
            let fits = (1..=64 << 10).contains(&json_schema.len());
            v.require(fits, "response_format.json_schema.json_schema", "must have 1 byte to 64 KiB");
        }
        Format::Regex(regex) => {
            v.require((1..=16 << 10).contains(&regex.len()), "response_format.regex", "must have 1 byte to 16 KiB");
        }
        Format::LarkGrammar(grammar) => {
            let fits = (1..=64 << 10).contains(&grammar.len());
            v.require(fits, "response_format.lark_grammar", "must have 1 byte to 64 KiB");
        }
    }
}

fn check_sampling(sampling: &Sampling, v: &mut Violations) {
    // Comparisons with NaN are false, so each of these refuses it too.
    let mut number = |value: Option<f64>, field: &str, kept: fn(f64) -> bool, rule: &str| {
        v.require(value.is_none_or(kept), format_args!("sampling.{field}"), rule);
    };
    number(sampling.temperature, "temperature", |x| (0.0..=2.0).contains(&x), "must be 0 to 2");
    number(sampling.top_p, "top_p", |x| x > 0.0 && x <= 1.0, "must be above 0, to 1");
    number(sampling.min_p, "min_p", |x| (0.0..=1.0).contains(&x), "must be 0 to 1");
    number(sampling.frequency_penalty, "frequency_penalty", |x| (-2.0..=2.0).contains(&x), "must be -2 to 2");
    number(sampling.presence_penalty, "presence_penalty", |x| (-2.0..=2.0).contains(&x), "must be -2 to 2");
    number(sampling.repetition_penalty, "repetition_penalty", |x| x > 0.0 && x <= 2.0, "must be above 0, to 2");
    if sampling.top_k == Some(0) {
        v.add("sampling.top_k", "must be at least 1");
    }
    v.require(sampling.logit_bias.len() <= 1024, "sampling.logit_bias", "give at most 1,024 tokens");
    let biases_fit = sampling.logit_bias.values().all(|bias| (-100.0..=100.0).contains(bias));
    v.require(biases_fit, "sampling.logit_bias", "must be -100 to 100");
}

#[cfg(test)]
mod tests {
    use crate::Valid;
    use crate::inference::v1::{GenerateRequest, Limits, Message, Part, Role, Sampling, part};

    fn request() -> GenerateRequest {
        let part = Part { kind: Some(part::Kind::Text("Hello".to_owned())) };
        let message = Message { role: Role::User.into(), parts: vec![part], ..Message::default() };
        GenerateRequest { model: "pip".to_owned(), messages: vec![message], ..GenerateRequest::default() }
    }

    /// Changes a good request and returns the fields that are refused then.
    fn refused(change: impl FnOnce(&mut GenerateRequest)) -> Vec<String> {
        let mut request = request();
        change(&mut request);
        let violations = Valid::new(request).err().unwrap_or_default();
        violations.into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn a_plain_request_is_good() {
        assert_eq!(refused(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn every_violation_is_named() {
        let found = refused(|request| {
            request.model.clear();
            request.messages[0].role = 17;
            request.messages[0].parts[0].kind = Some(part::Kind::Text(String::new()));
            request.sampling = Some(Sampling { temperature: Some(f64::NAN), top_p: Some(0.0), ..Sampling::default() });
            request.limits = Some(Limits { max_output_tokens: Some(0) });
            request.stop = vec![String::new()];
            request.request_id = "a b".to_owned();
        });
        let want = [
            "model",
            "messages[0].role",
            "messages[0].parts[0].text",
            "sampling.temperature",
            "sampling.top_p",
            "limits.max_output_tokens",
            "stop[0]",
            "request_id",
        ];
        let missing: Vec<&str> = want.into_iter().filter(|field| !found.iter().any(|have| have == field)).collect();
        assert_eq!((missing, found.len()), (vec![], want.len()), "{found:?}");
    }

    #[test]
    fn defaults_and_their_borders_are_good() {
        for sampling in [
            Sampling { temperature: Some(0.0), top_p: Some(1.0), min_p: Some(0.0), ..Sampling::default() },
            Sampling { temperature: Some(2.0), top_k: Some(1), repetition_penalty: Some(1.0), ..Sampling::default() },
        ] {
            assert_eq!(refused(|request| request.sampling = Some(sampling)), Vec::<String>::new());
        }
        assert_eq!(refused(|request| request.choice_count = Some(1)), Vec::<String>::new());
    }

    #[test]
    fn a_window_is_a_duration_of_at_most_five_minutes() {
        for (seconds, nanos, fits) in [
            (0, 0, true),
            (299, 999_999_999, true),
            (300, 0, true),
            (300, 1, false),
            // More than a second is no fraction of one: the JSON mapping has no such duration.
            (299, 1_000_000_000, false),
            (1, -1, false),
            (-1, 0, false),
        ] {
            let found = refused(|request| request.resume_window = Some(prost_types::Duration { seconds, nanos }));
            assert_eq!(found.is_empty(), fits, "{seconds} s {nanos} ns");
        }
    }

    #[test]
    fn the_answer_to_a_bad_request_is_small() {
        let found = refused(|request| request.messages = vec![Message::default(); 4000]);
        assert_eq!(found.len(), crate::Violations::LIMIT);
    }
}
