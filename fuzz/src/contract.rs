//! Requests as protobuf.

use std::fmt::Debug;
use std::time::Duration;

use pointsman_policy::Facts;
use pointsman_proto::inference::v1::{CountTokensRequest, EmbedRequest, GenerateRequest, TargetDescription};
use pointsman_proto::{Valid, Validate, Violations, abilities, json};
use prost::Message;
use prost_reflect::{Kind, MessageDescriptor};

const PACKAGE: &str = "pointsman.inference.v1";

/// A message with rules.
pub(crate) trait Request: Message + Default + Clone + PartialEq + Debug + Validate {}

impl<M: Message + Default + Clone + PartialEq + Debug + Validate> Request for M {}

/// A `GenerateRequest`: what is refused is refused for fields that there are, and what is not survives protobuf and
/// JSON, whatever valid things are done with it.
pub fn generate(data: &[u8]) {
    let Some(request) = checked::<GenerateRequest>(data, "GenerateRequest") else { return };
    check_generate(&request);
    let named = request.clone().named("a".to_owned()).expect("a good id");
    assert_eq!(named.request_id, "a");
    assert!(request.clone().named("a b".to_owned()).is_err());
    let resumable = request.resumable(Duration::from_secs(1 << 20));
    check(resumable.into_inner(), "GenerateRequest").expect("a long window is shortened");
}

/// An `EmbedRequest` or a `CountTokensRequest`; the first byte says which. Held to the same.
pub fn embed_and_count(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    if which % 2 == 0 {
        let Some(request) = checked::<EmbedRequest>(data, "EmbedRequest") else { return };
        let plain = TargetDescription::default();
        let lacks = abilities::needed_to_embed(&request) & !abilities::of(&plain) != 0;
        assert_eq!(lacks, !abilities::lacking_to_embed(&request, &plain).is_empty());
        assert!(Facts::embedding(&request, "acme", "key").read().is_empty());
        assert!(request.named(String::new()).is_ok());
    } else if let Ok(count) = CountTokensRequest::decode(data) {
        check_count(count);
    }
}

/// A count is asked of a request, by whose rules and names it goes.
fn check_count(count: CountTokensRequest) {
    let counted = Valid::new(count.clone());
    let Some(request) = count.request else {
        assert_eq!(counted.unwrap_err()[0].field, "request");
        return;
    };
    let valid = check(request, "GenerateRequest");
    assert_eq!(counted.ok().map(Valid::into_request), valid);
    if let Some(request) = valid {
        check_generate(&request);
    }
}

/// Holds what any dialect's request is held to as well.
pub(crate) fn check_generate(request: &Valid<GenerateRequest>) {
    check(request.clone().into_inner(), "GenerateRequest").expect("it was valid");
    let plain = TargetDescription::default();
    let lacks = abilities::needed(request) & !abilities::of(&plain) != 0;
    assert_eq!(lacks, !abilities::lacking(request, &plain).is_empty(), "{request:?}");
}

fn checked<M: Request>(data: &[u8], name: &str) -> Option<Valid<M>> {
    check(M::decode(data).ok()?, name)
}

/// Checks a message, and what is said of it.
pub(crate) fn check<M: Request>(message: M, name: &str) -> Option<Valid<M>> {
    let name = format!("{PACKAGE}.{name}");
    match Valid::new(message.clone()) {
        Ok(valid) => {
            assert_eq!(M::decode(message.encode_to_vec().as_slice()).as_ref(), Ok(&message));
            check_json(&message, &name);
            Some(valid)
        }
        Err(violations) => {
            assert!((1..=Violations::LIMIT).contains(&violations.len()));
            let descriptor = json::descriptor(&name).expect("it is in the contract");
            for violation in &violations {
                assert!(has_field(&descriptor, &violation.field), "{name} has no {}", violation.field);
                assert!((1..=200).contains(&violation.description.len()), "{violation:?}");
                assert!(violation.field.len() <= 100, "{violation:?}");
            }
            None
        }
    }
}

fn check_json<M: Request>(message: &M, name: &str) {
    let mut written = Vec::new();
    json::write(name, message, &mut serde_json::Serializer::new(&mut written)).expect("what is valid can be written");
    let again: M = json::read(name, &mut serde_json::Deserializer::from_slice(&written)).expect("and read");
    assert!(nearly(message, &again), "{message:?}\n{again:?}");
}

/// Whether two values are equal but for the last digits of their numbers, which JSON parsers round as they like.
pub(crate) fn nearly<T: Debug + PartialEq>(one: &T, other: &T) -> bool {
    if one == other {
        return true;
    }
    let (one, other) = (format!("{one:?}"), format!("{other:?}"));
    let (one, other): (Vec<_>, Vec<_>) = (one.split(SIGNS).collect(), other.split(SIGNS).collect());
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| *one == other || near(one, other))
}

const SIGNS: [char; 9] = [' ', ',', '(', ')', '{', '}', '[', ']', ':'];

fn near(one: &str, other: &str) -> bool {
    let (Ok(one), Ok(other)) = (one.parse::<f64>(), other.parse::<f64>()) else { return false };
    (one - other).abs() <= one.abs() * 1e-14
}

/// Whether a path such as `messages[2].parts[0].text` leads to a field or a choice of fields.
pub(crate) fn has_field(message: &MessageDescriptor, path: &str) -> bool {
    let (step, rest) = path.split_once('.').map_or((path, None), |(step, rest)| (step, Some(rest)));
    let (name, index) = step.split_once('[').map_or((step, None), |(name, index)| (name, Some(index)));
    let Some(field) = message.get_field_by_name(name) else {
        return rest.is_none() && message.oneofs().any(|oneof| oneof.name() == name);
    };
    let is_index = |index: &str| index.strip_suffix(']').is_some_and(|index| index.parse::<u32>().is_ok());
    if index.is_some_and(|index| !field.is_list() || !is_index(index)) {
        return false;
    }
    match (rest, field.kind()) {
        (None, _) => true,
        (Some(rest), Kind::Message(inner)) => has_field(&inner, rest),
        (Some(_), _) => false,
    }
}
