//! From the parser's tree to our own: what is allowed, of which type, and what to write instead.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators as op};

use super::Mistake;
use super::expression::{Check, Expression};
use super::names;
use super::parse::Parsed;
use super::values::Value;
use crate::facts::{Fact, Kind};

/// Translates a condition, or tells every mistake in it, in the order of the text.
pub(super) fn condition(parsed: &Parsed<'_>) -> Result<Expression, Vec<Mistake>> {
    let mut translator = Translator { parsed, mistakes: Vec::new() };
    let expression = translator.condition(&parsed.root);
    translator.mistakes.sort_by_key(|mistake| mistake.offset);
    match expression {
        Some(expression) if translator.mistakes.is_empty() => Ok(expression),
        _ => Err(translator.mistakes),
    }
}

/// Translates the name of a fact of kind text.
pub(super) fn text_fact(parsed: &Parsed<'_>) -> Result<Fact, Mistake> {
    let fact = names::fact(&parsed.root)
        .unwrap_or_else(|| Err("name one fact, such as `request.session` or `labels[\"team\"]`".into()))
        .and_then(|fact| match fact.kind() {
            Kind::Text => Ok(fact),
            Kind::Number => Err(format!("`{}` is a number; name a fact that is a text", fact.name())),
        });
    fact.map_err(|message| Mistake { message, offset: parsed.start(&parsed.root) })
}

pub(super) const HAS: &str = "`has` wants one label, as in `has(labels.team)`";

pub(super) struct Translator<'a> {
    pub(super) parsed: &'a Parsed<'a>,
    mistakes: Vec<Mistake>,
}

