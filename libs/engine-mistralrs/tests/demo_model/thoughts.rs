//! Answers that are read token by token, of a model that thinks first.

use futures::StreamExt;
use pointsman_engine::{Engine, Event, Job};
use pointsman_engine_mistralrs::MistralrsEngine;
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::delta::Content;
use pointsman_proto::inference::v1::response_format::Format;
use pointsman_proto::inference::v1::{GenerateRequest, Logprobs, ResponseFormat};

use crate::{CHATML, ask, run, with_template};

/// What was thought, what was said, and how many tokens have scores.
async fn read(engine: &MistralrsEngine, request: GenerateRequest) -> (String, String, usize) {
    let request = Valid::new(request).unwrap();
    let prompt_tokens = engine.count_prompt_tokens(&request).await.unwrap();
    let mut events = engine.generate(Job { request, prompt_tokens, max_output_tokens: 40 }).await.unwrap();
    let (mut thought, mut said, mut scores) = (String::new(), String::new(), 0);
    while let Some(event) = events.next().await {
        let Event::Delta { delta, .. } = event.unwrap() else { continue };
        scores += delta.logprobs.len();
        match delta.content {
            Some(Content::Reasoning(text)) => thought.push_str(&text),
            Some(Content::Text(text)) => said.push_str(&text),
            other => panic!("{other:?}"),
        }
    }
    (thought, said, scores)
}

#[test]
fn what_a_prompt_begins_as_a_thought_is_one_and_a_form_has_none() {
    run(async {
        // The model does not think; its template says that it does, and begins the thought.
        let engine = with_template(&format!("{CHATML}<think>\n{{# </think> #}}")).await;
        let scored = |request| GenerateRequest { logprobs: Some(Logprobs::default()), ..request };
        let plain = read(&engine, ask("Hello")).await;
        let told = read(&engine, scored(ask("Hello"))).await;
        assert!(!plain.0.is_empty() && plain.1.is_empty(), "{plain:?}");
        assert_eq!((told.0.as_str(), told.1.as_str()), (plain.0.as_str(), plain.1.as_str()));
        assert!(told.2 > 0);
        let format = Some(ResponseFormat { format: Some(Format::Regex("yes|no".to_owned())) });
        let formed = read(&engine, GenerateRequest { response_format: format, ..ask("Hello") }).await;
        assert!(formed.0.is_empty() && ["yes", "no"].contains(&formed.1.as_str()), "{formed:?}");
    });
}
