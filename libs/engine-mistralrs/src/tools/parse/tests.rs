use pointsman_proto::inference::v1::delta::Content;
use proptest::prelude::*;

use super::CallParser;

/// What was told: texts, and calls as `name(arguments)`.
fn told(contents: Vec<Content>) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    let mut in_call = None;
    for content in contents {
        match content {
            Content::Text(text) => match told.last_mut() {
                Some(last) if in_call == Some(false) => last.push_str(&text),
                _ => told.push(text),
            },
            Content::ToolCall(call) if call.id.is_empty() => {
                assert!(call.name.is_empty() && in_call == Some(true), "a piece of no call");
                told.last_mut().unwrap().push_str(&call.arguments_json);
                continue;
            }
            Content::ToolCall(call) => {
                assert!(call.id.starts_with("call_") && call.id.len() == 29);
                told.push(format!("{}({}", call.name, call.arguments_json));
                in_call = Some(true);
                continue;
            }
            other => panic!("{other:?}"),
        }
        in_call = Some(false);
    }
    told
}

const NAMES: [&str; 9] = ["now", "w", "a", "b", "late", "none", "p", "s", "cut"];

fn parser() -> CallParser {
    CallParser::new(NAMES.map(str::to_owned).to_vec())
}

fn parse(pieces: &[&str]) -> (Vec<String>, bool) {
    let mut parser = parser();
    let mut contents: Vec<Content> = pieces.iter().flat_map(|piece| parser.push(piece)).collect();
    contents.extend(parser.finish());
    (told(contents), parser.called())
}

const CASES: &[(&str, &[&str], bool)] = &[
    ("Hello <b>\n", &["Hello <b>\n"], false),
    ("a <tool_call", &["a <tool_call"], false),
    ("<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>", &["now({}"], true),
    (
        "<tool_call>\n{\"name\": \"w\", \"arguments\": {\"c\": \"</tool_call>\\\"}\"}}\n</tool_call>",
        &["w({\"c\": \"</tool_call>\\\"}\"}"],
        true,
    ),
    ("{\"x\"} \n\n<tool_call>{\"name\":\"a\",\"arguments\":{}}</tool_call>", &["{\"x\"}", "a({}"], true),
    (
        "<tool_call>{\"name\":\"a\",\"arguments\":{}}</tool_call>\n<tool_call>{\"name\":\"b\",\"arguments\":{\"x\":[{}]}}</tool_call>\n",
        &["a({}", "b({\"x\":[{}]}"],
        true,
    ),
    ("<tool_call>{\"arguments\":{\"x\":1},\"id\":[1],\"name\":\"late\"}</tool_call>", &["late({\"x\":1}"], true),
    ("<tool_call>{\"name\":\"none\"}</tool_call> Done.", &["none({}", "Done."], true),
    ("<tool_call>{\"name\":\"p\",\"parameters\":{}}", &["p({}"], true),
    ("<tool_call>{\"name\":\"s\",\"arguments\":\"{\\\"x\\\":1}\"}</tool_call>", &["s({\"x\":1}"], true),
    // Nothing of these is lost.
    (
        "<tool_call>{\"name\":\"s\",\"arguments\":\"x\"}</tool_call>",
        &["<tool_call>{\"name\":\"s\",\"arguments\":\"x\"}</tool_call>"],
        false,
    ),
    (
        "<tool_call>{\"name\":\"s\",\"arguments\":[1]}</tool_call>",
        &["<tool_call>{\"name\":\"s\",\"arguments\":[1]}</tool_call>"],
        false,
    ),
    ("<tool_call>{\"name\":7}</tool_call>", &["<tool_call>{\"name\":7}</tool_call>"], false),
    (
        "<tool_call>{\"name\":\"other\",\"arguments\":{}}</tool_call>",
        &["<tool_call>{\"name\":\"other\",\"arguments\":{}}</tool_call>"],
        false,
    ),
    ("<tool_call>{}</tool_call>", &["<tool_call>{}</tool_call>"], false),
    ("<tool_call>now()</tool_call>", &["<tool_call>now()</tool_call>"], false),
    ("<tool_call>{\"name\":\"cut\"", &["<tool_call>{\"name\":\"cut\""], false),
    // What was begun is told as it was written.
    ("<tool_call>{\"name\":\"cut\",\"arguments\":{\"x\":", &["cut({\"x\":"], true),
    ("<tool_call>{\"name\":\"a\",\"arguments\":{\"x\":1}}</tool_c", &["a({\"x\":1}"], true),
];

#[test]
fn calls_are_told_and_what_is_none_stays_text() {
    for (text, want, called) in CASES {
        assert_eq!(parse(&[text]), (want.iter().map(|text| (*text).to_owned()).collect(), *called), "{text}");
    }
}

#[test]
fn arguments_are_told_as_they_come() {
    let mut parser = parser();
    let mut pieces = Vec::new();
    for piece in
        ["<tool_call>{\"name\":", "\"w\",", " \"arguments\": {", "\"city\":", " \"Ber", "gen\"}", "}", "</tool_call>"]
    {
        pieces.push(told_pieces(parser.push(piece)));
    }
    assert_eq!(pieces, ["", "", "w:{", ":\"city\":", ": \"Ber", ":gen\"}", "", ""]);
    assert!(parser.finish().is_empty() && parser.called());
}

fn told_pieces(contents: Vec<Content>) -> String {
    contents
        .into_iter()
        .map(|content| match content {
            Content::ToolCall(call) => format!("{}:{}", call.name, call.arguments_json),
            other => panic!("{other:?}"),
        })
        .collect()
}

proptest! {
    #[test]
    fn pieces_give_what_the_whole_text_gives(
        case in 0..CASES.len(),
        cuts in proptest::collection::vec(0_usize..120, 0..12),
    ) {
        let (text, want, called) = CASES[case];
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= text.len()).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&str> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
        prop_assert_eq!(parse(&pieces), (want.iter().map(|text| (*text).to_owned()).collect(), called));
    }

    #[test]
    fn no_text_panics_or_is_lost(text in "(<tool_call>|</tool_call>|[a<{}\":, \n]|\\{\"name\":\"a\",\"arguments\":\\{){0,8}") {
        let (told, called) = parse(&[text.as_str()]);
        if !called {
            prop_assert_eq!(told.concat().replace(char::is_whitespace, ""), text.replace(char::is_whitespace, ""));
        }
    }
}
