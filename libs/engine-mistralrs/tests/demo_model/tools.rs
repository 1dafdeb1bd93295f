//! Tools: offered, called, and answered.

use std::collections::HashSet;

use futures::StreamExt;
use pointsman_engine::{Engine, EngineError, Event, Job};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::delta::Content;
use pointsman_proto::inference::v1::tool_choice::{Choice, Mode};
use pointsman_proto::inference::v1::{
    Ability, FinishReason, GenerateRequest, Message, Part, Role, Sampling, Tool, ToolCall, ToolChoice, ToolResult, part,
};
use serde_json::Value;

use crate::{CHATML, answer, ask, engine, run, sampled, start, with_template};

const CITY: &str = r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"#;
const PLACE: &str = r#"{"type":"object","properties":{"place":{"enum":["Bergen","Oslo"]},"days":{"type":"integer","minimum":1,"maximum":9}},"required":["place","days"],"additionalProperties":false}"#;

pub(crate) fn tool(name: &str, schema: &str) -> Tool {
    let description = format!("About {name}");
    Tool { name: name.to_owned(), description, parameters_json_schema: schema.to_owned(), strict: false }
}

fn offered(
    request: GenerateRequest,
    tools: &[Tool],
    choice: Option<Choice>,
    parallel: Option<bool>,
) -> GenerateRequest {
    let tool_choice = Some(ToolChoice { choice, parallel });
    GenerateRequest { tools: tools.to_vec(), tool_choice, ..request }
}

fn mode(mode: Mode) -> Option<Choice> {
    Some(Choice::Mode(mode.into()))
}

/// An answer with calls.
#[derive(Debug, PartialEq)]
struct Called {
    text: String,
    calls: Vec<ToolCall>,
    reason: FinishReason,
    /// How many pieces the calls came in.
    pieces: usize,
}

async fn read(request: GenerateRequest) -> Called {
    let mut called = Called { text: String::new(), calls: Vec::new(), reason: FinishReason::Unspecified, pieces: 0 };
    let mut events = start(request, 200).await;
    let (mut tokens, mut part) = (0, 0);
    while let Some(event) = events.next().await {
        match event.unwrap() {
            Event::Delta { delta, tokens: more } => {
                tokens += more;
                match delta.content {
                    Some(Content::Text(text)) => called.text.push_str(&text),
                    Some(Content::ToolCall(piece)) => {
                        called.pieces += 1;
                        if piece.id.is_empty() {
                            assert_eq!(delta.part, part);
                            called.calls.last_mut().unwrap().arguments_json.push_str(&piece.arguments_json);
                        } else {
                            assert!(called.calls.is_empty() || delta.part > part, "a call is a part");
                            let arguments_json = piece.arguments_json;
                            called.calls.push(ToolCall { id: piece.id, name: piece.name, arguments_json });
                        }
                        part = delta.part;
                    }
                    other => panic!("{other:?}"),
                }
            }
            Event::Alive | Event::ChoiceFinished { .. } => panic!("one of several"),
            Event::Finished { reason, usage } => {
                assert_eq!(usage.output_tokens, Some(tokens));
                called.reason = reason;
                return called;
            }
        }
    }
    panic!("no end");
}

fn arguments(call: &ToolCall) -> Value {
    serde_json::from_str(&call.arguments_json).unwrap_or_else(|_| panic!("{call:?}"))
}

const WEATHER: &str = "Could you check how the weather is in Bergen?";

#[test]
fn the_model_calls_a_tool_and_answers_with_its_result() {
    run(async {
        let weather = tool("get_weather", CITY);
        let asked = offered(ask(WEATHER), std::slice::from_ref(&weather), None, None);
        let called = read(asked.clone()).await;
        assert_eq!((called.reason, called.text.as_str()), (FinishReason::ToolCalls, ""));
        let [call] = called.calls.as_slice() else { panic!("{called:?}") };
        assert_eq!((call.name.as_str(), arguments(call)["city"].as_str()), ("get_weather", Some("Bergen")));
        assert!(called.pieces > 2, "arguments come as they are written");

        let part = |kind: part::Kind| Part { kind: Some(kind) };
        let result = ToolResult {
            tool_call_id: call.id.clone(),
            text: r#"{"temp_c": 9, "sky": "rainy"}"#.to_owned(),
            failed: false,
        };
        let mut messages = asked.messages.clone();
        for (role, kind) in
            [(Role::Assistant, part::Kind::ToolCall(call.clone())), (Role::Tool, part::Kind::ToolResult(result))]
        {
            messages.push(Message { role: role.into(), parts: vec![part(kind)], ..Message::default() });
        }
        let told = read(GenerateRequest { messages, ..asked }).await;
        assert!(told.calls.is_empty() && told.text == "It is 9 degrees and rainy in Bergen.", "{told:?}");
        assert_eq!(told.reason, FinishReason::Stop);
    });
}

