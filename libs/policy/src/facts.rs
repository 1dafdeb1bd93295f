//! What a policy can know about a request.

mod asked;
mod words;

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::RangeInclusive;

use pointsman_proto::inference::v1::{EmbedRequest, GenerateRequest, TargetDescription, part};
use tonic_types::FieldViolation;

use asked::Asked;
pub use asked::estimate_tokens;
use words::{data_class, priority, reasoning_effort, response_format};

/// What a condition can read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "`Fact::name` and docs/reference/policy.md say what each one is")]
pub enum Fact {
    Tenant,
    Key,
    Model,
    Session,
    EndUser,
    DataClass,
    Priority,
    ResponseFormat,
    ReasoningEffort,
    Messages,
    Tools,
    Images,
    Choices,
    MaxOutputTokens,
    EstimatedPromptTokens,
    /// One of the caller's labels, by name.
    Label(Box<str>),
}

/// What the values of a fact are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// A whole number from 0.
    Number,
}

impl Fact {
    /// Every fact but the labels, whose names are the caller's.
    pub const NAMED: [Fact; 15] = [
        Fact::Tenant,
        Fact::Key,
        Fact::Model,
        Fact::Session,
        Fact::EndUser,
        Fact::DataClass,
        Fact::Priority,
        Fact::ResponseFormat,
        Fact::ReasoningEffort,
        Fact::Messages,
        Fact::Tools,
        Fact::Images,
        Fact::Choices,
        Fact::MaxOutputTokens,
        Fact::EstimatedPromptTokens,
    ];

    /// Returns what the values of the fact are.
    pub fn kind(&self) -> Kind {
        match self {
            Fact::Messages
            | Fact::Tools
            | Fact::Images
            | Fact::Choices
            | Fact::MaxOutputTokens
            | Fact::EstimatedPromptTokens => Kind::Number,
            _ => Kind::Text,
        }
    }

    /// Returns the name that a condition calls the fact by.
    pub fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Fact::Tenant => "caller.tenant",
            Fact::Key => "caller.key",
            Fact::Model => "request.model",
            Fact::Session => "request.session",
            Fact::EndUser => "request.end_user",
            Fact::DataClass => "request.data_class",
            Fact::Priority => "request.priority",
            Fact::ResponseFormat => "request.response_format",
            Fact::ReasoningEffort => "request.reasoning_effort",
            Fact::Messages => "request.messages",
            Fact::Tools => "request.tools",
            Fact::Images => "request.images",
            Fact::Choices => "request.choices",
            Fact::MaxOutputTokens => "request.max_output_tokens",
            Fact::EstimatedPromptTokens => "request.estimated_prompt_tokens",
            // JSON's escapes are all CEL's too; Rust's are not.
            Fact::Label(name) => return Cow::Owned(format!("labels[{}]", serde_json::Value::from(&**name))),
        })
    }

    /// Returns every value that the fact can have; `None` if callers choose it freely.
    ///
    /// A priority that is not specified reads as `default`, which the contract calls the same.
    pub fn values(&self) -> Option<&'static [&'static str]> {
        match self {
            Fact::DataClass => Some(&["unspecified", "public", "internal", "confidential", "restricted"]),
            Fact::Priority => Some(&["bulk", "default", "interactive", "system"]),
            Fact::ResponseFormat => Some(&["text", "json_object", "json_schema", "regex", "lark_grammar"]),
            Fact::ReasoningEffort => Some(&["unspecified", "none", "minimal", "low", "medium", "high"]),
            _ => None,
        }
    }

    /// Returns the least and the most that a fact of kind number can be: what is outside is refused before a
    /// policy is asked. A request to embed has no messages.
    pub fn bounds(&self) -> RangeInclusive<u64> {
        match self {
            Fact::Messages => 0..=4096,
            Fact::Choices => 1..=128,
            Fact::MaxOutputTokens => 0..=u64::from(u32::MAX),
            _ => 0..=u64::MAX,
        }
    }

    /// Says what the bounds are, where there are any.
    pub(crate) fn bounds_in_words(&self) -> Option<String> {
        let bounds = self.bounds();
        (bounds != (0..=u64::MAX)).then(|| format!("`{}` is {} to {}", self.name(), bounds.start(), bounds.end()))
    }

    // Labels have none.
    fn bit(&self) -> u32 {
        Self::NAMED.iter().position(|fact| fact == self).map_or(0, |index| 1 << index)
    }
}

/// The facts of one request. Each is found when it is read, without allocating; those that walk the
/// messages are found once.
#[derive(Debug)]
pub struct Facts<'a> {
    asked: Asked<'a>,
    tenant: &'a str,
    key: &'a str,
    images: Cell<Option<u64>>,
    prompt_tokens: Cell<Option<u64>>,
    read: Cell<u32>,
}

impl<'a> Facts<'a> {
    /// Makes the facts of a request that this tenant sends with the key of this id.
    pub fn new(request: &'a GenerateRequest, tenant: &'a str, key: &'a str) -> Self {
        Self::of(Asked::Generate(request), tenant, key)
    }

