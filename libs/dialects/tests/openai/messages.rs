//! The conversation in a body: roles, content, tool calls and results, pictures.

use pointsman_dialects::openai::parse_chat;
use pointsman_errors::Reason::{InvalidRequest, UnsupportedField};
use pointsman_proto::inference::v1::image::Source;
use pointsman_proto::inference::v1::part::Kind;
use pointsman_proto::inference::v1::{Image, Reasoning, Role, ToolCall, ToolResult};
use serde_json::{Value, json};

use super::requests::{body, check_refused};

/// This message becomes these parts in this role.
fn check(message: Value, role: Role, kinds: Vec<Kind>) {
    let request = parse_chat(&body(&json!({ "messages": [message] })))
        .unwrap_or_else(|error| panic!("{message} is refused: {error}"))
        .request
        .into_inner();
    let found: Vec<Kind> = request.messages[0].parts.iter().filter_map(|part| part.kind.clone()).collect();
    assert_eq!((request.messages[0].role(), found), (role, kinds), "{message}");
}

fn text(text: &str) -> Kind {
    Kind::Text(text.to_owned())
}

fn call(id: &str, arguments: &str) -> Kind {
    Kind::ToolCall(ToolCall { id: id.to_owned(), name: "f".to_owned(), arguments_json: arguments.to_owned() })
}

fn result(id: &str, text: &str) -> Kind {
    Kind::ToolResult(ToolResult { tool_call_id: id.to_owned(), text: text.to_owned(), failed: false })
}

