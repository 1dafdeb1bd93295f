use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A thing, or a list of things. Mistakes in either keep their place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OneOrMore<T>(pub(crate) Vec<T>);

impl<T> OneOrMore<T> {
    pub(crate) fn one(one: T) -> Self {
        Self(vec![one])
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either(PhantomData))
    }
}

impl<T: Serialize> Serialize for OneOrMore<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

struct Either<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
    type Value = OneOrMore<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("one, as `key: value`, or a list of them")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(OneOrMore::one)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(sequence)).map(OneOrMore)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::OneOrMore;

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        name: String,
    }

    #[test]
    fn one_and_several_are_read_and_written_back() {
        for (text, names) in [("name: a\n", vec!["a"]), ("- name: a\n- name: b\n", vec!["a", "b"])] {
            let things: OneOrMore<Thing> = serde_saphyr::from_str(text).unwrap();
            assert_eq!(things.0.iter().map(|thing| &*thing.name).collect::<Vec<_>>(), names);
            assert_eq!(serde_saphyr::to_string(&things).unwrap(), text);
        }
        for (text, mistake) in [
            ("name: a\nsize: 1\n", "line 2"),
            ("- name: a\n- nam: b\n", "line 2"),
            ("a\n", "expected one, as `key: value`, or a list"),
        ] {
            let error = serde_saphyr::from_str::<OneOrMore<Thing>>(text).unwrap_err().to_string();
            assert!(error.contains(mistake), "{error}");
        }
    }
}
