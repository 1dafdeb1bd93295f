use std::collections::HashMap;

use cel::{Context, Program, Value};
use pointsman_proto::inference::v1::{DataClass, GenerateRequest, Tool};
use proptest::prelude::*;

use super::Condition;
use crate::facts::Facts;

const TEXTS: [&str; 5] = ["", "a", "b", "ab", "ba"];
const CLASSES: [&str; 5] = ["unspecified", "public", "internal", "confidential", "restricted"];

fn quoted(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(texts).prop_map(|text| format!("{text:?}"))
}

fn test() -> impl Strategy<Value = String> {
    let text = prop::sample::select(&["caller.tenant", "request.model", "labels.a", "labels[\"b\"]"]);
    let equality = prop::sample::select(&["==", "!="]);
    let relation = prop::sample::select(&["==", "!=", "<", "<=", ">", ">="]);
    let function = prop::sample::select(&["startsWith", "endsWith", "contains"]);
    prop_oneof![
        Just("true".to_owned()),
        Just("false".to_owned()),
        (text.clone(), equality.clone(), quoted(&TEXTS))
            .prop_map(|(fact, sign, value)| format!("{fact} {sign} {value}")),
        (text.clone(), quoted(&TEXTS), quoted(&TEXTS)).prop_map(|(fact, one, two)| format!("{fact} in [{one}, {two}]")),
        (text, function, quoted(&TEXTS)).prop_map(|(fact, name, value)| format!("{fact}.{name}({value})")),
        (equality, quoted(&CLASSES)).prop_map(|(sign, value)| format!("{value} {sign} request.data_class")),
        (relation.clone(), 0..4).prop_map(|(sign, number)| format!("request.tools {sign} {number}")),
        (relation, 0..4).prop_map(|(sign, number)| format!("{number} {sign} request.tools")),
        (0..4, 0..4).prop_map(|(one, two)| format!("request.tools in [{one}, {two}]")),
        Just("has(labels.a)".to_owned()),
        Just("\"b\" in labels".to_owned()),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    test().prop_recursive(5, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|one| format!("!({one})")),
            (inner.clone(), inner.clone()).prop_map(|(one, two)| format!("({one}) && ({two})")),
            (inner.clone(), inner.clone()).prop_map(|(one, two)| format!("({one}) || ({two})")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(one, two, three)| format!("({one}) ? ({two}) : ({three})")),
        ]
    })
}

/// Tests of one fact that must hold all at once, so that they are close to a contradiction.
fn conjunction() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        quoted(&TEXTS).prop_map(|value| format!(" == {value}")),
        quoted(&TEXTS).prop_map(|value| format!(".startsWith({value})")),
        quoted(&TEXTS).prop_map(|value| format!(".endsWith({value})")),
        quoted(&TEXTS).prop_map(|value| format!(".contains({value})")),
    ];
    let number = (prop::sample::select(&["==", "<", "<=", ">", ">="]), 0..4)
        .prop_map(|(sign, number)| format!(" {sign} {number}"));
    let about = |fact: &'static str, test: BoxedStrategy<String>| {
        let one = (prop::sample::select(&["", "!"]), test).prop_map(move |(not, test)| format!("{not}({fact}{test})"));
        prop::collection::vec(one, 1..5).prop_map(|tests| tests.join(" && "))
    };
    prop_oneof![about("labels.a", text.boxed()), about("request.tools", number.boxed())]
}

fn request() -> impl Strategy<Value = (GenerateRequest, &'static str)> {
    let text = || prop::sample::select(&TEXTS);
    let labels = prop::collection::btree_map(
        prop::sample::select(&["a", "b"]).prop_map(str::to_owned),
        text().prop_map(str::to_owned),
        0..3,
    );
    (text(), 0..4_usize, 0..5, labels, text()).prop_map(|(model, tools, data_class, labels, tenant)| {
        let tools = vec![Tool::default(); tools];
        (GenerateRequest { model: model.into(), tools, data_class, labels, ..GenerateRequest::default() }, tenant)
    })
}