    /// The same of a request to embed. It has no messages, tools, images and so on.
    pub fn embedding(request: &'a EmbedRequest, tenant: &'a str, key: &'a str) -> Self {
        Self::of(Asked::Embed(request), tenant, key)
    }

    fn of(asked: Asked<'a>, tenant: &'a str, key: &'a str) -> Self {
        Self { asked, tenant, key, images: Cell::new(None), prompt_tokens: Cell::new(None), read: Cell::new(0) }
    }

    /// Returns a fact of kind text. What the caller left out, a label too, is the empty text, and so is a
    /// number.
    pub fn text(&self, fact: &Fact) -> &'a str {
        self.mark(fact);
        self.find_text(fact)
    }

    /// Returns a fact of kind number. A text is 0, and so are `max_output_tokens` that the caller left out.
    pub fn number(&self, fact: &Fact) -> u64 {
        self.mark(fact);
        self.find_number(fact)
    }

    /// Returns whether the caller gave a label of this name, even an empty one.
    pub fn has_label(&self, name: &str) -> bool {
        self.asked.labels().contains_key(name)
    }

    /// Returns the model as the caller named it.
    pub fn model(&self) -> &'a str {
        self.asked.model()
    }

    /// Returns what the request needs of a target, as bits.
    pub(crate) fn needed(&self) -> u64 {
        self.asked.needed()
    }

    /// Returns a violation for each field that needs more than this target can do.
    pub(crate) fn lacking(&self, target: &TargetDescription) -> Vec<FieldViolation> {
        self.asked.lacking(target)
    }

    /// Returns who is billed and isolated.
    pub fn tenant(&self) -> &'a str {
        self.tenant
    }

    /// Returns the facts that were read so far and their values, for the record of a decision. Labels are
    /// not among them. `Fact::EndUser` may be: it names a person and must not reach telemetry.
    pub fn read(&self) -> Vec<(Fact, Cow<'a, str>)> {
        let read = Fact::NAMED.into_iter().filter(|fact| self.read.get() & fact.bit() != 0);
        read.map(|fact| {
            let value = match fact.kind() {
                Kind::Text => Cow::Borrowed(self.find_text(&fact)),
                Kind::Number => Cow::Owned(self.find_number(&fact).to_string()),
            };
            (fact, value)
        })
        .collect()
    }

    fn mark(&self, fact: &Fact) {
        self.read.set(self.read.get() | fact.bit());
    }

    fn find_text(&self, fact: &Fact) -> &'a str {
        let (asked, request) = (self.asked, self.asked.generation());
        match fact {
            Fact::Tenant => self.tenant,
            Fact::Key => self.key,
            Fact::Model => asked.model(),
            Fact::Session => request.session.as_ref().map_or("", |reference| &reference.session),
            Fact::EndUser => asked.end_user(),
            Fact::DataClass => data_class(asked.data_class()),
            Fact::Priority => priority(asked.priority()),
            Fact::ResponseFormat => response_format(request.response_format.as_ref()),
            Fact::ReasoningEffort => reasoning_effort(request.reasoning_effort()),
            Fact::Label(name) => asked.labels().get(&**name).map_or("", String::as_str),
            _ => "",
        }
    }

    fn find_number(&self, fact: &Fact) -> u64 {
        let request = self.asked.generation();
        match fact {
            Fact::Messages => request.messages.len() as u64,
            Fact::Tools => request.tools.len() as u64,
            Fact::Images => once(&self.images, || count_images(request)),
            Fact::Choices => u64::from(request.choice_count.unwrap_or(1)),
            Fact::MaxOutputTokens => {
                u64::from(request.limits.and_then(|limits| limits.max_output_tokens).unwrap_or_default())
            }
            Fact::EstimatedPromptTokens => once(&self.prompt_tokens, || self.asked.estimate_prompt_tokens()),
            _ => 0,
        }
    }
}

fn once(cell: &Cell<Option<u64>>, find: impl FnOnce() -> u64) -> u64 {
    let value = cell.get().unwrap_or_else(find);
    cell.set(Some(value));
    value
}

fn parts(request: &GenerateRequest) -> impl Iterator<Item = &part::Kind> {
    request.messages.iter().flat_map(|message| &message.parts).filter_map(|part| part.kind.as_ref())
}

