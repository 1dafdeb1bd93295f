//! Bodies of chat completions: what each field becomes, and what is said of a bad one.

use pointsman_dialects::openai::{ChatRequest, parse_chat};
use pointsman_errors::Reason::{self, InvalidRequest, UnsupportedField};
use pointsman_proto::inference::v1::response_format::Format;
use pointsman_proto::inference::v1::tool_choice::{Choice, Mode};
use pointsman_proto::inference::v1::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A good body with these fields beside, or in place of, its own.
pub(crate) fn body(fields: &Value) -> Vec<u8> {
    let mut body = json!({"model": "pip", "messages": [{"role": "user", "content": "Hello"}]});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    serde_json::to_vec(&body).unwrap()
}

fn parse(fields: &Value) -> ChatRequest {
    parse_chat(&body(fields)).unwrap_or_else(|error| panic!("{fields} is refused: {error}"))
}

fn plain() -> GenerateRequest {
    let parts = vec![Part { kind: Some(part::Kind::Text("Hello".to_owned())) }];
    let message = Message { role: Role::User.into(), parts, ..Message::default() };
    GenerateRequest { model: "pip".to_owned(), messages: vec![message], ..GenerateRequest::default() }
}

/// These fields make this change to the request.
fn check(fields: Value, change: fn(&mut GenerateRequest)) {
    let mut want = plain();
    change(&mut want);
    assert_eq!(parse(&fields).request.into_inner(), want, "{fields}");
}

/// These fields are refused for this reason, with these and no other parameters at fault.
pub(crate) fn check_refused(fields: Value, reason: Reason, parameters: &[&str]) {
    let error = parse_chat(&body(&fields)).err().unwrap_or_else(|| panic!("{fields} is taken"));
    let found: Vec<&str> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!((error.reason(), found.as_slice()), (reason, parameters), "{fields}: {error}");
}

fn sampling(request: &mut GenerateRequest) -> &mut Sampling {
    request.sampling.get_or_insert_default()
}

fn format(format: Format) -> Option<ResponseFormat> {
    Some(ResponseFormat { format: Some(format) })
}

