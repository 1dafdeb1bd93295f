//! Objects with known fields, and what is done with the fields that are not carried to a model.

use std::borrow::Cow;
use std::fmt::Display;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::problems::{Problems, shortened};

/// Makes a [`Shape`](super::Shape) that is an object: its fields, each under its own name or the one given
/// after `=`, those of a group ([`fields`]) after `..`, and everything else in `others`.
macro_rules! object {
    ($(#[$doc:meta])* $name:ident {
        $($field:ident $(= $key:literal)?: $shape:ty,)+ $(..$group:ident: $fields:ident,)?
    } $($extra:tt)*) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(crate) struct $name<'de> {
            $(pub(crate) $field: $crate::json::Given<$shape>,)+
            $(pub(crate) $group: $fields<'de>,)?
            pub(crate) others: $crate::json::object::Others<'de>,
        }

        #[cfg(test)]
        impl $name<'_> {
            /// What the parser knows.
            pub(crate) fn fields() -> Vec<&'static str> {
                let own: &[&str] = &[$(object!(@key $field $($key)?)),+];
                [own, $($fields::FIELDS)?].concat()
            }
        }

        impl<'de> $crate::json::Shape<'de> for $name<'de> {
            const EXPECTED: &'static str = "must be an object";
            $($extra)*

            fn of_object<A: serde::de::MapAccess<'de>>(
                mut object: A,
            ) -> Result<$crate::json::Given<Self>, A::Error> {
                let mut read = Self::default();
                while let Some($crate::json::object::Key(key)) = object.next_key()? {
                    $(if key == object!(@key $field $($key)?) {
                        if !read.$field.is_absent() {
                            read.others.repeat(object!(@key $field $($key)?));
                        }
                        read.$field = object.next_value()?;
                        continue;
                    })+
                    $(if read.$group.read(&key, &mut object, &mut read.others)? {
                        continue;
                    })?
                    read.others.add(key, object.next_value()?);
                }
                Ok($crate::json::Given::Value(read))
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
}
pub(crate) use object;

/// Makes a group of fields that several objects have.
macro_rules! fields {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $shape:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(crate) struct $name<'de> {
            $(pub(crate) $field: $crate::json::Given<$shape>,)+
        }

        impl<'de> $name<'de> {
            #[cfg(test)]
            pub(crate) const FIELDS: &'static [&'static str] = &[$(stringify!($field)),+];

            /// Reads the value of a key, if it is one of these fields.
            pub(crate) fn read<A: serde::de::MapAccess<'de>>(
                &mut self,
                key: &str,
                object: &mut A,
                others: &mut $crate::json::object::Others<'de>,
            ) -> Result<bool, A::Error> {
                $(if key == stringify!($field) {
                    if !self.$field.is_absent() {
                        others.repeat(stringify!($field));
                    }
                    self.$field = object.next_value()?;
                    return Ok(true);
                })+
                Ok(false)
            }
        }
    };
}
pub(crate) use fields;

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
pub(crate) struct Key<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// The fields of an object that are not carried to a model. Boxed: nearly always there are none.
#[derive(Debug, Default)]
pub(crate) struct Others<'de>(Option<Box<Found<'de>>>);

#[derive(Debug, Default)]
struct Found<'de> {
    fields: Vec<(Cow<'de, str>, &'de RawValue)>,
    repeated: Vec<&'static str>,
}

/// A field of an API that is not carried to a model.
pub(crate) enum Uncarried {
    /// Changes nothing in an answer, whatever its value.
    Hint(&'static str),
    /// Is taken at these values (JSON), which ask for nothing, and refused at any other.
    Neutral(&'static str, &'static [&'static str]),
}

impl<'de> Others<'de> {
    pub(crate) fn add(&mut self, name: Cow<'de, str>, value: &'de RawValue) {
        self.0.get_or_insert_default().fields.push((name, value));
    }

    pub(crate) fn repeat(&mut self, name: &'static str) {
        self.0.get_or_insert_default().repeated.push(name);
    }

    /// Adds a problem for each field that is repeated, unknown, or of `known` but not at its neutral value.
    /// `prefix` is the path of the object, `spelled` what the API calls a field that the contract has by that name.
    pub(crate) fn check(
        self,
        prefix: impl Display,
        known: &[Uncarried],
        spelled: fn(&str) -> String,
        problems: &mut Problems,
    ) {
        let Some(found) = self.0 else { return };
        for name in found.repeated {
            problems.invalid(format_args!("{prefix}{name}"), "is given twice; give it once");
        }
        for (name, value) in found.fields {
            if value.get() == "null" {
                continue;
            }
            let field = format!("{prefix}{}", shortened(&name));
            match known.iter().find(|uncarried| uncarried.name() == name) {
                Some(Uncarried::Hint(_)) => {}
                Some(Uncarried::Neutral(_, values)) if values.iter().any(|neutral| same(neutral, value.get())) => {}
                Some(Uncarried::Neutral(..)) => problems.unsupported(field, "is not supported here; leave it out"),
                None if spelled(&field) != field => {
                    problems.invalid(spelled(&field), format!("is how this API spells `{field}`; rename it"));
                }
                None => problems.invalid(field, "is not a field of this API; leave it out"),
            }
        }
    }
}

impl Uncarried {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Uncarried::Hint(name) | Uncarried::Neutral(name, _) => name,
        }
    }
}

/// Whether two JSON texts are the same value, however they are spaced.
fn same(one: &str, other: &str) -> bool {
    // Neutral values are short; a long text is not worth a tree in memory.
    let parse = |text: &str| if text.len() <= 256 { serde_json::from_str::<Value>(text).ok() } else { None };
    one == other || (parse(one).is_some() && parse(one) == parse(other))
}
