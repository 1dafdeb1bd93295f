//! A YAML text as a tree with places.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, Error, Spanned};

pub(super) enum Node {
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
    Scalar(Value),
}

/// Reads a text. Where a key is there twice, the first one counts, and the second is an error beside the tree.
/// `y`, `no` and the like stay texts, as they are one where a name is wanted.
pub(super) fn read(text: &str) -> Result<(Spanned<Node>, Option<Error>), Error> {
    let strict = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, strict).map(|root| (root, None)).or_else(|error| {
        let lenient = serde_saphyr::options! { strict_booleans: true, duplicate_keys: DuplicateKeyPolicy::FirstWins };
        serde_saphyr::from_str_with_options(text, lenient).map(|root| (root, Some(error)))
    })
}

/// The JSON mapping takes a field's own name and its lowerCamelCase.
pub(super) fn same(key: &str, field: &str) -> bool {
    let plain = |name: &str| name.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect::<String>();
    key == field || plain(key) == plain(field)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

macro_rules! scalars {
    ($($name:ident: $kind:ty,)+) => {
        $(fn $name<E>(self, value: $kind) -> Result<Node, E> { Ok(Node::Scalar(value.into())) })+
    };
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    scalars! { visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str, }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }
}
