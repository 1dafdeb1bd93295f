//! Texts to read: one, or several. OpenAI takes token ids in their place, and this does not.

use std::borrow::Cow;

use serde::de::{IgnoredAny, SeqAccess, Visitor};

use crate::json::{Given, Shape};
use crate::problems::Problems;

/// One text, or a list.
#[derive(Debug)]
pub(super) enum Texts {
    One(String),
    Many(Vec<Given<Item>>),
}

/// An element of a list.
#[derive(Debug)]
pub(super) enum Item {
    Text(String),
    /// A token id, or a list of them.
    Tokens,
}

impl<'de> Shape<'de> for Item {
    const EXPECTED: &'static str = "must be a string";
    const LIST: (usize, &'static str) = (2048, "must be a string or an array of at most 2,048 strings");

    fn of_text(text: Cow<'de, str>) -> Given<Self> {
        Given::Value(Self::Text(text.into_owned()))
    }

    fn of_number(_: f64, _: Option<i64>) -> Given<Self> {
        Given::Value(Self::Tokens)
    }

    fn of_list<A: SeqAccess<'de>>(list: A) -> Result<Given<Self>, A::Error> {
        IgnoredAny.visit_seq(list).map(|_| Given::Value(Self::Tokens))
    }
}

impl<'de> Shape<'de> for Texts {
    const EXPECTED: &'static str = Item::LIST.1;

    fn of_text(text: Cow<'de, str>) -> Given<Self> {
        Given::Value(Self::One(text.into_owned()))
    }

    fn of_list<A: SeqAccess<'de>>(list: A) -> Result<Given<Self>, A::Error> {
        Ok(Vec::of_list(list)?.map(Self::Many))
    }
}

impl Texts {
    /// Returns the texts. What is none leaves a place holder and a problem; token ids are one problem together.
    pub(super) fn take(given: Given<Self>, field: &str, problems: &mut Problems) -> Option<Vec<String>> {
        let items = match given.take(field, problems)? {
            Self::One(text) => return Some(vec![text]),
            Self::Many(items) => items,
        };
        if items.iter().any(|item| matches!(item, Given::Value(Item::Tokens))) {
            problems.unsupported(field, "takes texts only, no token ids; send the text that they stand for");
            return None;
        }
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            texts.push(match item.element(format_args!("{field}[{index}]"), problems) {
                Some(Item::Text(text)) => text,
                Some(Item::Tokens) | None => String::new(),
            });
        }
        Some(texts)
    }
}
