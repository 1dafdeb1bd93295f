//! Forms that an answer must have, as grammars of llguidance.
//!
//! mistral.rs has constraints of its own, and they are not used: it samples first, with the processors of
//! logits, and where the token is not allowed it samples once more, with the same processors, from masked
//! logits. A processor that chooses the token itself is then asked twice for one position. So the grammar is
//! asked by the chooser, before it chooses.

use std::panic::AssertUnwindSafe;

use mistralrs::llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use mistralrs::llguidance::{Matcher, panic_utils};
use pointsman_engine::EngineError;
use pointsman_proto::inference::v1::response_format::Format;
use pointsman_proto::inference::v1::{JsonSchemaFormat, ResponseFormat};
use serde_json::{Map, Value, json};

use crate::request::{first_line, invalid};
use crate::vocabulary::Vocabulary;

/// A grammar, and the field of the request that asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Grammar {
    pub(crate) field: &'static str,
    rules: Rules,
}

#[derive(Clone, Debug)]
enum Rules {
    Json(Value),
    Lark(String),
}

const JSON_SCHEMA: &str = "response_format.json_schema.json_schema";

impl Grammar {
    /// Reads which form a request wants; none: any text.
    pub(crate) fn of(format: Option<&ResponseFormat>) -> Result<Option<Self>, EngineError> {
        let (field, rules) = match format.and_then(|wanted| wanted.format.as_ref()) {
            None | Some(Format::Text(_)) => return Ok(None),
            Some(Format::JsonObject(_)) => {
                ("response_format.json_object", Rules::Json(bounded(json_object(), Strictness::Exact)))
            }
            Some(Format::JsonSchema(JsonSchemaFormat { json_schema, strict, .. })) => {
                let schema = schema(json_schema).map_err(|why| invalid(JSON_SCHEMA, &why))?;
                let strictness = if *strict { Strictness::Exact } else { Strictness::Lenient };
                (JSON_SCHEMA, Rules::Json(bounded(schema, strictness)))
            }
            Some(Format::Regex(regex)) => {
                let bare = without_anchors(regex);
                let rules = GrammarWithLexer::from_regex(bare).lark_grammar.unwrap_or_default();
                ("response_format.regex", Rules::Lark(rules))
            }
            Some(Format::LarkGrammar(grammar)) => ("response_format.lark_grammar", Rules::Lark(grammar.clone())),
        };
        Ok(Some(Self { field, rules }))
    }

    pub(crate) fn lark(field: &'static str, rules: String) -> Self {
        Self { field, rules: Rules::Lark(rules) }
    }

    fn named(&self, name: &str) -> GrammarWithLexer {
        let grammar = match &self.rules {
            Rules::Json(schema) => GrammarWithLexer::from_json_schema(schema.clone()),
            Rules::Lark(rules) => GrammarWithLexer::from_lark(rules.clone()),
        };
        GrammarWithLexer { name: Some(name.to_owned()), ..grammar }
    }

    /// Makes the matcher of this grammar, which may refer to another as `@answer`. Fails with what is wrong.
    pub(crate) fn matcher(&self, answer: Option<&Self>, vocabulary: &Vocabulary) -> Result<Matcher, EngineError> {
        let grammars =
            [Some(self.named("start")), answer.map(|answer| answer.named("answer"))].into_iter().flatten().collect();
        let grammar = TopLevelGrammar { grammars, max_tokens: None };
        let parser = panic_utils::catch_unwind(AssertUnwindSafe(|| vocabulary.factory().create_parser(grammar)));
        let mut matcher = Matcher::new(parser);
        if let Some(problem) = matcher.get_error() {
            return Err(invalid(self.field, &told(&problem)));
        }
        // A grammar that derives nothing is seen at the first token only.
        let first = matcher.compute_mask_or_eos();
        first.map(|_| matcher).map_err(|_| invalid(self.field, "cannot be used as a grammar: no text matches it"))
    }
}

/// How a schema is kept to where the grammar cannot express it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// The schema is refused.
    Exact,
    /// What cannot be expressed is left out; `oneOf` is taken as `anyOf`.
    Lenient,
}

