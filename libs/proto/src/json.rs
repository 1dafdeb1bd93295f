//! Messages in the JSON mapping of protobuf (<https://protobuf.dev/programming-guides/json/>), from and to
//! whatever speaks serde: JSON, YAML. Unknown fields are refused.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserializer, Serialize, Serializer};

static DESCRIPTORS: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(crate::FILE_DESCRIPTOR_SET).ok());

/// Reads a message, such as `pointsman.policy.v1.Policy`.
pub fn read<'de, M: Message + Default, D: Deserializer<'de>>(name: &str, from: D) -> Result<M, D::Error> {
    let descriptor = descriptor(name).ok_or_else(|| D::Error::custom(unknown(name)))?;
    let message = DynamicMessage::deserialize(descriptor, from)?;
    message.transcode_to().map_err(D::Error::custom)
}

/// Writes a message. Fields at their defaults are left out.
pub fn write<M: Message, S: Serializer>(name: &str, message: &M, to: S) -> Result<S::Ok, S::Error> {
    let descriptor = descriptor(name).ok_or_else(|| S::Error::custom(unknown(name)))?;
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic.transcode_from(message).map_err(S::Error::custom)?;
    dynamic.serialize(to)
}

/// Describes a message: its fields, and what kind of value each of them has.
pub fn descriptor(name: &str) -> Option<MessageDescriptor> {
    DESCRIPTORS.as_ref()?.get_message_by_name(name)
}

fn unknown(name: &str) -> String {
    format!("there is no message {name} in this build")
}

#[cfg(test)]
mod tests {
    use super::{read, write};
    use crate::inference::v1::GenerateRequest;

    const NAME: &str = "pointsman.inference.v1.GenerateRequest";

    #[test]
    fn messages_survive_json() {
        let text = r#"{"model":"pip","messages":[{"role":"ROLE_USER","parts":[{"text":"Hello"}]}],"seed":"7"}"#;
        let request: GenerateRequest = read(NAME, &mut serde_json::Deserializer::from_str(text)).unwrap();
        assert_eq!((request.model.as_str(), request.messages.len(), request.seed), ("pip", 1, Some(7)));
        let mut written = Vec::new();
        write(NAME, &request, &mut serde_json::Serializer::new(&mut written)).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), text);
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for (name, text) in [(NAME, r#"{"modle":"pip"}"#), ("pointsman.Nothing", "{}")] {
            let read: Result<GenerateRequest, _> = read(name, &mut serde_json::Deserializer::from_str(text));
            assert!(read.is_err(), "{text}");
        }
    }
}