/// Each step gives `None` when it has told a mistake.
impl Translator<'_> {
    fn condition(&mut self, expression: &IdedExpr) -> Option<Expression> {
        match &expression.expr {
            Expr::Literal(LiteralValue::Boolean(value)) => Some(Expression::Constant(*value.inner())),
            Expr::Select(select) if select.test => self.has(&select.operand, &select.field),
            Expr::Call(call) => self.call(expression, call),
            _ => self.not_a_condition(expression),
        }
    }

    fn call(&mut self, expression: &IdedExpr, call: &CallExpr) -> Option<Expression> {
        match (call.func_name.as_str(), call.target.as_deref(), call.args.as_slice()) {
            (op::LOGICAL_NOT, None, [inner]) => Some(Expression::not(self.condition(inner)?)),
            (op::LOGICAL_AND, None, [left, right]) => {
                let (left, right) = (self.condition(left), self.condition(right));
                Some(Expression::and(left?, right?))
            }
            (op::LOGICAL_OR, None, [left, right]) => {
                let (left, right) = (self.condition(left), self.condition(right));
                Some(Expression::or(left?, right?))
            }
            (op::CONDITIONAL, None, [asked, then, otherwise]) => {
                let (asked, then) = (self.condition(asked), self.condition(then));
                let otherwise = self.condition(otherwise);
                Some(Expression::choose(asked?, then?, otherwise?))
            }
            (op::EQUALS, None, [left, right]) => self.comparison(expression, "==", left, right),
            (op::NOT_EQUALS, None, [left, right]) => self.comparison(expression, "!=", left, right),
            (op::LESS, None, [left, right]) => self.comparison(expression, "<", left, right),
            (op::LESS_EQUALS, None, [left, right]) => self.comparison(expression, "<=", left, right),
            (op::GREATER, None, [left, right]) => self.comparison(expression, ">", left, right),
            (op::GREATER_EQUALS, None, [left, right]) => self.comparison(expression, ">=", left, right),
            (op::IN, None, [member, list]) => self.membership(member, list),
            (op::INDEX, None, _) => self.not_a_condition(expression),
            (function @ ("startsWith" | "endsWith" | "contains" | "matches"), Some(target), [text]) => {
                self.text_function(function, target, text)
            }
            (name, ..) => self.unknown_call(expression, name),
        }
    }

    fn has(&mut self, of: &IdedExpr, field: &str) -> Option<Expression> {
        if !names::is_labels(of) {
            let message = "`has` is for labels, as in `has(labels.team)`; other facts are never missing";
            return self.mistake(self.parsed.start(of), message);
        }
        self.present(of, field)
    }

    fn present(&mut self, at: &IdedExpr, label: &str) -> Option<Expression> {
        match names::label(label) {
            Ok(fact) => Some(Expression::test(fact, Check::Present)),
            Err(message) => self.mistake(self.parsed.start(at), message),
        }
    }

    fn comparison(
        &mut self,
        whole: &IdedExpr,
        operator: &str,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Option<Expression> {
        let (one, other) = (self.value(left), self.value(right));
        match (one?, other?) {
            (Value::Fact(fact), value) => self.compare(whole, fact, operator, (right, value)),
            (value, Value::Fact(fact)) => {
                let turned = match operator {
                    "<" => ">",
                    "<=" => ">=",
                    ">" => "<",
                    ">=" => "<=",
                    same => same,
                };
                self.compare(whole, fact, turned, (left, value))
            }
            _ => self.mistake(self.parsed.start(left), "this compares two values; compare a fact with a value"),
        }
    }

    fn compare(
        &mut self,
        whole: &IdedExpr,
        fact: Fact,
        operator: &str,
        (at, value): (&IdedExpr, Value),
    ) -> Option<Expression> {
        if fact.kind() == Kind::Text {
            let text = self.text_of(&fact, at, value)?;
            let equal = Expression::test(fact, Check::OneOf(Box::new([text])));
            return match operator {
                "==" => Some(equal),
                "!=" => Some(Expression::not(equal)),
                _ => self.mistake(
                    self.parsed.place(whole),
                    format!(
                        "`{operator}` is for numbers; a text has `==`, `!=`, `in` and functions such as `startsWith`"
                    ),
                ),
            };
        }
        let number = self.number_of(&fact, at, value)?;
        // Nothing is more than the largest number.
        let above = |fact| match number.checked_add(1) {
            Some(next) => Expression::test(fact, Check::AtLeast(next)),
            None => Expression::Constant(false),
        };
        Some(match operator {
            "<" => Expression::not(Expression::test(fact, Check::AtLeast(number))),
            "<=" => Expression::not(above(fact)),
            ">" => above(fact),
            ">=" => Expression::test(fact, Check::AtLeast(number)),
            "!=" => Expression::not(Expression::test(fact, Check::OneOfNumbers(Box::new([number])))),
            _ => Expression::test(fact, Check::OneOfNumbers(Box::new([number]))),
        })
    }

    fn membership(&mut self, member: &IdedExpr, list: &IdedExpr) -> Option<Expression> {
        if names::is_labels(list) {
            return match &member.expr {
                Expr::Literal(LiteralValue::String(name)) => self.present(member, name.inner()),
                _ => {
                    let message = "the name of a label is written out, as in `\"team\" in labels`";
                    self.mistake(self.parsed.start(member), message)
                }
            };
        }
        let Expr::List(list) = &list.expr else {
            let message = "right of `in` stands a list of values, as in `[\"a\", \"b\"]`, or `labels`";
            return self.mistake(self.parsed.start(list), message);
        };
        let Value::Fact(fact) = self.value(member)? else {
            return self.mistake(self.parsed.start(member), "left of a list stands a fact");
        };
        let values: Vec<_> = list.elements.iter().map(|element| (element, self.value(element))).collect();
        let check = match fact.kind() {
            Kind::Text => {
                let texts: Vec<_> = values.into_iter().map(|(at, value)| self.text_of(&fact, at, value?)).collect();
                Check::OneOf(texts.into_iter().collect::<Option<_>>()?)
            }
            Kind::Number => {
                let numbers: Vec<_> = values.into_iter().map(|(at, value)| self.number_of(&fact, at, value?)).collect();
                Check::OneOfNumbers(numbers.into_iter().collect::<Option<_>>()?)
            }
        };
        Some(Expression::test(fact, check))
    }

    fn text_function(&mut self, function: &str, target: &IdedExpr, text: &IdedExpr) -> Option<Expression> {
        let (of, argument) = (self.value(target), self.value(text));
        let fact = match of? {
            Value::Fact(fact) if fact.kind() == Kind::Text => fact,
            Value::Fact(fact) => {
                let message = format!("`{}` is a number; compare it with a number", fact.name());
                return self.mistake(self.parsed.start(target), message);
            }
            _ => {
                let message = format!("`{function}` is a function of a fact, as in `request.model.{function}(\"…\")`");
                return self.mistake(self.parsed.start(target), message);
            }
        };
        let Value::Text(argument) = argument? else {
            return self
                .mistake(self.parsed.start(text), format!("`{function}` wants a text, as in `{function}(\"…\")`"));
        };
        let check = match function {
            "startsWith" => Check::StartsWith(argument.into()),
            "endsWith" => Check::EndsWith(argument.into()),
            "contains" => Check::Contains(argument.into()),
            _ => Check::Matches(self.regex(text, &argument)?),
        };
        Some(Expression::test(fact, check))
    }

    pub(super) fn unknown_call<T>(&mut self, expression: &IdedExpr, name: &str) -> Option<T> {
        let message = match name {
            op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO | op::NEGATE => {
                return self.mistake(self.parsed.place(expression), "there is no arithmetic; write the result");
            }
            op::INDEX => "`[…]` is for labels, as in `labels[\"team\"]`".to_owned(),
            "has" => HAS.to_owned(),
            "startsWith" | "endsWith" | "contains" | "matches" => {
                format!("`{name}` is a function of a fact with one text, as in `request.model.{name}(\"…\")`")
            }
            _ => format!(
                "there is no function `{name}`; there are `has`, `startsWith`, `endsWith`, `contains` and `matches`"
            ),
        };
        self.mistake(self.parsed.name_of_call(expression, name), message)
    }

    fn not_a_condition(&mut self, expression: &IdedExpr) -> Option<Expression> {
        let fact = match self.value(expression)? {
            Value::Fact(fact) => fact,
            _ => return self.mistake(self.parsed.start(expression), "a value is no condition; compare a fact with it"),
        };
        let example = if fact.kind() == Kind::Text { "== \"…\"" } else { "> 0" };
        let message = format!("`{0}` is no condition; compare it, as in `{0} {example}`", fact.name());
        self.mistake(self.parsed.start(expression), message)
    }

    pub(super) fn mistake<T>(&mut self, offset: usize, message: impl Into<String>) -> Option<T> {
        self.mistakes.push(Mistake { message: message.into(), offset });
        None
    }
}