/// Bounds the whitespace of JSON: between two of its tokens one space or line break at most. A model that may
/// write any number of them writes them to its last token.
pub(crate) fn bounded(mut schema: Map<String, Value>, strictness: Strictness) -> Value {
    let lenient = strictness == Strictness::Lenient;
    schema.insert("x-guidance".to_owned(), json!({ "whitespace_pattern": "[ \\n]", "lenient": lenient }));
    Value::Object(schema)
}

pub(crate) fn json_object() -> Map<String, Value> {
    Map::from_iter([("type".to_owned(), json!("object"))])
}

/// Reads a JSON Schema. Fails with what is wrong.
pub(crate) fn schema(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(schema)) => Ok(schema),
        Ok(Value::Bool(true)) => Ok(Map::new()),
        Ok(_) => Err("must be a JSON Schema: a JSON object, or `true`".to_owned()),
        Err(error) => Err(format!("must be JSON: {error}")),
    }
}

/// A regular expression matches an answer as a whole anyway, and llguidance knows no anchors.
fn without_anchors(regex: &str) -> &str {
    let regex = regex.strip_prefix('^').unwrap_or(regex);
    let Some(bare) = regex.strip_suffix('$') else { return regex };
    let escaped = bare.len() - bare.trim_end_matches('\\').len();
    if escaped % 2 == 1 { regex } else { bare }
}

/// Puts a problem into one line: its first, and the one that names the error where the first announces it.
fn told(problem: &str) -> String {
    let first = first_line(&problem);
    let named = problem.lines().map(str::trim).find(|line| line.starts_with("error:"));
    match named.filter(|_| first.ends_with(':')) {
        Some(named) => {
            let named = named.trim_start_matches("error:").trim_start();
            format!("cannot be used as a grammar: {first} {}", first_line(&named))
        }
        None => format!("cannot be used as a grammar: {first}"),
    }
}

#[cfg(test)]
mod tests {
    use mistralrs::llguidance::Matcher;
    use pointsman_engine::EngineError;
    use pointsman_proto::inference::v1::response_format::Format;
    use pointsman_proto::inference::v1::{JsonObjectFormat, JsonSchemaFormat, ResponseFormat, TextFormat};

    use super::Grammar;
    use crate::vocabulary::tests::vocabulary;

    fn matcher(format: Format) -> Result<Matcher, EngineError> {
        let grammar = Grammar::of(Some(&ResponseFormat { format: Some(format) }))?.unwrap();
        grammar.matcher(None, &vocabulary())
    }

    fn schema(text: &str, strict: bool) -> Format {
        let json_schema = text.to_owned();
        Format::JsonSchema(JsonSchemaFormat {
            name: "s".to_owned(),
            json_schema,
            strict,
            ..JsonSchemaFormat::default()
        })
    }

    /// Whether the form allows just this text.
    fn allows(format: &Format, text: &str) -> bool {
        let mut matcher = matcher(format.clone()).unwrap();
        let tokens = vocabulary().tokens(text.as_bytes());
        matcher.try_consume_tokens(&tokens).unwrap() == tokens.len()
            && (matcher.is_stopped() || matcher.is_accepting().unwrap())
    }

    #[test]
    fn text_needs_no_grammar() {
        assert!(Grammar::of(None).unwrap().is_none());
        let text = ResponseFormat { format: Some(Format::Text(TextFormat {})) };
        assert!(Grammar::of(Some(&text)).unwrap().is_none());
    }

