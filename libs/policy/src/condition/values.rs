//! What stands on either side of a comparison.

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators as op};
use regex::{Regex, RegexBuilder};

use super::names;
use super::translate::Translator;
use crate::facts::Fact;

/// How much memory a compiled regular expression may take, in bytes.
const MOST_REGEX_BYTES: usize = 1 << 20;

/// What can be compared.
pub(super) enum Value {
    Fact(Fact),
    Text(String),
    Number(u64),
}

impl Translator<'_> {
    pub(super) fn value(&mut self, expression: &IdedExpr) -> Option<Value> {
        if let Some(fact) = names::fact(expression) {
            return match fact {
                Ok(fact) => Some(Value::Fact(fact)),
                Err(message) => self.mistake(self.parsed.start(expression), message),
            };
        }
        let message = match &expression.expr {
            Expr::Literal(LiteralValue::String(text)) => return Some(Value::Text(text.inner().to_owned())),
            Expr::Literal(LiteralValue::UInt(number)) => return Some(Value::Number(*number.inner())),
            Expr::Literal(LiteralValue::Int(number)) => match u64::try_from(*number.inner()) {
                Ok(number) => return Some(Value::Number(number)),
                Err(_) => "no fact is negative; write a number from 0",
            },
            Expr::Literal(LiteralValue::Double(_)) => "every number is whole; leave out the fraction",
            Expr::Literal(LiteralValue::Null) => "there is no null; what is missing is the empty text, `\"\"`",
            Expr::Literal(LiteralValue::Boolean(_)) => {
                "no fact is true or false; write the condition itself, or `!` before it"
            }
            Expr::List(_) => "a list stands right of `in` only",
            Expr::Comprehension(_) => "there are no lists to go through",
            Expr::Call(call) if CONDITIONS.contains(&call.func_name.as_str()) => ALREADY,
            Expr::Call(call) => return self.unknown_call(expression, &call.func_name),
            Expr::Select(select) if select.test => ALREADY,
            _ => "this is no value; write a text, as in `\"a\"`, or a whole number",
        };
        self.mistake(self.parsed.start(expression), message)
    }

    pub(super) fn text_of(&mut self, fact: &Fact, at: &IdedExpr, value: Value) -> Option<Box<str>> {
        let start = self.parsed.start(at);
        let text = match value {
            Value::Text(text) => text,
            Value::Number(_) => {
                return self
                    .mistake(start, format!("`{}` is a text; compare it with a text, as in `\"…\"`", fact.name()));
            }
            Value::Fact(_) => return self.mistake(start, TWO_FACTS),
        };
        match fact.values() {
            Some(values) if !values.contains(&text.as_str()) => {
                let listed: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
                let message = format!("`{}` is never `{text}`; it is one of {}", fact.name(), listed.join(", "));
                self.mistake(start, message)
            }
            _ => Some(text.into()),
        }
    }

    pub(super) fn number_of(&mut self, fact: &Fact, at: &IdedExpr, value: Value) -> Option<u64> {
        let start = self.parsed.start(at);
        match value {
            Value::Number(number) => Some(number),
            Value::Text(_) => self.mistake(start, format!("`{}` is a number; compare it with a number", fact.name())),
            Value::Fact(_) => self.mistake(start, TWO_FACTS),
        }
    }

    pub(super) fn regex(&mut self, at: &IdedExpr, pattern: &str) -> Option<Regex> {
        match RegexBuilder::new(pattern).size_limit(MOST_REGEX_BYTES).build() {
            Ok(regex) => Some(regex),
            Err(error) => {
                // A syntax error draws the expression over several lines and ends with what is wrong.
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default();
                let reason = last.strip_prefix("error: ").unwrap_or(last);
                self.mistake(self.parsed.start(at), format!("this is no regular expression: {reason}"))
            }
        }
    }
}

const TWO_FACTS: &str = "two facts cannot be compared; compare a fact with a value";

const ALREADY: &str = "this is a condition already; combine conditions with `&&`, `||` and `!`";

/// What the parser calls that which is true or false.
const CONDITIONS: [&str; 15] = [
    op::LOGICAL_NOT,
    op::LOGICAL_AND,
    op::LOGICAL_OR,
    op::CONDITIONAL,
    op::EQUALS,
    op::NOT_EQUALS,
    op::LESS,
    op::LESS_EQUALS,
    op::GREATER,
    op::GREATER_EQUALS,
    op::IN,
    "startsWith",
    "endsWith",
    "contains",
    "matches",
];