#[test]
fn messages_become_parts() {
    for (name, role) in
        [("system", Role::System), ("developer", Role::Developer), ("user", Role::User), ("assistant", Role::Assistant)]
    {
        check(json!({"role": name, "content": "Hello"}), role, vec![text("Hello")]);
    }
    check(
        json!({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "\u{1F600}\n"}]}),
        Role::User,
        vec![text("a"), text("\u{1F600}\n")],
    );
    let calls = json!([
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"index": 1, "id": "2", "function": {"name": "f", "arguments": "{not json"}},
    ]);
    for content in [Value::Null, json!(""), json!([])] {
        check(
            json!({"role": "assistant", "content": content, "tool_calls": calls, "refusal": null, "annotations": []}),
            Role::Assistant,
            vec![call("1", "{}"), call("2", "{not json")],
        );
    }
    check(
        json!({"role": "assistant", "content": "so", "reasoning_content": "hm", "tool_calls": calls}),
        Role::Assistant,
        vec![
            Kind::Reasoning(Reasoning { text: "hm".to_owned(), ..Reasoning::default() }),
            text("so"),
            call("1", "{}"),
            call("2", "{not json"),
        ],
    );
    check(json!({"role": "assistant", "refusal": "No."}), Role::Assistant, vec![text("No.")]);
    check(
        json!({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}),
        Role::Assistant,
        vec![text("No.")],
    );
    check(json!({"role": "tool", "tool_call_id": "1", "content": "ok"}), Role::Tool, vec![result("1", "ok")]);
    check(json!({"role": "tool", "tool_call_id": "1", "content": ""}), Role::Tool, vec![result("1", "")]);
    check(
        json!({"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
        Role::Tool,
        vec![result("1", "a\nb")],
    );
}

#[test]
fn names_are_kept() {
    let chat = parse_chat(&body(&json!({"messages": [{"role": "user", "content": "x", "name": "ann"}]}))).unwrap();
    assert_eq!(chat.request.messages[0].name, "ann");
}

#[test]
fn pictures_are_read() {
    let picture = |image: Value| json!({"role": "user", "content": [{"type": "image_url", "image_url": image}]});
    let image = |source: Source, media_type: &str, detail: &str| {
        Kind::Image(Image { source: Some(source), media_type: media_type.to_owned(), detail: detail.to_owned() })
    };
    let data = || Source::Data(vec![1, 2, 3, 4].into());
    check(
        picture(json!({"url": "data:image/png;base64,AQIDBA==", "detail": "low"})),
        Role::User,
        vec![image(data(), "image/png", "low")],
    );
    check(picture(json!({"url": "data:image/webp;base64,AQIDBA"})), Role::User, vec![image(data(), "image/webp", "")]);
    check(
        picture(json!({"url": "HTTPS://example.com/a.png", "detail": null})),
        Role::User,
        vec![image(Source::Uri("HTTPS://example.com/a.png".to_owned()), "", "")],
    );
    for url in [
        "file:///etc/passwd",
        "data:image/png,AAAA",
        "data:text/plain;base64,AAAA",
        "data:image/png;base64",
        "é",
        "",
        "data:image/png;base64,",
        "data:image/png;base64,A A=",
        "https:/example.com",
    ] {
        let messages = json!({ "messages": [picture(json!({ "url": url }))] });
        let error = parse_chat(&body(&messages)).unwrap_err();
        let field = &error.violations()[0].field;
        assert!(
            ["messages[0].content[0].image_url.url", "messages[0].content.image_url.url"].contains(&field.as_str()),
            "{url}: {error}"
        );
        assert_eq!(error.violations().len(), 1, "{url}: {error}");
    }
    let detail = |detail: &str| json!({"messages": [picture(json!({"url": "https://a/b", "detail": detail}))]});
    check_refused(detail("close"), InvalidRequest, &["messages[0].content[0].image_url.detail"]);
    check_refused(detail("original"), UnsupportedField, &["messages[0].content[0].image_url.detail"]);
}

#[test]
fn bad_messages_are_named() {
    for (message, parameters) in [
        (json!(5), vec!["messages[0]"]),
        (json!(null), vec!["messages[0]"]),
        (json!({"content": "x"}), vec!["messages[0].role"]),
        (json!({"role": "wizard", "content": "x"}), vec!["messages[0].role"]),
        (json!({"role": 1, "content": "x"}), vec!["messages[0].role"]),
        (json!({"role": "user"}), vec!["messages[0].content"]),
        (json!({"role": "user", "content": ""}), vec!["messages[0].content"]),
        (json!({"role": "user", "content": 5}), vec!["messages[0].content"]),
        (json!({"role": "user", "content": [{"type": "text", "text": ""}]}), vec!["messages[0].content"]),
        (json!({"role": "user", "content": [{"type": "text"}]}), vec!["messages[0].content[0].text"]),
        (json!({"role": "user", "content": ["x"]}), vec!["messages[0].content[0]"]),
        (
            json!({"role": "user", "content": [{"type": "text", "text": "x", "refusal": "y", "image_url": {"url": "http://a"}}]}),
            vec!["messages[0].content[0].refusal", "messages[0].content[0].image_url"],
        ),
        (
            json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a"}, "text": "x"}]}),
            vec!["messages[0].content[0].text"],
        ),
        (json!({"role": "user", "content": [{"type": "tex", "text": "x"}]}), vec!["messages[0].content[0].type"]),
        (json!({"role": "user", "content": [{"type": "image_url"}]}), vec!["messages[0].content[0].image_url"]),
        (
            json!({"role": "user", "content": [{"type": "image_url", "image_url": "https://a/b"}]}),
            vec!["messages[0].content[0].image_url"],
        ),
        (json!({"role": "user", "content": "x", "tool_call_id": "1"}), vec!["messages[0].tool_call_id"]),
        (json!({"role": "system", "content": "x", "refusal": "no"}), vec!["messages[0].refusal"]),
        (json!({"role": "user", "content": "x", "mood": "fine"}), vec!["messages[0].mood"]),
        (json!({"role": "user", "parts": []}), vec!["messages[0].content"]),
        (json!({"role": "assistant", "content": ""}), vec!["messages[0].content"]),
        (json!({"role": "tool", "content": "x"}), vec!["messages[0].tool_call_id"]),
        (json!({"role": "tool", "tool_call_id": "1"}), vec!["messages[0].content"]),
        (
            json!({"role": "assistant", "tool_calls": [{}]}),
            vec!["messages[0].tool_calls[0].id", "messages[0].tool_calls[0].function"],
        ),
        (
            json!({"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "a b", "arguments": {}}}]}),
            vec!["messages[0].tool_calls[0].function.arguments", "messages[0].tool_calls.function.name"],
        ),
    ] {
        check_refused(json!({ "messages": [message] }), InvalidRequest, &parameters);
    }
}

#[test]
fn what_messages_cannot_hold_here_is_refused_by_name() {
    for (message, parameter) in [
        (json!({"role": "function", "content": "x", "name": "f"}), "messages[0].role"),
        (
            json!({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}),
            "messages[0].content[0].type",
        ),
        (json!({"role": "user", "content": [{"type": "file", "file": {}}]}), "messages[0].content[0].type"),
        (
            json!({"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://a/b"}}]}),
            "messages[0].content[0].type",
        ),
        (json!({"role": "assistant", "content": "x", "audio": {"id": "a"}}), "messages[0].audio"),
        (json!({"role": "assistant", "content": "x", "function_call": {"name": "f"}}), "messages[0].function_call"),
        (
            json!({"role": "assistant", "content": "x", "tool_calls": [{"id": "1", "type": "custom", "custom": {}}]}),
            "messages[0].tool_calls[0].type",
        ),
    ] {
        check_refused(json!({ "messages": [message] }), UnsupportedField, &[parameter]);
    }
}