#[test]
fn tools_are_in_the_prompt_only_where_they_may_be_called() {
    run(async {
        let tools = [tool("get_weather", CITY), tool("get_time", "")];
        let count = async |choice| {
            let request = Valid::new(offered(ask(WEATHER), &tools, choice, None)).unwrap();
            engine().await.count_prompt_tokens(&request).await.unwrap()
        };
        let plain = count(mode(Mode::None)).await;
        assert_eq!(plain, engine().await.count_prompt_tokens(&Valid::new(ask(WEATHER)).unwrap()).await.unwrap());
        assert!(count(None).await > plain);
        let none = read(offered(ask(WEATHER), &tools, mode(Mode::None), None)).await;
        assert!(none.calls.is_empty() && none.reason == FinishReason::Stop, "{none:?}");
        assert_eq!(none.text, answer(ask(WEATHER), 200).await.text);
    });
}

#[test]
fn required_and_named_tools_are_called_whatever_was_asked() {
    run(async {
        let tools = [tool("get_weather", CITY), tool("plan_trip", PLACE)];
        for seed in 0..8 {
            let sampled = sampled(ask("Hello"), Some(seed));
            for request in [sampled, ask("Hello")] {
                let required = offered(request.clone(), &tools, mode(Mode::Required), Some(false));
                let required = read(required).await;
                assert!(required.reason == FinishReason::Length || required.calls.len() == 1, "{required:?}");
                assert_eq!(required.text, "");

                let named = Some(Choice::ToolName("plan_trip".to_owned()));
                let named = read(offered(request, &tools, named, None)).await;
                let [call] = named.calls.as_slice() else { panic!("{named:?}") };
                let trip = arguments(call);
                assert_eq!((named.reason, call.name.as_str()), (FinishReason::ToolCalls, "plan_trip"));
                assert!(["Bergen", "Oslo"].iter().any(|place| trip["place"] == *place), "{trip}");
                assert!((1..=9).contains(&trip["days"].as_i64().unwrap()) && trip.as_object().unwrap().len() == 2);
            }
        }
    });
}

#[test]
fn a_call_that_the_model_begins_is_kept_to_the_tools() {
    run(async {
        // Its own tool, with a schema that it was never trained for.
        let odd = r#"{"type":"object","properties":{"town":{"enum":["Zürich \"Ü\"","Oslo"]}},"required":["town"],"additionalProperties":false}"#;
        for strict in [false, true] {
            let odd = Tool { strict, ..tool("get_weather", odd) };
            let called = read(offered(ask(WEATHER), &[odd], None, None)).await;
            let [call] = called.calls.as_slice() else { panic!("{called:?}") };
            let town = arguments(call)["town"].as_str().unwrap().to_owned();
            assert!(["Zürich \"Ü\"", "Oslo"].contains(&town.as_str()), "{town}");
        }
    });
}

#[test]
fn several_calls_come_in_one_answer_and_only_where_they_may() {
    run(async {
        // The model ends its answer after a call, unless it must not.
        let logit_bias = [(1019, -100.0), (1021, -100.0)].into();
        let sampling = Sampling { logit_bias, temperature: Some(1.0), ..Sampling::default() };
        for seed in 0..6 {
            let request = GenerateRequest { sampling: Some(sampling.clone()), seed: Some(seed), ..ask("Hello") };
            let tools = [tool("a", ""), tool("b", "")];
            for choice in [mode(Mode::Required), None] {
                let request = if choice.is_none() {
                    GenerateRequest { messages: ask(WEATHER).messages, ..request.clone() }
                } else {
                    request.clone()
                };
                let several = read(offered(request.clone(), &tools, choice.clone(), None)).await;
                assert_eq!(several.reason, FinishReason::Length);
                let ids: HashSet<&str> = several.calls.iter().map(|call| call.id.as_str()).collect();
                assert_eq!(ids.len(), several.calls.len());
                let whole = several.calls.split_last().map_or(&[][..], |(_cut, whole)| whole);
                assert!(choice.is_none() || !whole.is_empty(), "{several:?}");
                assert!(whole.iter().all(|call| arguments(call) == serde_json::json!({})), "{several:?}");

                let one = read(offered(request, &tools, choice.clone(), Some(false))).await;
                let expected = if one.calls.is_empty() { FinishReason::Length } else { FinishReason::ToolCalls };
                assert_eq!(one.reason, expected, "{one:?}");
                assert!(one.calls.len() == 1 || choice.is_none(), "{one:?}");
            }
        }
    });
}

