//! Calls as a grammar: `<tool_call>{"name": …, "arguments": …}</tool_call>`, with arguments that fit a tool.

use std::fmt::Write;

use mistralrs::llguidance::Matcher;
use pointsman_engine::EngineError;
use serde_json::{Map, Value};

use super::{Offer, OfferedTool};
use crate::grammar::{Grammar, Strictness, bounded, json_object};
use crate::request::invalid;
use crate::template::{CALL_BEGINS, CALL_ENDS};
use crate::vocabulary::Vocabulary;

const TOOLS: &str = "tools";

impl Offer {
    /// Makes the matcher of an answer that is nothing but calls, or, where it may be, one in the form `answer`.
    pub(crate) fn answer_matcher(
        &self,
        answer: Option<&Grammar>,
        vocabulary: &Vocabulary,
    ) -> Result<Matcher, EngineError> {
        let schemas = self.schemas(vocabulary)?;
        let more = if self.calls.several { " (\"\\n\"? one)*" } else { "" };
        let or_answer = if answer.is_some() { " | @answer" } else { "" };
        let (begins, ends) = (mark(CALL_BEGINS, vocabulary), mark(CALL_ENDS, vocabulary));
        let rules = format!("start: calls{or_answer}\ncalls: one{more}\none: {begins} call {ends}\n{}", schemas);
        let field = answer.map_or(TOOLS, |answer| answer.field);
        Grammar::lark(field, rules).matcher(answer, vocabulary)
    }

    /// Makes the matcher of what follows `<tool_call>`, to its end.
    pub(crate) fn call_matcher(&self, vocabulary: &Vocabulary) -> Result<Matcher, EngineError> {
        let rules = format!("start: call {}\n{}", mark(CALL_ENDS, vocabulary), self.schemas(vocabulary)?);
        Grammar::lark(TOOLS, rules).matcher(None, vocabulary)
    }

    fn schemas(&self, vocabulary: &Vocabulary) -> Result<String, EngineError> {
        let mut names = Vec::new();
        let mut rules = String::new();
        for (index, tool) in self.tools.iter().enumerate() {
            let schema = tool.usable_schema(index, vocabulary)?;
            names.push(format!("call_{index}"));
            let name = &tool.name;
            // Writing to a string does not fail.
            let _ = writeln!(
                rules,
                r#"call_{index}: /[ \n]?\{{[ \n]?"name"[ \n]?:[ \n]?"{name}"[ \n]?,[ \n]?"arguments"[ \n]?:[ \n]?/ %json {schema} /[ \n]?\}}[ \n]?/"#
            );
        }
        Ok(format!("call: {}\n{rules}", names.join(" | ")))
    }
}

impl OfferedTool {
    /// Returns the schema that its arguments are kept to. A strict tool's must be expressible, another's is
    /// used as far as it goes, and if it goes nowhere the arguments are any object.
    fn usable_schema(&self, index: usize, vocabulary: &Vocabulary) -> Result<Value, EngineError> {
        let matches = |schema: &Map<String, Value>, strictness| {
            let schema = bounded(schema.clone(), strictness);
            Grammar::lark(TOOLS, format!("start: %json {schema}")).matcher(None, vocabulary).map(|_| schema)
        };
        if self.strict {
            let field = format!("tools[{index}].parameters_json_schema");
            return matches(&self.parameters, Strictness::Exact).map_err(|error| match error {
                EngineError::InvalidField { rule, .. } => invalid(&field, &rule),
                error => error,
            });
        }
        Ok(matches(&self.parameters, Strictness::Lenient).unwrap_or_else(|_| bounded(json_object(), Strictness::Exact)))
    }
}

/// A tag that is a token of its own and no text is written without quotation marks.
fn mark(tag: &str, vocabulary: &Vocabulary) -> String {
    if vocabulary.has_special(tag) { tag.to_owned() } else { format!("\"{tag}\"") }
}

#[cfg(test)]
mod tests {
    use mistralrs::llguidance::Matcher;
    use pointsman_engine::EngineError;
    use pointsman_proto::inference::v1::response_format::Format;
    use pointsman_proto::inference::v1::tool_choice::{Choice, Mode};
    use pointsman_proto::inference::v1::{GenerateRequest, ResponseFormat, Tool, ToolChoice};

    use super::super::tests::tool;
    use crate::grammar::Grammar;
    use crate::tools::Offer;
    use crate::vocabulary::tests::vocabulary;

    const CITY: &str = r#"{"properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}"#;

