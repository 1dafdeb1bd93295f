//! From text to the tree of the crate `cel`, with places.

use cel::common::ast::{Expr, IdedExpr, LiteralValue, SourceInfo};
use cel::parser::{ParseError, Parser};

use super::Mistake;
use super::scan::{MOST_LEVELS, scan};

/// How long a condition may be, in bytes.
const MOST_BYTES: usize = 4096;

/// A condition as its text says it.
pub(super) struct Parsed<'a> {
    pub(super) root: IdedExpr,
    source: &'a str,
    places: SourceInfo,
}

impl Parsed<'_> {
    /// Returns where an expression begins.
    pub(super) fn start(&self, expression: &IdedExpr) -> usize {
        match &expression.expr {
            Expr::Select(select) => self.start(&select.operand),
            Expr::Literal(LiteralValue::Int(number)) if number.is_negative() => {
                self.before(self.place(expression), "-")
            }
            Expr::Comprehension(comprehension) => self.start(&comprehension.iter_range),
            Expr::Call(call) => match (&call.target, call.args.first()) {
                (Some(target), _) => self.start(target),
                // Operators between two sides are calls with names such as `_==_` and `@in`.
                (None, Some(first)) if call.func_name.starts_with('_') || call.func_name.starts_with('@') => {
                    self.start(first)
                }
                _ => self.before(self.place(expression), &call.func_name),
            },
            _ => self.place(expression),
        }
    }

    /// Returns where the token stands that the parser names an expression after: an operator, the dot of a
    /// field, the bracket of a call.
    pub(super) fn place(&self, expression: &IdedExpr) -> usize {
        self.places.offset_for(expression.id).map_or(0, |(start, _)| start as usize)
    }

    /// Returns where the name of a call begins.
    pub(super) fn name_of_call(&self, expression: &IdedExpr, name: &str) -> usize {
        self.before(self.place(expression), name)
    }

    fn before(&self, place: usize, name: &str) -> usize {
        let before = self.source.get(..place).unwrap_or_default().trim_end();
        if before.ends_with(name) { before.len() - name.len() } else { place }
    }
}

/// Parses a condition. Only the first mistake is told: after it the parser guesses.
pub(super) fn parse(source: &str) -> Result<Parsed<'_>, Mistake> {
    if source.len() > MOST_BYTES {
        let message = format!("the condition has {} bytes; it may have {MOST_BYTES}", source.len());
        return Err(Mistake { message, offset: MOST_BYTES });
    }
    scan(source)?;
    // The parser counts other levels than `scan`, never more of them.
    let levels = u16::try_from(MOST_LEVELS).unwrap_or(u16::MAX);
    match Parser::new().max_recursion_depth(levels).parse_with_source_info(source) {
        Ok((root, places)) => Ok(Parsed { root, source, places }),
        Err(errors) => Err(errors.errors.first().map_or_else(
            || Mistake { message: "this is no condition".into(), offset: 0 },
            |error| syntax_mistake(source, error),
        )),
    }
}

fn syntax_mistake(source: &str, error: &ParseError) -> Mistake {
    let offset = offset_of(source, error.pos);
    let rest = &source[offset..];
    let word: &str = rest.split(|c: char| c != '_' && !c.is_alphanumeric()).next().unwrap_or_default();
    let sign = rest.chars().next().map(String::from).unwrap_or_default();
    let found = if word.is_empty() { sign.as_str() } else { word };
    let instead = match found {
        "=" => "; write `==`",
        "&" | "and" | "AND" => "; write `&&`",
        "|" | "or" | "OR" => "; write `||`",
        "not" | "NOT" => "; write `!`",
        _ => "",
    };
    let message = match error.msg.strip_prefix("Syntax error: ") {
        Some(_) if found.is_empty() => "the condition ends too early".to_owned(),
        Some(missing) if missing.starts_with("missing ") && instead.is_empty() => {
            let what = missing.trim_start_matches("missing ").split(" at ").next().unwrap_or_default();
            format!("{} is missing before `{found}`", what.replace('\'', "`"))
        }
        Some(_) => format!("`{found}` cannot stand here{instead}"),
        None if error.msg.contains("has()") => super::translate::HAS.to_owned(),
        None if error.msg.contains("int literal") => format!(
            "`{word}` is too large a number: the largest is {}, and from {} on a `u` stands behind it",
            u64::MAX,
            i64::MAX as u64 + 1
        ),
        None => error.msg.clone(),
    };
    Mistake { message, offset }
}

/// The parser counts lines and characters from 1.
fn offset_of(source: &str, (line, column): (isize, isize)) -> usize {
    let (line, column) = (usize::try_from(line - 1).unwrap_or(0), usize::try_from(column - 1).unwrap_or(0));
    let mut lines = source.split_inclusive('\n');
    let start: usize = lines.by_ref().take(line).map(str::len).sum();
    let line = lines.next().unwrap_or_default();
    start + line.char_indices().nth(column).map_or(line.len(), |(index, _)| index)
}
