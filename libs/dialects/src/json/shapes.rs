//! The values that fields take: plain ones, lists, objects with chosen keys, JSON as it was written.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Given, Shape};
use crate::problems::{Problems, shortened};

impl Shape<'_> for bool {
    const EXPECTED: &'static str = "must be true or false";

    fn of_bool(value: bool) -> Given<Self> {
        Given::Value(value)
    }
}

impl Shape<'_> for f64 {
    const EXPECTED: &'static str = "must be a number";

    fn of_number(number: f64, _: Option<i64>) -> Given<Self> {
        Given::Value(number)
    }
}

impl Shape<'_> for i64 {
    const EXPECTED: &'static str = "must be a whole number of 64 bits";

    fn of_number(_: f64, whole: Option<i64>) -> Given<Self> {
        whole.map_or(Given::Wrong, Given::Value)
    }
}

/// A count. One beyond 32 bits is lowered to the greatest: no rule of the contract tells those apart.
impl Shape<'_> for u32 {
    const EXPECTED: &'static str = "must be a whole number, not negative";

    fn of_number(number: f64, whole: Option<i64>) -> Given<Self> {
        match whole {
            Some(whole @ 0..) => Given::Value(u32::try_from(whole).unwrap_or(u32::MAX)),
            None if number > f64::from(u32::MAX) => Given::Value(u32::MAX),
            _ => Given::Wrong,
        }
    }
}

impl<'de> Shape<'de> for Cow<'de, str> {
    const EXPECTED: &'static str = "must be a string";

    fn of_text(text: Cow<'de, str>) -> Given<Self> {
        Given::Value(text)
    }
}

impl Shape<'_> for String {
    const EXPECTED: &'static str = "must be a string";

    fn of_text(text: Cow<'_, str>) -> Given<Self> {
        Given::Value(text.into_owned())
    }
}

impl<'de, T: Shape<'de>> Shape<'de> for Vec<Given<T>> {
    const EXPECTED: &'static str = T::LIST.1;

    fn of_list<A: SeqAccess<'de>>(mut list: A) -> Result<Given<Self>, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < T::LIST.0 {
            let Some(element) = list.next_element()? else { return Ok(Given::Value(elements)) };
            elements.push(element);
        }
        let more = list.next_element::<IgnoredAny>()?.is_some();
        IgnoredAny.visit_seq(list)?;
        Ok(if more { Given::Wrong } else { Given::Value(elements) })
    }
}

impl<'de, T: Shape<'de>> Shape<'de> for Box<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn read<D: Deserializer<'de>>(deserializer: D) -> Result<Given<Self>, D::Error> {
        Ok(T::read(deserializer)?.map(Box::new))
    }
}

/// An object whose keys the caller chooses.
#[derive(Debug)]
pub(crate) struct Pairs<T>(Vec<(String, Given<T>)>);

impl<T> Pairs<T> {
    /// Returns the entries. A key that is given twice is a problem, and its later values are left out.
    pub(crate) fn once(self, field: &str, problems: &mut Problems) -> Vec<(String, Given<T>)> {
        let mut known = HashSet::with_capacity(self.0.len());
        let mut entries = self.0;
        entries.retain(|(key, _)| {
            let is_new = known.insert(key.clone());
            if !is_new {
                problems.invalid(format_args!("{field}.{}", shortened(key)), "is given twice; give it once");
            }
            is_new
        });
        entries
    }
}

impl<'de, T: Shape<'de>> Shape<'de> for Pairs<T> {
    const EXPECTED: &'static str = "must be an object of at most 4,096 entries";

    fn of_object<A: MapAccess<'de>>(mut object: A) -> Result<Given<Self>, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = object.next_entry()? {
            if pairs.len() == 4096 {
                return IgnoredAny.visit_map(object).map(|_| Given::Wrong);
            }
            pairs.push(pair);
        }
        Ok(Given::Value(Self(pairs)))
    }
}

/// A JSON object as it was written: the order of its keys matters to a model, and no number loses digits.
#[derive(Debug)]
pub(crate) struct RawObject<'de>(pub(crate) &'de str);

impl<'de> Shape<'de> for RawObject<'de> {
    const EXPECTED: &'static str = "must be an object";

    fn read<D: Deserializer<'de>>(deserializer: D) -> Result<Given<Self>, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        Ok(match text.as_bytes().first() {
            Some(b'n') => Given::Absent,
            Some(b'{') => Given::Value(Self(text)),
            _ => Given::Wrong,
        })
    }
}
