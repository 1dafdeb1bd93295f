//! Tools, and the form of the answer.

use pointsman_proto::inference::v1::response_format::Format;
use pointsman_proto::inference::v1::tool_choice::{Choice, Mode};
use pointsman_proto::inference::v1::{
    JsonObjectFormat, JsonSchemaFormat, ResponseFormat, TextFormat, Tool, ToolChoice,
};

use super::body::{JsonSchemaBody, NamedToolChoice, ResponseFormatBody, ToolBody, ToolChoiceBody};
use super::uncarried;
use crate::json::{Given, Shape};
use crate::openai::parameter;
use crate::problems::Problems;

pub(in crate::openai) fn convert(given: Given<Vec<Given<ToolBody<'_>>>>, problems: &mut Problems) -> Vec<Tool> {
    let bodies = given.take("tools", problems).unwrap_or_default();
    let numbered = bodies.into_iter().enumerate();
    // A tool with a problem leaves a place holder that breaks no rule.
    let holder = |index| Tool { name: format!("tool-{index}"), ..Tool::default() };
    numbered.map(|(index, body)| tool(body, index, problems).unwrap_or_else(|| holder(index))).collect()
}

fn tool(given: Given<ToolBody<'_>>, index: usize, problems: &mut Problems) -> Option<Tool> {
    let p = problems;
    let body = given.element(format_args!("tools[{index}]"), p)?;
    let at = |field: &str| format!("tools[{index}].{field}");
    if let Some("custom") = body.kind.text() {
        p.unsupported(at("type"), "must be `function`");
        return None;
    }
    if body.kind.take(at("type"), p).as_deref() != Some("function") {
        p.invalid_if_new(at("type"), "must be `function`");
    }
    body.others.check(at(""), uncarried::TOOL, parameter, p);
    let Some(function) = body.function.take(at("function"), p) else {
        p.invalid_if_new(at("function"), "is required");
        return None;
    };
    function.others.check(at("function."), uncarried::NONE, parameter, p);
    let parameters = function.parameters.take(at("function.parameters"), p);
    Some(Tool {
        name: function.name.take(at("function.name"), p).unwrap_or_default(),
        description: function.description.take(at("function.description"), p).unwrap_or_default(),
        parameters_json_schema: parameters.map(|raw| raw.0.to_owned()).unwrap_or_default(),
        strict: function.strict.take(at("function.strict"), p).unwrap_or_default(),
    })
}

pub(in crate::openai) fn choice(
    given: Given<ToolChoiceBody<'_>>,
    parallel: Given<bool>,
    problems: &mut Problems,
) -> Option<ToolChoice> {
    let choice = match given.take("tool_choice", problems) {
        None => None,
        Some(ToolChoiceBody::Named(named)) => tool_name(named, problems).map(Choice::ToolName),
        Some(ToolChoiceBody::Rule(rule)) => match rule.as_ref() {
            "none" => Some(Choice::Mode(Mode::None.into())),
            "auto" => Some(Choice::Mode(Mode::Auto.into())),
            "required" => Some(Choice::Mode(Mode::Required.into())),
            _ => {
                problems.invalid("tool_choice", ToolChoiceBody::EXPECTED);
                None
            }
        },
    };
    let parallel = parallel.take("parallel_tool_calls", problems);
    (choice.is_some() || parallel.is_some()).then_some(ToolChoice { choice, parallel })
}

fn tool_name(named: NamedToolChoice<'_>, problems: &mut Problems) -> Option<String> {
    let p = problems;
    if let Some("allowed_tools" | "custom") = named.kind.text() {
        p.unsupported("tool_choice.type", "must be `function`");
        return None;
    }
    if named.kind.take("tool_choice.type", p).as_deref() != Some("function") {
        p.invalid_if_new("tool_choice.type", "must be `function`");
    }
    named.others.check("tool_choice.", uncarried::NONE, parameter, p);
    let Some(function) = named.function.take("tool_choice.function", p) else {
        p.invalid_if_new("tool_choice.function", "is required");
        return None;
    };
    function.others.check("tool_choice.function.", uncarried::NONE, parameter, p);
    Some(function.name.take("tool_choice.function.name", p).unwrap_or_default())
}

pub(in crate::openai) fn response_format(
    given: Given<ResponseFormatBody<'_>>,
    problems: &mut Problems,
) -> Option<ResponseFormat> {
    let p = problems;
    let body = given.take("response_format", p)?;
    body.others.check("response_format.", uncarried::NONE, parameter, p);
    let schema = body.json_schema.take("response_format.json_schema", p);
    let regex = body.regex.take("response_format.regex", p);
    let grammar = body.lark_grammar.take("response_format.lark_grammar", p);
    let kind = body.kind.take("response_format.type", p).unwrap_or_default();
    let given = [("json_schema", schema.is_some()), ("regex", regex.is_some()), ("lark_grammar", grammar.is_some())];
    let format = match &*kind {
        "text" => Some(Format::Text(TextFormat {})),
        "json_object" => Some(Format::JsonObject(JsonObjectFormat {})),
        "json_schema" => schema.map(|schema| Format::JsonSchema(json_schema(schema, p))),
        "regex" => regex.map(Format::Regex),
        "lark_grammar" => grammar.map(Format::LarkGrammar),
        _ => {
            p.invalid_if_new("response_format.type", "must be text, json_object, json_schema, regex or lark_grammar");
            return None;
        }
    };
    for (field, _) in given.iter().filter(|(field, is_there)| *is_there && *field != kind) {
        p.invalid(format!("response_format.{field}"), format!("needs `type`: {field}"));
    }
    if format.is_none() {
        p.invalid_if_new(format!("response_format.{kind}"), "is required");
    }
    format.map(|format| ResponseFormat { format: Some(format) })
}

fn json_schema(body: JsonSchemaBody<'_>, problems: &mut Problems) -> JsonSchemaFormat {
    let p = problems;
    body.others.check("response_format.json_schema.", uncarried::NONE, parameter, p);
    let schema = body.schema.take("response_format.json_schema.schema", p);
    if schema.is_none() {
        p.invalid_if_new("response_format.json_schema.schema", "is required");
    }
    JsonSchemaFormat {
        name: body.name.take("response_format.json_schema.name", p).unwrap_or_default(),
        json_schema: schema.map(|raw| raw.0.to_owned()).unwrap_or_default(),
        strict: body.strict.take("response_format.json_schema.strict", p).unwrap_or_default(),
        description: body.description.take("response_format.json_schema.description", p).unwrap_or_default(),
    }
}
