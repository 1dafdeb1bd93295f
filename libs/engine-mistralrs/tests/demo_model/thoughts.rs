//! Answers that are read token by token, of a model that thinks first.

use futures::StreamExt;
use pointsman_engine::{Engine, EngineError, Event, Job};
use pointsman_engine_mistralrs::MistralrsEngine;
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::delta::Content;
use pointsman_proto::inference::v1::part::Kind;
use pointsman_proto::inference::v1::response_format::Format;
use pointsman_proto::inference::v1::{
    Ability, GenerateRequest, Logprobs, Part, Reasoning, ReasoningEffort, ResponseFormat, Role,
};

use crate::{CHATML, ask, conversation, run, with_template};

fn scored(request: GenerateRequest) -> GenerateRequest {
    GenerateRequest { logprobs: Some(Logprobs::default()), ..request }
}

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

fn with_effort(effort: ReasoningEffort) -> GenerateRequest {
    GenerateRequest { reasoning_effort: effort.into(), ..ask("Hello") }
}

/// The tokens of the prompt, as they are counted and as an answer says that they were read.
async fn prompt_tokens(engine: &MistralrsEngine, request: GenerateRequest) -> Result<u32, EngineError> {
    let request = Valid::new(request).unwrap();
    let prompt_tokens = engine.count_prompt_tokens(&request).await?;
    for request in [request.clone(), Valid::new(scored(request.into_inner())).unwrap()] {
        let events = engine.generate(Job { request, prompt_tokens, max_output_tokens: 3 }).await.unwrap();
        let events: Vec<_> = events.map(Result::unwrap).collect().await;
        let Some(Event::Finished { usage, .. }) = events.last() else { panic!("{events:?}") };
        assert_eq!(usage.input_tokens, Some(prompt_tokens));
    }
    Ok(prompt_tokens)
}

#[test]
fn effort_changes_the_prompt_as_far_as_the_template_knows_it() {
    use ReasoningEffort::{High, Low, Medium, Minimal, None as NoEffort, Unspecified};
    run(async {
        let switch = "{%- if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{%- endif %}";
        let degrees = "{%- if reasoning_effort == 'high' %}think, think, think{%- elif reasoning_effort == 'low' %}be quick{%- endif %}";
        let engine = with_template(&format!("{CHATML}{switch}")).await;
        assert!(engine.description().abilities.contains(&i32::from(Ability::Reasoning)));
        let (own, off) = (
            prompt_tokens(&engine, with_effort(Unspecified)).await.unwrap(),
            prompt_tokens(&engine, with_effort(NoEffort)).await.unwrap(),
        );
        assert!(own < off, "{own} {off}");
        for effort in [Minimal, Low, Medium, High] {
            let Err(EngineError::InvalidField { field, .. }) = prompt_tokens(&engine, with_effort(effort)).await else {
                panic!("{effort:?}")
            };
            assert_eq!(field, "reasoning_effort");
        }
        let engine = with_template(&format!("{degrees}{CHATML}")).await;
        let (low, medium, high) = (
            prompt_tokens(&engine, with_effort(Low)).await.unwrap(),
            prompt_tokens(&engine, with_effort(Medium)).await.unwrap(),
            prompt_tokens(&engine, with_effort(High)).await.unwrap(),
        );
        assert!(medium < low && low < high, "{low} {medium} {high}");
        assert_eq!(prompt_tokens(&engine, with_effort(Unspecified)).await.unwrap(), medium);
        assert!(prompt_tokens(&engine, with_effort(NoEffort)).await.is_err());
    });
}

#[test]
fn thoughts_of_earlier_answers_are_given_to_a_template_that_takes_them() {
    run(async {
        let thoughtful = || {
            let mut request =
                conversation(&[(Role::User, "Hello"), (Role::Assistant, "Hi."), (Role::User, "Who are you?")]);
            let thought = Reasoning { text: "I should greet.".to_owned(), ..Reasoning::default() };
            request.messages[1].parts.insert(0, Part { kind: Some(Kind::Reasoning(thought)) });
            request
        };
        let thoughtless = || {
            let mut request = thoughtful();
            request.messages[1].parts.remove(0);
            request
        };
        let takes = "{%- for m in messages %}{%- if m.reasoning_content %}{{- m.reasoning_content }}{%- endif %}{%- endfor %}{#- enable_thinking #}";
        let engine = with_template(&format!("{takes}{CHATML}")).await;
        let told = prompt_tokens(&engine, thoughtful()).await.unwrap();
        assert!(told > prompt_tokens(&engine, thoughtless()).await.unwrap());
        let engine = with_template(&format!("{{#- enable_thinking #}}{CHATML}")).await;
        let Err(EngineError::InvalidField { field, .. }) = prompt_tokens(&engine, thoughtful()).await else {
            panic!("it was taken")
        };
        assert_eq!(field, "messages[1].parts[0]");
    });
}
