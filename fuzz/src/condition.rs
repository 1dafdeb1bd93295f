use std::collections::HashMap;

use cel::{Context, Program, Value};
use pointsman_policy::condition::{Condition, compile_fact};
use pointsman_policy::facts::Kind;
use pointsman_policy::{Fact, Facts};
use pointsman_proto::inference::v1::{GenerateRequest, Limits, Message, Tool};

/// The text of a condition: what is wrong is told with places that the text has, in their order; what is right holds of a
/// request where the interpreter of CEL says so, and of none where it was proven that it cannot hold.
pub fn condition(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    check_fact(text);
    let condition = match Condition::compile(text) {
        Ok(condition) => condition,
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            for mistake in &mistakes {
                assert!(!mistake.message.is_empty());
                assert!(text.is_char_boundary(mistake.offset), "{mistake:?} in {text:?}");
            }
            assert!(mistakes.is_sorted_by_key(|mistake| mistake.offset), "{mistakes:?}");
            return;
        }
    };
    let program = Program::compile(text).ok();
    for request in requests(text, &condition) {
        let facts = Facts::new(&request, TENANT, KEY);
        let holds = condition.holds(&facts);
        assert!(!holds || condition.can_hold(Some(&request.model), &[]), "{text:?} cannot hold of {request:?}");
        assert!(holds || !condition.is_always());
        if let Some(expected) = program.as_ref().and_then(|program| interpreted(program, &facts, &request)) {
            assert_eq!(holds, expected, "{text:?} of {request:?}");
        }
    }
}

const TENANT: &str = "acme";
const KEY: &str = "k1";

/// Requests with the words and numbers of the text in their facts.
fn requests(text: &str, condition: &Condition) -> Vec<GenerateRequest> {
    let words: Vec<&str> = text.split(|sign: char| !sign.is_alphanumeric() && !"-_".contains(sign)).collect();
    let word = |index: usize| words.get(index % words.len()).map_or(String::new(), |word| (*word).to_owned());
    let numbers: Vec<u32> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let number = |index: usize| numbers.get(index % (numbers.len() + 1)).copied().unwrap_or(1);
    let labels: Vec<&str> = condition.facts().filter_map(label).collect();
    let request = |index: usize| GenerateRequest {
        model: word(index),
        end_user: word(index + 1),
        labels: labels
            .iter()
            .skip(index % 2)
            .enumerate()
            .map(|(at, label)| ((*label).to_owned(), word(index + at)))
            .collect(),
        messages: vec![Message::default(); number(index).min(9) as usize],
        tools: vec![Tool::default(); number(index + 1).min(9) as usize],
        choice_count: Some(number(index).clamp(1, 128)),
        limits: Some(Limits { max_output_tokens: Some(number(index)) }),
        data_class: (index % 5) as i32,
        priority: (index % 5) as i32,
        ..GenerateRequest::default()
    };
    (0..words.len().min(12) + 1).map(request).collect()
}

fn label(fact: &Fact) -> Option<&str> {
    if let Fact::Label(name) = fact { Some(name) } else { None }
}

/// What the interpreter says; `None` where it fails, as for a label that is missing.
fn interpreted(program: &Program, facts: &Facts<'_>, request: &GenerateRequest) -> Option<bool> {
    let mut variables: HashMap<&str, HashMap<String, Value>> = HashMap::new();
    for fact in Fact::NAMED {
        let name = fact.name();
        let (of, field) = name.split_once('.').expect("a fact is of somebody");
        let value = match fact.kind() {
            Kind::Text => Value::from(facts.text(&fact)),
            Kind::Number => Value::from(i64::try_from(facts.number(&fact)).expect("a small number")),
        };
        let of = if of == "caller" { "caller" } else { "request" };
        variables.entry(of).or_default().insert(field.to_owned(), value);
    }
    let labels = request.labels.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    variables.insert("labels", labels.collect());
    let mut context = Context::default();
    for (name, fields) in variables {
        context.add_variable_from_value(name, fields);
    }
    match program.execute(&context) {
        Ok(Value::Bool(value)) => Some(value),
        _ => None,
    }
}

fn check_fact(text: &str) {
    match compile_fact(text) {
        Ok(fact) => {
            assert_eq!(fact.kind(), Kind::Text);
            assert_eq!(compile_fact(&fact.name()), Ok(fact));
        }
        Err(mistake) => assert!(text.is_char_boundary(mistake.offset), "{mistake:?} in {text:?}"),
    }
}