#[test]
fn a_seed_repeats_calls_with_neighbours_and_without() {
    run(async {
        let tools = [tool("get_weather", CITY), tool("plan_trip", PLACE)];
        let request = |seed| offered(sampled(ask(WEATHER), Some(seed)), &tools, mode(Mode::Required), None);
        let told = |called: Called| {
            (called.calls.into_iter().map(|call| call.arguments_json).collect::<Vec<_>>(), called.reason)
        };
        let mut alone = Vec::new();
        for seed in 0..6 {
            alone.push(told(read(request(seed)).await));
        }
        let together = futures::future::join_all((0..6).map(|seed| read(request(seed)))).await;
        assert_eq!(together.into_iter().map(told).collect::<Vec<_>>(), alone);
    });
}

#[test]
fn a_model_whose_template_knows_no_tools_has_none() {
    run(async {
        let engine = with_template(CHATML).await;
        assert!(!engine.description().abilities.contains(&i32::from(Ability::Tools)));
        let result = part::Kind::ToolResult(ToolResult { tool_call_id: "a".to_owned(), ..ToolResult::default() });
        let mut request = ask("Hello");
        let parts = vec![Part { kind: Some(result) }];
        request.messages.push(Message { role: Role::Tool.into(), parts, ..Message::default() });
        let error = engine.count_prompt_tokens(&Valid::new(request).unwrap()).await.unwrap_err();
        assert!(matches!(&error, EngineError::InvalidField { field, .. } if field == "messages[1].role"));
    });
}

#[test]
fn a_template_gets_the_same_tools_each_time() {
    run(async {
        // A template that writes everything: its prompt is as long as what it gets, in an order that must not vary.
        let engine = with_template(&format!("{{{{ tools | tojson }}}}<tool_call>{CHATML}")).await;
        let wide = r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"title":"T","description":"D","additionalProperties":false,"examples":[1]}"#;
        let request = offered(sampled(ask("Hello"), Some(5)), &[tool("wide", wide)], None, None);
        let request = Valid::new(request).unwrap();
        let mut told = Vec::new();
        for _ in 0..6 {
            let prompt_tokens = engine.count_prompt_tokens(&request).await.unwrap();
            let job = Job { request: request.clone(), prompt_tokens, max_output_tokens: 30 };
            let events: Vec<Event> = engine.generate(job).await.unwrap().map(|event| event.unwrap()).collect().await;
            let text = |event: &Event| match event {
                Event::Delta { delta, .. } => match &delta.content {
                    Some(Content::Text(text)) => text.clone(),
                    Some(Content::ToolCall(call)) => call.arguments_json.clone(),
                    _ => String::new(),
                },
                _ => String::new(),
            };
            told.push((prompt_tokens, events.iter().map(text).collect::<String>()));
        }
        assert!(told.iter().all(|answer| *answer == told[0]), "{told:?}");
    });
}

#[test]
fn an_answer_in_a_form_may_be_a_call() {
    run(async {
        use pointsman_proto::inference::v1::{ResponseFormat, response_format::Format};
        let format = Some(ResponseFormat { format: Some(Format::Regex("yes|no".to_owned())) });
        let tools = [tool("get_weather", CITY)];
        let request = |prompt: &str| GenerateRequest {
            response_format: format.clone(),
            ..offered(ask(prompt), &tools, None, None)
        };
        let called = read(request(WEATHER)).await;
        assert_eq!((called.calls.len(), called.text.as_str()), (1, ""));
        let answered = read(request("Hello")).await;
        assert!(answered.calls.is_empty() && ["yes", "no"].contains(&answered.text.as_str()), "{answered:?}");
    });
}