    fn offer(tools: &[Tool], choice: ToolChoice) -> Offer {
        let request =
            GenerateRequest { tools: tools.to_vec(), tool_choice: Some(choice), ..GenerateRequest::default() };
        Offer::of(&request).unwrap().unwrap()
    }

    fn required(parallel: bool) -> ToolChoice {
        ToolChoice { choice: Some(Choice::Mode(Mode::Required.into())), parallel: Some(parallel) }
    }

    fn allows(matcher: &Matcher, text: &str) -> bool {
        let mut matcher = matcher.deep_clone();
        let tokens = vocabulary().tokens(text.as_bytes());
        matcher.try_consume_tokens(&tokens).unwrap() == tokens.len()
            && (matcher.is_stopped() || matcher.is_accepting().unwrap())
    }

    #[test]
    fn required_calls_are_calls_and_nothing_else() {
        let tools = [tool("get_weather", CITY), tool("now", "")];
        let weather = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Bergen\"}}\n</tool_call>";
        let now = "<tool_call>{\"name\":\"now\",\"arguments\":{}}</tool_call>";
        let several = offer(&tools, required(true)).answer_matcher(None, &vocabulary()).unwrap();
        let one = offer(&tools, required(false)).answer_matcher(None, &vocabulary()).unwrap();
        for (text, of_several, of_one) in [
            (weather, true, true),
            (now, true, true),
            (&format!("{weather}\n{now}"), true, false),
            (&format!("{weather}{now}{now}"), true, false),
            ("Hello", false, false),
            ("", false, false),
            ("<tool_call>{\"name\":\"other\",\"arguments\":{}}</tool_call>", false, false),
            ("<tool_call>{\"name\":\"now\",\"arguments\":{\"x\":1}}</tool_call>", false, false),
            ("<tool_call>{\"name\":\"get_weather\",\"arguments\":{}}</tool_call>", false, false),
        ] {
            assert_eq!((allows(&several, text), allows(&one, text)), (of_several, of_one), "{text}");
        }
    }

    #[test]
    fn an_answer_in_a_form_may_be_a_call_instead() {
        for format in [
            Format::Regex("yes|no".to_owned()),
            Format::LarkGrammar("start: answer\nanswer: \"yes\" | \"no\"".to_owned()),
        ] {
            let answer = Grammar::of(Some(&ResponseFormat { format: Some(format) })).unwrap().unwrap();
            let matcher = offer(&[tool("now", "")], ToolChoice::default());
            let matcher = matcher.answer_matcher(Some(&answer), &vocabulary()).unwrap();
            assert!(allows(&matcher, "yes"));
            assert!(allows(&matcher, "<tool_call>{\"name\":\"now\",\"arguments\":{}}</tool_call>"));
            assert!(!allows(&matcher, "maybe"));
        }
    }

    #[test]
    fn a_call_that_has_begun_is_kept_to_a_tool() {
        let matcher = offer(&[tool("now", "")], ToolChoice::default()).call_matcher(&vocabulary()).unwrap();
        assert!(allows(&matcher, "\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"));
        assert!(!allows(&matcher, "\n{\"name\": \"then\", \"arguments\": {}}\n</tool_call>"));
        assert!(!allows(&matcher, "\n\n{\"name\": \"now\", \"arguments\": {}}</tool_call>"));
    }

    #[test]
    fn a_strict_tools_schema_must_be_expressible_and_another_is_used_as_far_as_it_goes() {
        let odd = r#"{"properties":{"a":{"type":"integer"}},"not":{"required":["b"]}}"#;
        let strict = Tool { strict: true, ..tool("odd", odd) };
        let error = offer(&[tool("now", ""), strict], required(true)).answer_matcher(None, &vocabulary()).err();
        let Some(EngineError::InvalidField { field, rule }) = error else { panic!("{error:?}") };
        assert!(field == "tools[1].parameters_json_schema" && rule.starts_with("cannot be used"), "{field}: {rule}");

        let call = |arguments: &str| format!("<tool_call>{{\"name\":\"odd\",\"arguments\":{arguments}}}</tool_call>");
        let lenient = offer(&[tool("odd", odd)], required(true)).answer_matcher(None, &vocabulary()).unwrap();
        assert!(allows(&lenient, &call("{\"a\":1}")) && !allows(&lenient, &call("{\"a\":\"x\"}")));
        let hopeless = tool("odd", r##"{"$ref":"#/nowhere"}"##);
        let any = offer(&[hopeless], required(true)).answer_matcher(None, &vocabulary()).unwrap();
        assert!(allows(&any, &call("{\"a\":[\"x\"]}")) && !allows(&any, &call("[]")));
    }
}