fn compile(source: &str) -> Condition {
    Condition::compile(source).unwrap_or_else(|mistakes| panic!("{source}: {mistakes:?}"))
}

/// What the interpreter of CEL says; `None` where it fails, as for a label that is missing.
fn interpret(source: &str, (request, tenant): &(GenerateRequest, &str)) -> Option<bool> {
    let class = CLASSES[DataClass::try_from(request.data_class).unwrap() as usize];
    let facts = HashMap::from([
        ("model", Value::from(request.model.as_str())),
        ("tools", Value::from(request.tools.len() as i64)),
        ("data_class", Value::from(class)),
    ]);
    let labels: HashMap<_, _> =
        request.labels.iter().map(|(name, value)| (name.as_str(), Value::from(value.as_str()))).collect();
    let mut context = Context::default();
    context.add_variable_from_value("caller", HashMap::from([("tenant", Value::from(*tenant))]));
    context.add_variable_from_value("request", facts);
    context.add_variable_from_value("labels", labels);
    match Program::compile(source).unwrap().execute(&context) {
        Ok(Value::Bool(value)) => Some(value),
        Ok(other) => panic!("{source}: {other:?}"),
        Err(_) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_condition_means_what_cel_says(source in condition(), request in request()) {
        if let Some(expected) = interpret(&source, &request) {
            prop_assert_eq!(compile(&source).holds(&Facts::new(&request.0, request.1, "k1")), expected);
        }
    }

    #[test]
    fn what_holds_can_hold(
        source in prop_oneof![1 => condition(), 3 => conjunction()],
        before in prop::collection::vec(condition(), 0..3),
        requests in prop::collection::vec(request(), 64),
    ) {
        let wanted = compile(&source);
        let before: Vec<_> = before.iter().map(|source| compile(source)).collect();
        for (request, tenant) in &requests {
            let facts = Facts::new(request, tenant, "k1");
            if wanted.holds(&facts) {
                let unmet: Vec<_> = before.iter().filter(|condition| !condition.holds(&facts)).collect();
                prop_assert!(wanted.can_hold(Some(&request.model), &unmet), "{:?} {}", request, tenant);
            }
        }
    }

    #[test]
    fn no_text_brings_the_parser_down(words in prop::collection::vec(prop::sample::select(&WORDS), 0..80)) {
        let source = words.concat();
        for mistake in Condition::compile(&source).err().unwrap_or_default() {
            prop_assert!(source.is_char_boundary(mistake.offset), "{:?}", mistake);
        }
    }
}

const WORDS: [&str; 46] = [
    "request", ".", "model", "labels", "has", "(", ")", "[", "]", "{", "}", "?", ":", ",", "==", "!=", "<", ">=", "=",
    "&&", "||", "&", "!", "-", "+", "*", "/", "//", "in", "\"a\"", "'", "\"\"\"", "\\", "r", "b", "1", "1u", "1.5",
    "0x", "null", "true", "exists", "ë", " ", "\n", "`",
];

#[test]
fn the_deepest_conditions_fit_half_a_stack() {
    let half = "(".repeat(32);
    let sources = [
        format!("{}true{}", "(".repeat(64), ")".repeat(64)),
        format!("{}true{}", "!(".repeat(32), ")".repeat(32)),
        format!("{half}true{}", ")==true".repeat(32)),
        format!("request{} == \"\"", ".a".repeat(63)),
        format!("labels{} == \"\"", "[\"a\"]".repeat(63)),
        format!("1{} == 2", " + 1".repeat(63)),
        format!("{}1{} == 2", "[".repeat(63), "]".repeat(63)),
        format!("true{}", " ? true : true".repeat(63)),
        "(".repeat(63),
        "{".repeat(4096),
        "!".repeat(4096),
        "-".repeat(4096),
        "- ".repeat(63),
    ];
    let compile_all = move || {
        for source in sources {
            let _ = Condition::compile(&source);
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(compile_all).unwrap().join().unwrap();
}