    #[test]
    fn forms_allow_what_they_say_and_no_whitespace_without_end() {
        let object = Format::JsonObject(JsonObjectFormat {});
        let person = schema(r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}"#, true);
        let list = schema(r##"{"$defs":{"x":{"enum":["ä","b"]}},"type":"array","items":{"$ref":"#/$defs/x"}}"##, true);
        let regex = Format::Regex(r"^[A-Z]{2}-\d+$".to_owned());
        let lark = Format::LarkGrammar("start: \"yes\" | \"no\" /!+/".to_owned());
        for (format, text, want) in [
            (&object, "{}", true),
            (&object, r#"{"a": [1, {"b":null}]}"#, true),
            (&object, "{ \"a\":\n1}", true),
            (&object, "{  \"a\":1}", false),
            (&object, "{\"a\":1\n\n}", false),
            (&object, "[1]", false),
            (&person, r#"{"n": 7}"#, true),
            (&person, r#"{"n": "7"}"#, false),
            (&person, "{}", false),
            (&list, r#"["ä", "b"]"#, true),
            (&list, r#"["c"]"#, false),
            (&regex, "AB-12", true),
            (&regex, "AB-12 ", false),
            (&lark, "no!!", true),
            (&lark, "no", false),
            (&schema("true", true), "3", true),
        ] {
            assert_eq!(allows(format, text), want, "{text} of {format:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_grammar_is_refused_by_its_field() {
        for (format, says) in [
            (schema("no JSON", true), "response_format.json_schema.json_schema: must be JSON:"),
            (schema("[]", true), "response_format.json_schema.json_schema: must be a JSON Schema"),
            (schema("false", true), "response_format.json_schema.json_schema: must be a JSON Schema"),
            (schema(r#"{"type": "bird"}"#, true), "response_format.json_schema.json_schema: cannot be used"),
            (schema(r#"{"not": {"type": "object"}}"#, true), "response_format.json_schema.json_schema: cannot be used"),
            (schema(r##"{"$ref": "#/$defs/missing"}"##, true), "response_format.json_schema.json_schema: cannot be"),
            (Format::Regex("(".to_owned()), "response_format.regex: cannot be used as a grammar:"),
            (Format::LarkGrammar("start: missing".to_owned()), "response_format.lark_grammar: cannot be used"),
        ] {
            let Err(EngineError::InvalidField { field, rule }) = matcher(format.clone()) else { panic!("{format:?}") };
            let said = format!("{field}: {rule}");
            assert!(said.starts_with(says) && !said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn what_a_lenient_schema_cannot_express_is_left_out() {
        assert!(matcher(schema(r#"{"type": "object", "not": {"required": ["a"]}}"#, false)).is_ok());
        assert!(matcher(schema(r#"{"oneOf": [{"type": "number"}, {"type": "integer"}]}"#, false)).is_ok());
        assert!(matcher(schema(r#"{"oneOf": [{"type": "number"}, {"type": "integer"}]}"#, true)).is_err());
    }

    #[test]
    fn a_hostile_grammar_is_an_error_or_a_matcher_and_no_crash() {
        let lark = |rules: &str| Format::LarkGrammar(rules.to_owned());
        let regex = |regex: &str| Format::Regex(regex.to_owned());
        for (format, problem) in [
            (lark(""), "no start rule found"),
            (lark("start: start"), "no text matches it"),
            (lark("start: @start"), "no text matches it"),
            (lark("start: @answer"), "unknown grammar @answer"),
            (lark("start: <no_such_token>"), "unknown special token"),
            (lark("start: <[99999]>"), "too large"),
            (lark("start: %json {"), "EOF while parsing"),
            (regex("["), "unclosed character class"),
            (regex("(?=a)b"), "look-around"),
            (regex("a{99999999999}"), "decimal literal"),
        ] {
            let Err(EngineError::InvalidField { rule, .. }) = matcher(format.clone()) else { panic!("{format:?}") };
            assert!(rule.contains(problem) && !rule.contains('\n'), "{rule}");
        }
        for format in [lark("start: \"\""), regex("(a{1,1000}){1,1000}"), regex("((a*)*)*b"), regex(r"\p{L}{1,5000}")] {
            assert!(matcher(format).is_ok());
        }
    }

    #[test]
    fn anchors_say_nothing() {
        for (regex, bare) in [("^a$", "a"), ("a", "a"), (r"a\$", r"a\$"), (r"^a\\$", r"a\\")] {
            assert_eq!(super::without_anchors(regex), bare);
        }
    }
}
