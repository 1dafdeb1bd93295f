//! Conditions of rules: CEL that is checked when it is read, cheap when it is asked, and whose emptiness
//! can be proven.
//!
//! The parser is that of the crate `cel`; its interpreter is not used. A condition becomes a tree of typed
//! tests of facts, so that every mistake has a place, asking allocates nothing, and two rules can be
//! compared.

mod consistency;
mod expression;
mod names;
mod parse;
mod satisfy;
mod scan;
mod translate;
mod values;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use self::expression::{Check, Expression};
use crate::facts::{Fact, Facts};

/// A condition over the facts of a request.
#[derive(Clone, Debug)]
pub struct Condition {
    expression: Expression,
    facts: Box<[Fact]>,
}

/// What is wrong with a condition, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong and what there is instead, for whoever writes the policy.
    pub message: String,
    /// Where, in bytes from the beginning of the condition.
    pub offset: usize,
}

impl Condition {
    /// Makes the condition that every request meets.
    pub fn always() -> Self {
        Self::new(Expression::Constant(true))
    }

    /// Makes the condition that no request meets.
    pub(crate) fn never() -> Self {
        Self::new(Expression::Constant(false))
    }

    /// Reads a condition. One that is empty or blank always holds. At most 4 KiB, nested at most 64 deep.
    ///
    /// # Errors
    ///
    /// Every mistake, in the order of the text; only the first if the text cannot be parsed.
    pub fn compile(source: &str) -> Result<Self, Vec<Mistake>> {
        if source.trim().is_empty() {
            return Ok(Self::always());
        }
        let parsed = parse::parse(source).map_err(|mistake| vec![mistake])?;
        translate::condition(&parsed).map(Self::new)
    }

    fn new(expression: Expression) -> Self {
        let mut facts = BTreeSet::new();
        expression.each_test(&mut |test| {
            facts.insert(test.fact.clone());
        });
        Self { expression, facts: facts.into_iter().collect() }
    }

    /// Returns whether a request with these facts meets the condition.
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        self.expression.holds(facts)
    }

    /// Returns whether it is plain that every request meets the condition.
    pub fn is_always(&self) -> bool {
        matches!(self.expression, Expression::Constant(true))
    }

    /// Returns every fact that the condition may read, each once.
    pub fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.facts.iter()
    }

    /// Returns whether some request, for this model if it is given, may meet this condition and none of those
    /// `before` it. It is false only if that is proven; where a proof would take too many steps, it is true.
    pub fn can_hold(&self, model: Option<&str>, before: &[&Condition]) -> bool {
        let named = |name: &str| Expression::test(Fact::Model, Check::OneOf(Box::new([name.into()])));
        let known = model.map(named);
        let unwanted = before.iter().map(|condition| &condition.expression);
        satisfy::can_hold([&self.expression].into_iter().chain(&known), unwanted)
    }
}

/// Reads the name of one fact of kind text, such as `request.session`.
///
/// # Errors
///
/// What is wrong, if it is anything else.
pub fn compile_fact(source: &str) -> Result<Fact, Mistake> {
    translate::text_fact(&parse::parse(source)?)
}