#[test]
fn a_key_of_the_callers_is_given_once() {
    let text =
        |fields: &str| format!(r#"{{"model": "pip", "messages": [{{"role": "user", "content": "a"}}], {fields}}}"#);
    for (fields, parameters) in [
        (r#""logit_bias": {"5": 1, "6": 1, "5": 2}"#, vec!["logit_bias.5"]),
        (r#""metadata": {"team": "blue", "team": "red"}"#, vec!["metadata.team"]),
        (r#""metadata": {"a": "1", "b": "1", "\u0061": "2", "a": "3"}"#, vec!["metadata.a", "metadata.a"]),
    ] {
        let error = parse_chat(text(fields).as_bytes()).err().unwrap_or_else(|| panic!("{fields} is taken"));
        let found: Vec<&str> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!((error.reason(), found), (InvalidRequest, parameters), "{fields}");
        assert!(error.message().contains("is given twice"), "{error}");
    }
}

#[test]
fn fields_become_the_contract() {
    check(json!({}), |_| {});
    check(json!({"temperature": 0}), |r| sampling(r).temperature = Some(0.0));
    check(json!({"temperature": 0.7, "top_p": 0.9}), |r| {
        *sampling(r) = Sampling { temperature: Some(0.7), top_p: Some(0.9), ..Sampling::default() };
    });
    check(json!({"top_k": 40, "min_p": 0.1}), |r| {
        *sampling(r) = Sampling { top_k: Some(40), min_p: Some(0.1), ..Sampling::default() };
    });
    check(json!({"top_k": -1}), |_| {});
    check(json!({"frequency_penalty": -2, "presence_penalty": 2, "repetition_penalty": 1.5}), |r| {
        let penalties = (Some(-2.0), Some(2.0), Some(1.5));
        let s = sampling(r);
        (s.frequency_penalty, s.presence_penalty, s.repetition_penalty) = penalties;
    });
    check(json!({"logit_bias": {"50256": -100, "7": 1.5}}), |r| {
        sampling(r).logit_bias = [(50256, -100.0), (7, 1.5)].into();
    });
    check(json!({"logit_bias": {}}), |_| {});
    check(json!({"n": 3}), |r| r.choice_count = Some(3));
    check(json!({"seed": -7}), |r| r.seed = Some(-7));
    check(json!({"stop": "END"}), |r| r.stop = vec!["END".to_owned()]);
    check(json!({"stop": ["a", "b"]}), |r| r.stop = vec!["a".to_owned(), "b".to_owned()]);
    check(json!({"stop": []}), |_| {});
    check(json!({"max_tokens": 5}), |r| r.limits = Some(Limits { max_output_tokens: Some(5) }));
    check(json!({"max_completion_tokens": 5.0}), |r| r.limits = Some(Limits { max_output_tokens: Some(5) }));
    check(json!({"max_tokens": 5, "max_completion_tokens": 5}), |r| {
        r.limits = Some(Limits { max_output_tokens: Some(5) });
    });
    check(json!({"max_tokens": 99_999_999_999_u64}), |r| {
        r.limits = Some(Limits { max_output_tokens: Some(u32::MAX) });
    });
    check(json!({"logprobs": true}), |r| r.logprobs = Some(Logprobs { top_count: 0 }));
    check(json!({"logprobs": true, "top_logprobs": 4}), |r| r.logprobs = Some(Logprobs { top_count: 4 }));
    check(json!({"logprobs": false, "top_logprobs": 0}), |_| {});
    check(json!({"reasoning_effort": "minimal"}), |r| r.reasoning_effort = ReasoningEffort::Minimal.into());
    check(json!({"reasoning_effort": "none"}), |r| r.reasoning_effort = ReasoningEffort::None.into());
    check(json!({"user": "u-1"}), |r| r.end_user = "u-1".to_owned());
    check(json!({"metadata": {"team": "blue"}}), |r| r.labels = [("team".to_owned(), "blue".to_owned())].into());
}

#[test]
fn tools_become_the_contract() {
    let weather = json!({"type": "function", "function": {
        "name": "weather", "description": "Tells it.", "strict": true,
        "parameters": {"type": "object"}
    }});
    check(json!({ "tools": [weather] }), |r| {
        r.tools = vec![Tool {
            name: "weather".to_owned(),
            description: "Tells it.".to_owned(),
            parameters_json_schema: r#"{"type":"object"}"#.to_owned(),
            strict: true,
        }];
    });
    check(json!({"tools": [{"type": "function", "function": {"name": "now", "parameters": null}}]}), |r| {
        r.tools = vec![Tool { name: "now".to_owned(), ..Tool::default() }];
    });
    check(json!({"tools": [], "tool_choice": "auto", "parallel_tool_calls": true}), |r| {
        let choice = Some(Choice::Mode(Mode::Auto.into()));
        r.tool_choice = Some(ToolChoice { choice, parallel: Some(true) });
    });
    check(json!({"tool_choice": "none"}), |r| {
        r.tool_choice = Some(ToolChoice { choice: Some(Choice::Mode(Mode::None.into())), parallel: None });
    });
    let named = json!({"type": "function", "function": {"name": "weather"}});
    let both = parse(&json!({"tools": [weather], "tool_choice": named})).request.into_inner();
    assert_eq!(both.tool_choice.unwrap().choice, Some(Choice::ToolName("weather".to_owned())));
    let required = parse(&json!({"tools": [weather], "tool_choice": "required"})).request.into_inner();
    assert_eq!(required.tool_choice.unwrap().choice, Some(Choice::Mode(Mode::Required.into())));
}

#[test]
fn a_schema_is_carried_as_it_was_written() {
    let schema = r#"{ "z": 1.0, "a": {"const": 123456789012345678901234567890}, "a": "\u00e9" }"#;
    let body = format!(
        r#"{{"model": "pip", "messages": [{{"role": "user", "content": "Hello"}}],
            "tools": [{{"type": "function", "function": {{"name": "f", "parameters": {schema} }} }}],
            "response_format": {{"type": "json_schema", "json_schema": {{"name": "s", "schema": {schema} }} }} }}"#
    );
    let request = parse_chat(body.as_bytes()).unwrap().request.into_inner();
    assert_eq!(request.tools[0].parameters_json_schema, schema);
    let Some(Format::JsonSchema(format)) = request.response_format.unwrap().format else { panic!("another format") };
    assert_eq!(format.json_schema, schema);
}

#[test]
fn response_formats_become_the_contract() {
    check(json!({"response_format": {"type": "text"}}), |r| r.response_format = format(Format::Text(TextFormat {})));
    check(json!({"response_format": {"type": "regex", "regex": "[a-z]+"}}), |r| {
        r.response_format = format(Format::Regex("[a-z]+".to_owned()));
    });
    check(json!({"response_format": {"type": "lark_grammar", "lark_grammar": "start: \"a\"", "regex": null}}), |r| {
        r.response_format = format(Format::LarkGrammar("start: \"a\"".to_owned()));
    });
    check(json!({"response_format": {"type": "json_object"}}), |r| {
        r.response_format = format(Format::JsonObject(JsonObjectFormat {}));
    });
    let schema = json!({"name": "point", "schema": {"type": "object"}, "strict": true, "description": "A point."});
    check(json!({"response_format": {"type": "json_schema", "json_schema": schema}}), |r| {
        r.response_format = format(Format::JsonSchema(JsonSchemaFormat {
            name: "point".to_owned(),
            json_schema: r#"{"type":"object"}"#.to_owned(),
            strict: true,
            description: "A point.".to_owned(),
        }));
    });
}

#[test]
fn what_asks_for_nothing_changes_nothing() {
    let nulls = [
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
        "logit_bias",
        "n",
        "seed",
        "stop",
        "max_tokens",
        "max_completion_tokens",
        "logprobs",
        "top_logprobs",
        "reasoning_effort",
        "user",
        "metadata",
        "stream",
        "stream_options",
        "store",
        "service_tier",
        "modalities",
        "functions",
        "function_call",
        "audio",
        "prediction",
        "web_search_options",
        "verbosity",
        "moderation",
        "prompt_cache_key",
        "safety_identifier",
    ];
    for name in nulls {
        check(json!({ name: null }), |_| {});
    }
    for fields in [
        json!({"store": false, "service_tier": "auto", "modalities": ["text"], "functions": [], "function_call": "none"}),
        json!({"service_tier": "default", "verbosity": "medium", "prompt_cache_key": "k", "safety_identifier": "s"}),
        json!({"prompt_cache_retention": "24h", "prompt_cache_options": {"mode": "implicit"}}),
    ] {
        check(fields, |_| {});
    }
    let spaced = br#"{"model":"pip","messages":[{"role":"user","content":"Hello"}],"modalities":[ "text" ]}"#;
    assert!(parse_chat(spaced).is_ok());
}

#[test]
fn delivery_is_read() {
    for (fields, want) in [
        (json!({}), (false, false)),
        (json!({"stream": true}), (true, false)),
        (json!({"stream": true, "stream_options": {"include_usage": true}}), (true, true)),
        (
            json!({"stream": true, "stream_options": {"include_usage": false, "include_obfuscation": false}}),
            (true, false),
        ),
    ] {
        let chat = parse(&fields);
        assert_eq!((chat.stream, chat.include_usage), want, "{fields}");
    }
    check_refused(json!({"stream_options": {"include_usage": true}}), InvalidRequest, &["stream_options"]);
    check_refused(
        json!({"stream": true, "stream_options": {"continuous_usage_stats": true}}),
        InvalidRequest,
        &["stream_options.continuous_usage_stats"],
    );
}

#[test]
fn bad_values_are_named() {
    for (fields, parameters) in [
        (json!({"model": null}), vec!["model"]),
        (json!({"model": 7}), vec!["model"]),
        (json!({"messages": []}), vec!["messages"]),
        (json!({"messages": "Hello"}), vec!["messages"]),
        (json!({"temperature": 2.5}), vec!["temperature"]),
        (json!({"temperature": "hot"}), vec!["temperature"]),
        (json!({"top_p": 0}), vec!["top_p"]),
        (json!({"top_k": -2}), vec!["top_k"]),
        (json!({"n": 0}), vec!["n"]),
        (json!({"n": 1.5}), vec!["n"]),
        (json!({"n": -1}), vec!["n"]),
        (json!({"seed": 9_223_372_036_854_775_808_u64}), vec!["seed"]),
        (json!({"max_tokens": 0}), vec!["max_tokens"]),
        (json!({"max_completion_tokens": 0}), vec!["max_completion_tokens"]),
        (json!({"max_tokens": 1, "max_completion_tokens": 2}), vec!["max_tokens"]),
        (json!({"stop": ["a", null, 3, ""]}), vec!["stop[1]", "stop[2]", "stop[3]"]),
        (json!({"stop": {"a": 1}}), vec!["stop"]),
        (json!({"logprobs": true, "top_logprobs": 21}), vec!["top_logprobs"]),
        (json!({"top_logprobs": 2}), vec!["top_logprobs"]),
        (json!({"logit_bias": {"the": 1}}), vec!["logit_bias.the"]),
        (json!({"logit_bias": {"5": "much"}}), vec!["logit_bias.5"]),
        (
            json!({"logit_bias": {"+6": 1, "0": 1, "00": 1, "05": 1}}),
            vec!["logit_bias.+6", "logit_bias.00", "logit_bias.05"],
        ),
        (json!({"logit_bias": {"999999999": 1, "1000000000": 1}}), vec!["logit_bias.1000000000"]),
        (json!({"logit_bias": {"5": 101}}), vec!["logit_bias"]),
        (json!({"reasoning_effort": "heroic"}), vec!["reasoning_effort"]),
        (json!({"user": "u".repeat(257)}), vec!["user"]),
        (json!({"metadata": {"team": 5}}), vec!["metadata.team"]),
        (json!({"metadata": {"": "x"}}), vec!["metadata"]),
        (json!({"response_format": {"type": "xml"}}), vec!["response_format.type"]),
        (json!({"response_format": {"type": "json_schema"}}), vec!["response_format.json_schema"]),
        (json!({"response_format": {"type": "regex"}}), vec!["response_format.regex"]),
        (json!({"response_format": {"type": "regex", "regex": ""}}), vec!["response_format.regex"]),
        (json!({"response_format": {"type": "text", "regex": "a"}}), vec!["response_format.regex"]),
        (
            json!({"response_format": {"type": "regex", "lark_grammar": "a"}}),
            vec!["response_format.lark_grammar", "response_format.regex"],
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}}),
            vec!["response_format.json_schema.schema", "response_format.json_schema.name"],
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": true}}}),
            vec!["response_format.json_schema.schema"],
        ),
        (json!({"tool_choice": "maybe"}), vec!["tool_choice"]),
        (json!({"tool_choice": "required"}), vec!["tool_choice"]),
        (json!({"tool_choice": {"type": "function", "function": {"name": "x"}}}), vec!["tool_choice.function.name"]),
        (json!({"tools": [5, {"function": {"name": "x"}}]}), vec!["tools[0]", "tools[1].type"]),
        (json!({"tools": [{"type": "function", "function": {"name": "a b"}}]}), vec!["tools[0].function.name"]),
        (json!({"tools": [{"type": "function"}]}), vec!["tools[0].function"]),
        (
            json!({"tools": [{"type": "function", "function": {"name": "x", "parameters": []}}]}),
            vec!["tools[0].function.parameters"],
        ),
        // Several at once, in the order of reading.
        (json!({"temperature": 3, "n": 0, "seed": "x"}), vec!["seed", "temperature", "n"]),
    ] {
        check_refused(fields, InvalidRequest, &parameters);
    }
}

