//! Tools: into the prompt, as a grammar of calls, and out of the answer.

pub(crate) mod calls;
pub(crate) mod parse;
mod scan;

use std::collections::HashMap;

use mistralrs::{Function, Tool as TemplateTool, ToolType};
use pointsman_engine::EngineError;
use pointsman_proto::inference::v1::tool_choice::{Choice, Mode};
use pointsman_proto::inference::v1::{GenerateRequest, Tool};
use serde_json::{Map, Value, json};

use crate::grammar::schema;
use crate::request::invalid;

/// Which tools a request offers, and how it wants them called.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Offer {
    pub(crate) tools: Vec<OfferedTool>,
    pub(crate) calls: Calls,
}

/// A tool, and the schema of its arguments.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OfferedTool {
    pub(crate) name: String,
    description: String,
    pub(crate) parameters: Map<String, Value>,
    pub(crate) strict: bool,
}

/// How many calls an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Calls {
    /// Whether there is at least one, and nothing else.
    pub(crate) required: bool,
    /// Whether there may be more than one.
    pub(crate) several: bool,
}

impl Offer {
    /// Reads the tools of a request. None where it has none, or wants none called: they are then left out of
    /// the prompt too, since a model that knows of tools calls them.
    pub(crate) fn of(request: &GenerateRequest) -> Result<Option<Self>, EngineError> {
        let choice = request.tool_choice.clone().unwrap_or_default();
        let parallel = choice.parallel.unwrap_or(true);
        let tools = request.tools.iter().enumerate().map(|(index, tool)| offered(index, tool));
        let mut tools = tools.collect::<Result<Vec<_>, _>>()?;
        let calls = match choice.choice {
            Some(Choice::Mode(mode)) if mode == i32::from(Mode::None) => return Ok(None),
            Some(Choice::Mode(mode)) if mode == i32::from(Mode::Required) => {
                Calls { required: true, several: parallel }
            }
            Some(Choice::ToolName(name)) => {
                tools.retain(|tool| tool.name == name);
                if tools.is_empty() {
                    return Err(invalid("tool_choice.tool_name", "names no tool of `tools`"));
                }
                Calls { required: true, several: false }
            }
            Some(Choice::Mode(_)) | None => Calls { required: false, several: parallel },
        };
        Ok((!tools.is_empty()).then_some(Self { tools, calls }))
    }

    /// Returns the names of the tools.
    pub(crate) fn names(&self) -> Vec<String> {
        self.tools.iter().map(|tool| tool.name.clone()).collect()
    }

    /// Returns the tools as a chat template gets them.
    pub(crate) fn for_template(&self) -> Vec<TemplateTool> {
        self.tools.iter().map(OfferedTool::for_template).collect()
    }
}

impl OfferedTool {
    fn for_template(&self) -> TemplateTool {
        // In what order the map tells its keys does not matter: the template's values are sorted.
        let parameters: HashMap<String, Value> = self.parameters.clone().into_iter().collect();
        let description = Some(self.description.clone()).filter(|text| !text.is_empty());
        let function = Function { description, name: self.name.clone(), parameters: Some(parameters) };
        TemplateTool { tp: ToolType::Function, function }
    }
}

fn offered(index: usize, tool: &Tool) -> Result<OfferedTool, EngineError> {
    let mut parameters = match tool.parameters_json_schema.as_str() {
        "" => no_properties(),
        text => schema(text).map_err(|why| invalid(&format!("tools[{index}].parameters_json_schema"), &why))?,
    };
    // Arguments are an object, whatever the schema leaves open.
    parameters.entry("type").or_insert_with(|| json!("object"));
    Ok(OfferedTool { name: tool.name.clone(), description: tool.description.clone(), parameters, strict: tool.strict })
}

fn no_properties() -> Map<String, Value> {
    Map::from_iter([("properties".to_owned(), json!({})), ("additionalProperties".to_owned(), json!(false))])
}

#[cfg(test)]
pub(crate) mod tests {
    use pointsman_engine::EngineError;
    use pointsman_proto::inference::v1::tool_choice::{Choice, Mode};
    use pointsman_proto::inference::v1::{GenerateRequest, Tool, ToolChoice};

    use super::{Calls, Offer};

    pub(crate) fn tool(name: &str, schema: &str) -> Tool {
        Tool { name: name.to_owned(), parameters_json_schema: schema.to_owned(), ..Tool::default() }
    }

    fn offer(choice: Option<Choice>, parallel: Option<bool>) -> Result<Option<Offer>, EngineError> {
        Offer::of(&GenerateRequest {
            tools: vec![tool("a", ""), tool("b", r#"{"properties":{}}"#)],
            tool_choice: Some(ToolChoice { choice, parallel }),
            ..GenerateRequest::default()
        })
    }

    #[test]
    fn the_choice_says_which_tools_and_how_many_calls() {
        let mode = |mode: Mode| Some(Choice::Mode(mode.into()));
        let name = |name: &str| Some(Choice::ToolName(name.to_owned()));
        for (choice, parallel, names, required, several) in [
            (None, None, &["a", "b"][..], false, true),
            (mode(Mode::Auto), Some(false), &["a", "b"], false, false),
            (mode(Mode::Required), None, &["a", "b"], true, true),
            (mode(Mode::Required), Some(false), &["a", "b"], true, false),
            (name("b"), None, &["b"], true, false),
        ] {
            let offer = offer(choice, parallel).unwrap().unwrap();
            let have: Vec<&str> = offer.tools.iter().map(|tool| tool.name.as_str()).collect();
            assert_eq!((have.as_slice(), offer.calls), (names, Calls { required, several }));
        }
        assert_eq!(offer(mode(Mode::None), None).unwrap(), None);
        assert_eq!(Offer::of(&GenerateRequest::default()).unwrap(), None);
        assert!(offer(name("c"), None).is_err());
    }

    #[test]
    fn arguments_are_an_object() {
        for tool in offer(None, None).unwrap().unwrap().tools {
            assert_eq!(tool.parameters["type"], "object");
        }
        let request = GenerateRequest { tools: vec![tool("a", ""), tool("b", "{")], ..GenerateRequest::default() };
        let Err(EngineError::InvalidField { field, rule }) = Offer::of(&request) else { panic!("taken") };
        assert!(field == "tools[1].parameters_json_schema" && rule.starts_with("must be JSON:"), "{field}: {rule}");
    }
}
