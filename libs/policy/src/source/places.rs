//! Where in a YAML text a field stands.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A YAML text as a tree with places.
pub(super) struct Places<'t> {
    text: &'t str,
    root: Option<Spanned<Node>>,
}

enum Node {
    Map(Vec<(String, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
    Scalar,
}

impl<'t> Places<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self { text, root: serde_saphyr::from_str(text).ok() }
    }

    /// Finds the line and column of a field (`virtual_models[0].rules[1].when`), or of the nearest one around
    /// it, and within its text of the byte at this offset.
    pub(super) fn find(&self, path: &str, offset: Option<usize>) -> (u64, u64) {
        let Some(mut here) = self.root.as_ref() else { return (1, 1) };
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match (&here.value, step.strip_suffix(']')) {
                (Node::List(items), Some(index)) => index.parse().ok().and_then(|index: usize| items.get(index)),
                (Node::Map(entries), None) => entries.iter().find(|(key, _)| same(key, step)).map(|(_, value)| value),
                _ => None,
            };
            match next {
                Some(next) => here = next,
                None => break,
            }
        }
        let (line, column) = (here.referenced.line(), here.referenced.column());
        (line, column + self.within(line, column, offset))
    }

    /// How many columns further the byte at this offset is, in a text that stands on one line.
    fn within(&self, line: u64, column: u64, offset: Option<usize>) -> u64 {
        let index = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
        let start = self.text.lines().nth(index(line)).and_then(|text| text.chars().nth(index(column)));
        match (offset, start) {
            // A folded text: its own place is all that is known.
            (None, _) | (_, None | Some('|' | '>')) => 0,
            (Some(offset), Some('"' | '\'')) => offset as u64 + 1,
            (Some(offset), Some(_)) => offset as u64,
        }
    }
}

/// The JSON mapping takes a field's own name and its lowerCamelCase.
fn same(key: &str, field: &str) -> bool {
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
        $(fn $name<E>(self, _: $kind) -> Result<Node, E> { Ok(Node::Scalar) })+
    };
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    scalars! { visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str, }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
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