#[test]
fn what_the_mesh_does_not_do_is_refused_by_name() {
    for (name, value) in [
        ("store", json!(true)),
        ("service_tier", json!("flex")),
        ("modalities", json!(["text", "audio"])),
        ("functions", json!([{"name": "f"}])),
        ("function_call", json!("auto")),
        ("audio", json!({"voice": "alloy"})),
        ("prediction", json!({"type": "content", "content": "x"})),
        ("web_search_options", json!({})),
        ("verbosity", json!("low")),
        ("moderation", json!({"model": "m"})),
        ("reasoning_effort", json!("xhigh")),
    ] {
        check_refused(json!({ name: value }), UnsupportedField, &[name]);
    }
    check_refused(
        json!({"tools": [{"type": "custom", "custom": {"name": "x"}}]}),
        UnsupportedField,
        &["tools[0].type"],
    );
    check_refused(json!({"tool_choice": {"type": "custom", "custom": {}}}), UnsupportedField, &["tool_choice.type"]);
    // What is wrong comes before what is not supported.
    check_refused(json!({"store": true, "n": 0}), InvalidRequest, &["store", "n"]);
}

#[test]
fn unknown_fields_are_refused_by_name() {
    for (fields, parameters) in [
        (json!({"temprature": 1}), vec!["temprature"]),
        (
            json!({"tools": [{"type": "function", "function": {"name": "x", "returns": {}}}]}),
            vec!["tools[0].function.returns"],
        ),
        (json!({"response_format": {"type": "text", "schema": {}}}), vec!["response_format.schema"]),
        // A name of the contract, or of another of OpenAI's APIs, is answered with the right one.
        (json!({"labels": {}}), vec!["metadata"]),
        (json!({"tools": [{"type": "function", "name": "x"}]}), vec!["tools[0].function.name"]),
    ] {
        check_refused(fields, InvalidRequest, &parameters);
    }
    let long = parse_chat(&body(&json!({ "x".repeat(100_000): 1 }))).unwrap_err();
    assert!(long.message().len() < 200, "{}", long.message());
    let many: serde_json::Map<String, Value> = (0..1000).map(|index| (format!("x{index}"), json!(1))).collect();
    assert_eq!(parse_chat(&body(&many.into())).unwrap_err().violations().len(), 32);
}

