//! JSON read in one pass that does not stop at a value of the wrong kind: what a body gives for a field is
//! kept as [`Given`], so that every mistake can be named at once. Only bad JSON ends the reading.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::problems::Problems;

pub(crate) mod object;
mod shapes;

pub(crate) use shapes::{Pairs, RawObject};

/// What a body gives for a field. An explicit null is absent.
#[derive(Debug, Default)]
pub(crate) enum Given<T> {
    #[default]
    Absent,
    /// Something of another kind than the field takes.
    Wrong,
    Value(T),
}

impl<T> Given<T> {
    /// Returns the value if there is a good one. A value of the wrong kind is added to the problems.
    pub(crate) fn take<'de>(self, field: impl Display, problems: &mut Problems) -> Option<T>
    where
        T: Shape<'de>,
    {
        match self {
            Given::Value(value) => Some(value),
            Given::Absent => None,
            Given::Wrong => {
                problems.invalid(field, T::EXPECTED);
                None
            }
        }
    }

    /// Returns the element of a list, where null is no element.
    pub(crate) fn element<'de>(self, field: impl Display, problems: &mut Problems) -> Option<T>
    where
        T: Shape<'de>,
    {
        let given = if self.is_absent() { Given::Wrong } else { self };
        given.take(field, problems)
    }

    /// Makes the value into another.
    pub(crate) fn map<U>(self, make: impl FnOnce(T) -> U) -> Given<U> {
        match self {
            Given::Value(value) => Given::Value(make(value)),
            Given::Absent => Given::Absent,
            Given::Wrong => Given::Wrong,
        }
    }

    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Given::Absent)
    }
}

impl Given<Cow<'_, str>> {
    /// Returns the text if there is one.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Given::Value(text) = self { Some(text) } else { None }
    }
}

impl<'de, T: Shape<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer)
    }
}

/// A value that a field takes, made from one kind of JSON or several. The kinds that it does not name are wrong.
pub(crate) trait Shape<'de>: Sized {
    /// Says which values are right; it follows the field's name.
    const EXPECTED: &'static str;

    /// How many elements a list of these may have, and how that is said. Bounds the memory that a body of tiny
    /// elements can take.
    const LIST: (usize, &'static str) = (4096, "must be an array of at most 4,096");

    fn read<D: Deserializer<'de>>(deserializer: D) -> Result<Given<Self>, D::Error> {
        deserializer.deserialize_any(ShapeVisitor(PhantomData))
    }

    fn of_bool(_: bool) -> Given<Self> {
        Given::Wrong
    }

    /// `whole` is the number where it is one without a fraction.
    fn of_number(_number: f64, _whole: Option<i64>) -> Given<Self> {
        Given::Wrong
    }

    fn of_text(_: Cow<'de, str>) -> Given<Self> {
        Given::Wrong
    }

    fn of_list<A: SeqAccess<'de>>(list: A) -> Result<Given<Self>, A::Error> {
        IgnoredAny.visit_seq(list).map(|_| Given::Wrong)
    }

    fn of_object<A: MapAccess<'de>>(object: A) -> Result<Given<Self>, A::Error> {
        IgnoredAny.visit_map(object).map(|_| Given::Wrong)
    }
}

struct ShapeVisitor<T>(PhantomData<T>);

impl<'de, T: Shape<'de>> Visitor<'de> for ShapeVisitor<T> {
    type Value = Given<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_unit<E>(self) -> Result<Given<T>, E> {
        Ok(Given::Absent)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Given<T>, E> {
        Ok(T::of_bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Given<T>, E> {
        Ok(T::of_number(value as f64, i64::try_from(value).ok()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Given<T>, E> {
        Ok(T::of_number(value as f64, Some(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Given<T>, E> {
        // JSON has one kind of number, and some clients write 64 as 64.0. Above 2^53 a float is no sure whole number.
        let whole = value.fract() == 0.0 && value.abs() <= (1_u64 << 53) as f64;
        Ok(T::of_number(value, whole.then_some(value as i64)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Given<T>, E> {
        Ok(T::of_text(Cow::Owned(value.to_owned())))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Given<T>, E> {
        Ok(T::of_text(Cow::Borrowed(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Given<T>, A::Error> {
        T::of_list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Given<T>, A::Error> {
        T::of_object(object)
    }
}
