//! Answers in a form.

use futures::FutureExt;
use pointsman_engine::{Engine, EngineError};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::response_format::Format;
use pointsman_proto::inference::v1::{
    FinishReason, GenerateRequest, JsonObjectFormat, JsonSchemaFormat, ResponseFormat,
};
use serde_json::Value;

use crate::{answer, ask, engine, run, sampled};

fn formed(request: GenerateRequest, format: Format) -> GenerateRequest {
    GenerateRequest { response_format: Some(ResponseFormat { format: Some(format) }), ..request }
}

fn schema(text: &str) -> Format {
    let json_schema = text.to_owned();
    Format::JsonSchema(JsonSchemaFormat { name: "s".to_owned(), json_schema, strict: true, ..Default::default() })
}

#[test]
fn an_answer_has_the_form_that_was_asked_for_greedy_and_sampled() {
    run(async {
        let order = r#"{"type":"object","properties":{"order":{"type":"integer"},"status":{"enum":["sent","packed","lost"]}},"required":["order","status"],"additionalProperties":false}"#;
        for seed in 0..6 {
            for request in [ask("Give me order 4417 as JSON."), sampled(ask("Hello"), Some(seed))] {
                let order = answer(formed(request.clone(), schema(order)), 100).await;
                assert_eq!(order.reason, FinishReason::Stop, "{order:?}");
                let value: Value = serde_json::from_str(&order.text).unwrap();
                assert!(value["order"].is_i64() && value["status"].is_string(), "{value}");

                let digits =
                    answer(formed(request.clone(), Format::Regex(r"^\n[0-9]{3}(-[a-z]{2})?$".to_owned())), 60).await;
                let rest = digits.text.strip_prefix('\n').unwrap();
                assert!(
                    (rest.len() == 3 || rest.len() == 6) && rest[..3].bytes().all(|b| b.is_ascii_digit()),
                    "{rest}"
                );

                let lark = Format::LarkGrammar("start: word (\", \" word)?\nword: /[A-Z][a-z]{2,5}/".to_owned());
                let words = answer(formed(request, lark), 60).await.text;
                let words: Vec<&str> = words.split(", ").collect();
                let fits =
                    |word: &&str| (3..=6).contains(&word.len()) && word.starts_with(|c: char| c.is_ascii_uppercase());
                assert!(words.len() <= 2 && words.iter().all(fits), "{words:?}");
            }
        }
    });
}

#[test]
fn json_has_no_runs_of_whitespace() {
    run(async {
        for seed in 0..12 {
            let request = formed(sampled(ask("Hello"), Some(seed)), Format::JsonObject(JsonObjectFormat {}));
            let object = answer(request, 300).await;
            if object.reason == FinishReason::Stop {
                assert!(serde_json::from_str::<Value>(&object.text).unwrap().is_object(), "{}", object.text);
            }
            let whole = object.text.replace("\\\\", "").replace("\\\"", "");
            let runs =
                |outside: &str| outside.as_bytes().windows(2).any(|pair| pair.iter().all(u8::is_ascii_whitespace));
            assert!(!whole.split('"').step_by(2).any(runs), "{}", object.text);
        }
    });
}

#[test]
fn what_cannot_be_a_form_is_refused_before_anything_is_done() {
    run(async {
        for (format, field) in [
            (schema("{"), "response_format.json_schema.json_schema"),
            (schema(r#"{"type":"fish"}"#), "response_format.json_schema.json_schema"),
            (Format::Regex("[".to_owned()), "response_format.regex"),
            (Format::LarkGrammar("start: nothing".to_owned()), "response_format.lark_grammar"),
        ] {
            let request = Valid::new(formed(ask("Hello"), format)).unwrap();
            let error = engine().await.count_prompt_tokens(&request).await.unwrap_err();
            assert!(matches!(&error, EngineError::InvalidField { field: named, .. } if named == field), "{error:?}");
            let job = pointsman_engine::Job { request, prompt_tokens: 5, max_output_tokens: 5 };
            assert_eq!(engine().await.generate(job).await.err(), Some(error));
        }
    });
}

#[test]
fn a_form_is_kept_to_the_most_tokens_and_leaves_its_neighbours_alone() {
    run(async {
        let list = schema(r#"{"type":"array","items":{"type":"string"},"minItems":50}"#);
        let cut = answer(formed(ask("Hello"), list.clone()), 20).await;
        assert_eq!((cut.reason, cut.tokens, cut.usage.output_tokens), (FinishReason::Length, 20, Some(20)));
        let alone = answer(ask("Tell me a story."), 60).await;
        let formed = (0..4).map(|seed| answer(formed(sampled(ask("Hello"), Some(seed)), list.clone()), 40).boxed());
        let plain = [answer(ask("Tell me a story."), 60).boxed()];
        let all = futures::future::join_all(formed.chain(plain)).await;
        assert_eq!(all[4], alone);
    });
}