#[test]
fn bad_json_is_said_where() {
    for (body, hint) in [
        (&b""[..], "empty"),
        (b" \n", "empty"),
        (b"{\"model\":\n \"pip\",}", "line 2 column 8"),
        (b"{\"model\": \"pip\"", "send it whole"),
        (b"{} {}", "line 1 column 4"),
        (b"[1]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"{\"model\": \"\xff\"}", "byte 11 is not UTF-8"),
        (b"{\"temperature\": 1e999}", "line 1 column"),
    ] {
        let error = parse_chat(body).unwrap_err();
        assert!(error.message().contains(hint) && error.reason() == InvalidRequest, "{error}");
    }
    let twice = parse_chat(br#"{"model":"a","model":"b","messages":[{"role":"user","content":"x"}]}"#).unwrap_err();
    assert_eq!(twice.message(), "model: is given twice; give it once");
}

#[test]
fn a_body_of_tiny_elements_is_refused_small() {
    for part in ["[],", "{},", "null,", "0,"] {
        let parts = part.repeat(100_000);
        let body = format!(r#"{{"model":"pip","messages":[{{"role":"user","content":[{parts}0]}}]}}"#);
        let error = parse_chat(body.as_bytes()).unwrap_err();
        assert_eq!(error.violations()[0].field, "messages[0].content", "{error}");
    }
    let deep = format!(r#"{{"model":"pip","messages":[],"stop":{}"#, "[".repeat(200_000));
    assert!(parse_chat(deep.as_bytes()).is_err());
}

/// JSON that looks like a body, with anything in its places.
fn any_body() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z]{0,8}".prop_map(Value::from),
        prop::sample::select(vec![
            "user",
            "tool",
            "assistant",
            "text",
            "image_url",
            "function",
            "data:image/png;base64,AAAA"
        ])
        .prop_map(Value::from),
    ];
    let keys = prop::sample::select(vec![
        "model",
        "messages",
        "role",
        "content",
        "type",
        "text",
        "image_url",
        "url",
        "detail",
        "tool_calls",
        "id",
        "name",
        "function",
        "arguments",
        "tool_call_id",
        "tools",
        "parameters",
        "tool_choice",
        "response_format",
        "json_schema",
        "schema",
        "stop",
        "logit_bias",
        "metadata",
        "n",
        "seed",
        "max_tokens",
        "temperature",
        "stream",
        "stream_options",
        "store",
        "labels",
        "parts",
        "x",
    ]);
    leaf.prop_recursive(6, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(keys.clone().prop_map(str::to_owned), inner, 0..10)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        parse_chat(&bytes).ok();
    }

    #[test]
    fn any_json_is_answered(value in any_body()) {
        if let Err(error) = parse_chat(&serde_json::to_vec(&value).unwrap()) {
            prop_assert!(!error.message().is_empty());
        }
    }

    #[test]
    fn a_field_with_anything_in_it_is_answered_by_name(name in "[a-z_]{3,20}", value in any_body()) {
        let known = parse_chat(&body(&json!({ &name: value }))).err();
        for violation in known.iter().flat_map(|error| error.violations()) {
            let right = violation.field.starts_with(&name) || violation.description.contains(&name);
            prop_assert!(right, "{name}: {violation:?}");
        }
    }
}
