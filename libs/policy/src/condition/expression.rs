//! A condition as a tree of tests.

use regex::Regex;

use crate::facts::{Fact, Facts};

/// What must be true of a request. Neighbours in a chain of `&&` or `||` form a balanced tree, as the parser
/// leaves them, so that the tree stays shallow.
#[derive(Clone, Debug)]
pub(super) enum Expression {
    /// The same for every request.
    Constant(bool),
    /// Not that.
    Not(Box<Expression>),
    /// Both, the left one first.
    And(Box<[Expression; 2]>),
    /// One or both, the left one first.
    Or(Box<[Expression; 2]>),
    /// The second if the first holds, else the third.
    Choose(Box<[Expression; 3]>),
    /// One look at one fact.
    Test(Test),
}

/// One look at one fact.
#[derive(Clone, Debug)]
pub(super) struct Test {
    /// Of the kind that the check is for.
    pub(super) fact: Fact,
    /// What must be true of it.
    pub(super) check: Check,
}

/// What must be true of a fact. Every comparison comes down to these and `Not`, which keeps proofs short.
#[derive(Clone, Debug)]
pub(super) enum Check {
    /// The number is this or more.
    AtLeast(u64),
    /// The number is one of these.
    OneOfNumbers(Box<[u64]>),
    /// The text is one of these.
    OneOf(Box<[Box<str>]>),
    /// The text begins so.
    StartsWith(Box<str>),
    /// The text ends so.
    EndsWith(Box<str>),
    /// The text has this somewhere.
    Contains(Box<str>),
    /// The expression matches somewhere in the text.
    Matches(Regex),
    /// The caller gave this label.
    Present,
}

impl Expression {
    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Constant(value) => *value,
            Self::Not(inner) => !inner.holds(facts),
            Self::And(sides) => sides.iter().all(|side| side.holds(facts)),
            Self::Or(sides) => sides.iter().any(|side| side.holds(facts)),
            Self::Choose(parts) => {
                let [asked, then, otherwise] = &**parts;
                if asked.holds(facts) { then.holds(facts) } else { otherwise.holds(facts) }
            }
            Self::Test(test) => test.holds(facts),
        }
    }

    pub(super) fn each_test(&self, visit: &mut impl FnMut(&Test)) {
        match self {
            Self::Constant(_) => {}
            Self::Not(inner) => inner.each_test(visit),
            Self::And(sides) | Self::Or(sides) => sides.iter().for_each(|side| side.each_test(visit)),
            Self::Choose(parts) => parts.iter().for_each(|part| part.each_test(visit)),
            Self::Test(test) => visit(test),
        }
    }

    /// Makes a test. One that cannot fail, or cannot hold, becomes a constant.
    pub(super) fn test(fact: Fact, check: Check) -> Self {
        match &check {
            Check::AtLeast(0) => Self::Constant(true),
            Check::StartsWith(text) | Check::EndsWith(text) | Check::Contains(text) if text.is_empty() => {
                Self::Constant(true)
            }
            Check::OneOfNumbers(numbers) if numbers.is_empty() => Self::Constant(false),
            Check::OneOf(texts) if texts.is_empty() => Self::Constant(false),
            _ => Self::Test(Test { fact, check }),
        }
    }

    pub(super) fn not(inner: Self) -> Self {
        match inner {
            Self::Constant(value) => Self::Constant(!value),
            Self::Not(inner) => *inner,
            inner => Self::Not(Box::new(inner)),
        }
    }

    pub(super) fn and(left: Self, right: Self) -> Self {
        match (left, right) {
            (Self::Constant(false), _) | (_, Self::Constant(false)) => Self::Constant(false),
            (Self::Constant(true), side) | (side, Self::Constant(true)) => side,
            (left, right) => Self::And(Box::new([left, right])),
        }
    }

    pub(super) fn or(left: Self, right: Self) -> Self {
        match (left, right) {
            (Self::Constant(true), _) | (_, Self::Constant(true)) => Self::Constant(true),
            (Self::Constant(false), side) | (side, Self::Constant(false)) => side,
            (left, right) => Self::Or(Box::new([left, right])),
        }
    }

    pub(super) fn choose(asked: Self, then: Self, otherwise: Self) -> Self {
        match asked {
            Self::Constant(true) => then,
            Self::Constant(false) => otherwise,
            asked => Self::Choose(Box::new([asked, then, otherwise])),
        }
    }
}

impl Test {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        match &self.check {
            Check::AtLeast(_) | Check::OneOfNumbers(_) => self.check.accepts_number(facts.number(&self.fact)),
            Check::Present => matches!(&self.fact, Fact::Label(name) if facts.has_label(name)),
            check => check.accepts_text(facts.text(&self.fact)),
        }
    }
}

impl Check {
    /// Returns whether a number passes; a check of text lets every number pass.
    pub(super) fn accepts_number(&self, number: u64) -> bool {
        match self {
            Self::AtLeast(least) => number >= *least,
            Self::OneOfNumbers(numbers) => numbers.contains(&number),
            _ => true,
        }
    }

    /// Returns whether a text passes; a check of something else lets every text pass.
    pub(super) fn accepts_text(&self, text: &str) -> bool {
        match self {
            Self::OneOf(texts) => texts.iter().any(|one| **one == *text),
            Self::StartsWith(beginning) => text.starts_with(&**beginning),
            Self::EndsWith(end) => text.ends_with(&**end),
            Self::Contains(piece) => text.contains(&**piece),
            Self::Matches(regex) => regex.is_match(text),
            Self::AtLeast(_) | Self::OneOfNumbers(_) | Self::Present => true,
        }
    }
}
