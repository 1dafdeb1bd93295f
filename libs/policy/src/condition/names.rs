//! Which fact an expression names.

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};

use crate::facts::Fact;
use crate::near::{MOST_WRONG, edits};

/// How long the name of a label may be, in bytes; the contract's bound.
const MOST_LABEL_BYTES: usize = 63;

/// Returns the fact that an expression names; an error says what is wrong. `None` if it is no name at all.
pub(super) fn fact(expression: &IdedExpr) -> Option<Result<Fact, String>> {
    if let Some((of, key)) = indexed(expression) {
        return Some(match path(of)?.as_slice() {
            ["labels"] => match &key.expr {
                Expr::Literal(LiteralValue::String(name)) => label(name.inner()),
                _ => Err("the name of a label is written out, as in `labels[\"team\"]`".into()),
            },
            names => Err(format!("`[…]` is for labels only; `{}` has nothing in it", names.join("."))),
        });
    }
    let names = path(expression)?;
    Some(match names.as_slice() {
        ["labels"] => Err("`labels` is all labels; name one, as in `labels[\"team\"]`".into()),
        ["labels", name] => label(name),
        names => named(&names.join(".")),
    })
}

/// Returns the label of this name.
pub(super) fn label(name: &str) -> Result<Fact, String> {
    if (1..=MOST_LABEL_BYTES).contains(&name.len()) {
        Ok(Fact::Label(name.into()))
    } else {
        Err(format!("the name of a label has 1 to {MOST_LABEL_BYTES} bytes"))
    }
}

/// Returns whether an expression is the map of all labels.
pub(super) fn is_labels(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if name == "labels")
}

fn indexed(expression: &IdedExpr) -> Option<(&IdedExpr, &IdedExpr)> {
    match &expression.expr {
        Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
            [of, key] => Some((of, key)),
            _ => None,
        },
        _ => None,
    }
}

/// The words of `a.b.c`.
fn path(expression: &IdedExpr) -> Option<Vec<&str>> {
    match &expression.expr {
        Expr::Ident(name) => Some(vec![name]),
        Expr::Select(select) if !select.test => {
            let mut names = path(&select.operand)?;
            names.push(&select.field);
            Some(names)
        }
        _ => None,
    }
}

fn named(name: &str) -> Result<Fact, String> {
    if let Some(fact) = Fact::NAMED.iter().find(|fact| fact.name() == name) {
        return Ok(fact.clone());
    }
    let nearest = Fact::NAMED.iter().map(|fact| (distance(name, &fact.name()), fact)).min();
    Err(match nearest {
        Some((wrong, fact)) if wrong <= MOST_WRONG => {
            format!("`{name}`: there is no such fact; did you mean `{}`?", fact.name())
        }
        _ => {
            let names: Vec<_> = Fact::NAMED.iter().map(|fact| format!("`{}`", fact.name())).collect();
            format!("`{name}`: there is no such fact; there are {} and `labels[\"…\"]`", names.join(", "))
        }
    })
}

/// How many letters differ, whether or not the first word, as in `request.`, is there.
fn distance(wrong: &str, right: &str) -> usize {
    let short = right.split_once('.').map_or(right, |(_, name)| name);
    edits(wrong, right).min(if wrong.contains('.') { usize::MAX } else { edits(wrong, short) })
}