fn count_images(request: &GenerateRequest) -> u64 {
    parts(request).filter(|kind| matches!(kind, part::Kind::Image(_))).count() as u64
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use pointsman_proto::inference::v1::{
        DataClass, EmbedRequest, GenerateRequest, Image, JsonObjectFormat, Limits, Message, Part, Priority,
        ReasoningEffort, ResponseFormat, SessionReference, Tool, ToolCall, ToolResult, part, response_format::Format,
    };

    use super::{Fact, Facts, Kind};
    use crate::condition::compile_fact;

    fn message(kinds: impl IntoIterator<Item = part::Kind>) -> Message {
        Message { parts: kinds.into_iter().map(|kind| Part { kind: Some(kind) }).collect(), ..Message::default() }
    }

    fn full() -> GenerateRequest {
        GenerateRequest {
            model: "pip".into(),
            messages: vec![
                message([part::Kind::Text("12345".into()), part::Kind::Image(Image::default())]),
                message([
                    part::Kind::ToolCall(ToolCall { arguments_json: "{}".into(), ..ToolCall::default() }),
                    part::Kind::ToolResult(ToolResult { text: "123".into(), ..ToolResult::default() }),
                ]),
            ],
            tools: vec![Tool {
                description: "adds".into(),
                parameters_json_schema: "{\"a\":1}".into(),
                ..Tool::default()
            }],
            response_format: Some(ResponseFormat { format: Some(Format::JsonObject(JsonObjectFormat {})) }),
            limits: Some(Limits { max_output_tokens: Some(64) }),
            choice_count: Some(2),
            reasoning_effort: ReasoningEffort::Low.into(),
            session: Some(SessionReference {
                session: "sessions/s1".into(),
                expected_revision: None,
                ..SessionReference::default()
            }),
            labels: [("team".into(), "search".into()), ("empty".into(), String::new())].into(),
            data_class: DataClass::Restricted.into(),
            priority: Priority::Interactive.into(),
            end_user: "ada".into(),
            ..GenerateRequest::default()
        }
    }

    fn check(request: &GenerateRequest, expected: [&str; 15]) {
        let facts = Facts::new(request, "acme", "k1");
        for (fact, expected) in Fact::NAMED.iter().zip(expected) {
            let value = match fact.kind() {
                Kind::Text => Cow::Borrowed(facts.text(fact)),
                Kind::Number => Cow::Owned(facts.number(fact).to_string()),
            };
            assert_eq!(value, expected, "{}", fact.name());
            assert!(fact.values().is_none_or(|values| values.contains(&expected)), "{}", fact.name());
        }
    }

    #[test]
    fn a_name_is_read_again_as_the_same_fact() {
        let labels = ["team", "t_e\0m", "e\u{301}", "\u{1b}\u{7f}", "a\"b\\'c", "\n"];
        let texts = Fact::NAMED.into_iter().filter(|fact| fact.kind() == Kind::Text);
        for fact in texts.chain(labels.map(|label| Fact::Label(label.into()))) {
            assert_eq!(compile_fact(&fact.name()), Ok(fact));
        }
    }

    #[test]
    fn facts_are_those_of_the_request() {
        // 5 + 2 + 3 bytes said and 4 + 7 offered: 21 bytes, 6 tokens.
        check(
            &full(),
            [
                "acme",
                "k1",
                "pip",
                "sessions/s1",
                "ada",
                "restricted",
                "interactive",
                "json_object",
                "low",
                "2",
                "1",
                "1",
                "2",
                "64",
                "6",
            ],
        );
        check(
            &GenerateRequest::default(),
            ["acme", "k1", "", "", "", "unspecified", "default", "text", "unspecified", "0", "0", "0", "1", "0", "0"],
        );
    }

    #[test]
    fn a_missing_label_is_empty_text_and_differs_from_an_empty_one() {
        let request = full();
        let facts = Facts::new(&request, "acme", "k1");
        for (name, value, given) in [("team", "search", true), ("empty", "", true), ("absent", "", false)] {
            assert_eq!((facts.text(&Fact::Label(name.into())), facts.has_label(name)), (value, given), "{name}");
        }
        assert_eq!(Fact::Label("a\"b".into()).name(), r#"labels["a\"b"]"#);
    }

    #[test]
    fn an_embedding_has_the_facts_that_it_has() {
        let request = EmbedRequest {
            model: "e5".into(),
            inputs: vec!["12345".into(), "678".into()],
            labels: [("team".into(), "search".into())].into(),
            data_class: DataClass::Internal.into(),
            priority: Priority::Bulk.into(),
            end_user: "ada".into(),
            ..EmbedRequest::default()
        };
        let facts = Facts::embedding(&request, "acme", "k1");
        let texts = [
            (Fact::Model, "e5"),
            (Fact::DataClass, "internal"),
            (Fact::Priority, "bulk"),
            (Fact::EndUser, "ada"),
            (Fact::Label("team".into()), "search"),
            (Fact::ResponseFormat, "text"),
            (Fact::Session, ""),
        ];
        for (fact, expected) in texts {
            assert_eq!(facts.text(&fact), expected, "{}", fact.name());
        }
        for (fact, expected) in [(Fact::EstimatedPromptTokens, 2), (Fact::Messages, 0), (Fact::Choices, 1)] {
            assert_eq!(facts.number(&fact), expected, "{}", fact.name());
        }
        assert!(facts.has_label("team") && !facts.has_label("other"));
    }

    #[test]
    fn facts_are_found_only_when_they_are_read() {
        let request = full();
        let facts = Facts::new(&request, "acme", "k1");
        assert_eq!((facts.read(), facts.images.get(), facts.prompt_tokens.get()), (vec![], None, None));
        facts.number(&Fact::Images);
        facts.text(&Fact::Tenant);
        facts.text(&Fact::Label("team".into()));
        assert_eq!((facts.images.get(), facts.prompt_tokens.get()), (Some(1), None));
        assert_eq!(facts.read(), [(Fact::Tenant, "acme".into()), (Fact::Images, "1".into())]);
    }
}
