//! The engine on the real demo model, loaded once for all tests: loading is quick, and each model that is
//! loaded leaves a thread of mistral.rs behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use pointsman_engine::{Engine, EngineError, Event, Generation, Job};
use pointsman_engine_mistralrs::{Config, LoadError, MistralrsEngine};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{
    Ability, FinishReason, GenerateRequest, Message, Part, Role, Sampling, Usage, UsageSource, delta, part,
};
use tokio::sync::OnceCell;

mod adjusted;
mod choices;
mod embeddings;
mod formats;
mod forms;
mod pictures;
mod scores;
mod thoughts;
mod tools;

/// Far more than any answer takes: a test that reaches it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

static ENGINE: OnceCell<MistralrsEngine> = OnceCell::const_new();

async fn engine() -> &'static MistralrsEngine {
    ENGINE.get_or_init(|| async { MistralrsEngine::load(Config::new("pip", model())).await.unwrap() }).await
}

fn model() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo/model"))
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    text: String,
    tokens: u32,
    reason: FinishReason,
    usage: Usage,
}

fn ask(text: &str) -> GenerateRequest {
    conversation(&[(Role::User, text)])
}

fn conversation(messages: &[(Role, &str)]) -> GenerateRequest {
    let message = |(role, text): &(Role, &str)| Message {
        role: i32::from(*role),
        parts: vec![Part { kind: Some(part::Kind::Text((*text).to_owned())) }],
        ..Message::default()
    };
    GenerateRequest {
        model: "pip".to_owned(),
        messages: messages.iter().map(message).collect(),
        ..GenerateRequest::default()
    }
}

fn sampled(request: GenerateRequest, seed: Option<i64>) -> GenerateRequest {
    let sampling = Sampling { temperature: Some(2.0), ..Sampling::default() };
    GenerateRequest { sampling: Some(sampling), seed, ..request }
}

async fn job(request: GenerateRequest, max_output_tokens: u32) -> Job {
    let request = Valid::new(request).unwrap();
    let prompt_tokens = engine().await.count_prompt_tokens(&request).await.unwrap();
    Job { request, prompt_tokens, max_output_tokens }
}

async fn start(request: GenerateRequest, max_output_tokens: u32) -> Generation {
    let job = job(request, max_output_tokens).await;
    engine().await.generate(job).await.unwrap()
}

async fn read(mut events: Generation) -> Result<Answer, EngineError> {
    let (mut text, mut tokens) = (String::new(), 0);
    while let Some(event) = tokio::time::timeout(PATIENCE, events.next()).await.expect("no event") {
        match event? {
            Event::Delta { delta, tokens: more } => {
                let Some(delta::Content::Text(more_text)) = delta.content else { panic!("{delta:?}") };
                text.push_str(&more_text);
                tokens += more;
            }
            Event::Alive | Event::ChoiceFinished { .. } => panic!("one of several"),
            Event::Finished { reason, usage } => {
                assert!(events.next().await.is_none());
                return Ok(Answer { text, tokens, reason, usage });
            }
        }
    }
    panic!("an end without a finish after {text:?}")
}

async fn answer(request: GenerateRequest, max_output_tokens: u32) -> Answer {
    read(start(request, max_output_tokens).await).await.unwrap()
}

/// Loads the demo model with another chat template.
async fn with_template(template: &str) -> MistralrsEngine {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(model()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    MistralrsEngine::load(Config::new("pip", folder.path())).await.unwrap()
}

const CHATML: &str = "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endfor %}<|im_start|>assistant\n";

/// All tests share one runtime, as all requests of a worker do.
fn run(test: impl Future<Output = ()>) {
    static RUNTIME: std::sync::LazyLock<tokio::runtime::Runtime> =
        std::sync::LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());
    RUNTIME.block_on(test);
}

#[test]
fn description_names_the_target_by_its_weights() {
    run(async {
        let description = engine().await.description();
        let version = description.target.strip_prefix("models/pip/versions/").unwrap();
        assert!(version.len() == 12 && version.bytes().all(|byte| byte.is_ascii_hexdigit()), "{version}");
        assert_eq!(description.context_tokens, 1024);
        let lacks = [
            Ability::Images,
            Ability::Reasoning,
            Ability::Opaque,
            Ability::Sessions,
            Ability::Embeddings,
            Ability::EmbeddingDimensions,
        ]
        .map(i32::from);
        let all = (1..).take_while(|number| Ability::try_from(*number).is_ok());
        for ability in all {
            assert_eq!(description.abilities.contains(&ability), !lacks.contains(&ability), "{ability}");
        }
        assert_eq!(description.engine_fingerprint, "mistralrs-0.8.1-cpu-f32");
    });
}

#[test]
fn a_folder_that_lacks_something_is_refused_at_once() {
    run(async {
        let empty = tempfile::tempdir().unwrap();
        let error = MistralrsEngine::load(Config::new("pip", empty.path())).await.err().unwrap();
        assert!(matches!(&error, LoadError::FilesMissing { files, .. } if files.len() == 4), "{error}");
        let error = MistralrsEngine::load(Config::new("pip", empty.path().join("no"))).await.err().unwrap();
        assert!(matches!(error, LoadError::FolderMissing { .. }), "{error}");
    });
}

#[test]
fn malformed_files_are_an_error_and_no_crash() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(model()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        for file in ["tokenizer.json", "model.safetensors"] {
            let whole = std::fs::read(folder.path().join(file)).unwrap();
            std::fs::write(folder.path().join(file), "{").unwrap();
            let error = MistralrsEngine::load(Config::new("pip", folder.path())).await.err().unwrap();
            assert!(matches!(error, LoadError::Refused { .. } | LoadError::Panicked { .. }), "{file}: {error}");
            std::fs::write(folder.path().join(file), whole).unwrap();
        }
    });
}

#[test]
fn greedy_answers_are_fixed_and_counted() {
    run(async {
        let first = answer(ask("Hello"), 200).await;
        assert!(first.text.starts_with("Hello! I am Pip"), "{}", first.text);
        assert_eq!(first.reason, FinishReason::Stop);
        assert_eq!(first.usage.source(), UsageSource::Reported);
        assert_eq!(first.usage.output_tokens, Some(first.tokens));
        assert_eq!(answer(ask("Hello"), 200).await, first);
        // Greedy is greedy whatever the seed, and a temperature of 0 is greedy.
        let seeded = GenerateRequest { seed: Some(3), ..ask("Hello") };
        assert_eq!(answer(seeded, 200).await, first);
        let cold = Sampling { temperature: Some(0.0), ..Sampling::default() };
        assert_eq!(answer(GenerateRequest { sampling: Some(cold), ..ask("Hello") }, 200).await, first);
    });
}

#[test]
fn the_prompt_is_counted_as_mistralrs_counts_it() {
    run(async {
        let maria = [
            (Role::System, "You are Pip."),
            (Role::User, "Hi, my name is Maria."),
            (Role::Assistant, "Hello Maria!"),
            (Role::User, "What is my name? Ünïcödé 🚂"),
        ];
        for request in [ask("Hello"), ask(&"a b c ".repeat(100)), conversation(&maria)] {
            let job = job(request, 2).await;
            let counted = job.prompt_tokens;
            // A wrong count goes in, so that the right one can only come from mistral.rs.
            let answer = read(engine().await.generate(Job { prompt_tokens: 1, ..job }).await.unwrap()).await.unwrap();
            assert_eq!(answer.usage.source(), UsageSource::Reported);
            assert_eq!(answer.usage.input_tokens, Some(counted));
        }
    });
}

#[test]
fn the_same_seed_gives_the_same_text() {
    run(async {
        let request = |seed| sampled(ask("What is the router?"), seed);
        let texts = |seeds: [Option<i64>; 8]| async move {
            let mut texts = Vec::new();
            for seed in seeds {
                texts.push(answer(request(seed), 40).await.text);
            }
            texts
        };
        let seeds = [1, 2, 3, 4, 5, 6, 7, 8].map(Some);
        let seeded = texts(seeds).await;
        assert_eq!(texts(seeds).await, seeded);
        assert!(seeded.iter().any(|text| *text != seeded[0]), "{seeded:?}");
        let random = texts([None; 8]).await;
        assert!(random.iter().any(|text| *text != random[0]), "{random:?}");
    });
}

#[test]
fn neighbours_do_not_change_an_answer() {
    run(async {
        // Prompts of different and of equal length, asked alone, all at once, and while others give up.
        let prompts =
            ["Hello", "Tell me a story.", "Count to 12.", "What is the router?", "What is 7 + 8?", "Who are you?"];
        let requests = |round: i64| prompts.map(|prompt| [ask(prompt), sampled(ask(prompt), Some(round))]).concat();
        for round in 0..3 {
            let mut alone = Vec::new();
            for request in requests(round) {
                alone.push(answer(request, 50).await);
            }
            for request in requests(round) {
                tokio::spawn(async move { start(request, 50).await.next().await });
            }
            let together =
                futures::future::join_all(requests(round).into_iter().map(|request| answer(request, 50))).await;
            assert_eq!(together, alone);
        }
    });
}

#[test]
fn a_stop_text_is_cut_and_ends_the_answer() {
    run(async {
        let whole = answer(ask("Count to 12."), 100).await;
        let (before, _) = whole.text.split_once(", 5").unwrap();
        let request = GenerateRequest { stop: vec![", 5".to_owned()], ..ask("Count to 12.") };
        let cut = answer(request, 100).await;
        assert_eq!(cut.text, before);
        assert_eq!(cut.reason, FinishReason::Stop);
        assert_eq!(cut.usage.source(), UsageSource::Counted);
        assert_eq!(cut.usage.output_tokens, Some(cut.tokens));
        assert_eq!(cut.usage.input_tokens, whole.usage.input_tokens);
        assert!(cut.tokens < whole.tokens);
        // A stop text that never comes holds nothing back in the end.
        let request = GenerateRequest { stop: vec![format!("{}!", whole.text)], ..ask("Count to 12.") };
        assert_eq!(answer(request, 100).await, whole);
    });
}

#[test]
fn the_most_tokens_end_an_answer() {
    run(async {
        for most in [1, 5] {
            let answer = answer(ask("Tell me a story."), most).await;
            assert_eq!((answer.reason, answer.tokens), (FinishReason::Length, most));
            assert_eq!(answer.usage.output_tokens, Some(most));
        }
    });
}

#[test]
fn an_answer_may_end_inside_a_character() {
    run(async {
        // Hot enough to write broken characters: whatever the last token is, the answer ends with its length.
        for seed in 0..24 {
            let answer = answer(sampled(ask("Tell me a story."), Some(seed)), 12).await;
            assert_eq!(answer.usage.output_tokens, Some(answer.tokens), "{answer:?}");
            if answer.reason == FinishReason::Length {
                assert_eq!(answer.tokens, 12, "{answer:?}");
            }
        }
    });
}

#[test]
fn a_dropped_stream_leaves_the_engine_well() {
    run(async {
        let mut dropped = start(ask("Tell me a story."), 200).await;
        dropped.next().await.unwrap().unwrap();
        drop(dropped);
        drop(start(ask("Tell me a story."), 200).await);
        // A caller that gives up while its prompt is counted, which would end mistral.rs.
        let request = Valid::new(ask(&"Hello ".repeat(100))).unwrap();
        for _ in 0..5 {
            assert!(engine().await.count_prompt_tokens(&request).now_or_never().is_none());
        }
        assert!(answer(ask("Hello"), 100).await.text.starts_with("Hello! I am Pip"));
    });
}

#[test]
fn a_slow_reader_holds_nobody_up() {
    run(async {
        let slow = start(ask("Tell me a story."), 200).await;
        let fast = answer(ask("Tell me a story."), 200).await;
        assert_eq!(read(slow).await.unwrap(), fast);
    });
}

/// A prompt of 1,000 tokens or more that fits the context of 1,024.
async fn long_job(seed: i64) -> Job {
    for words in (300..1_000).step_by(5) {
        let job = job(sampled(ask(&"story ".repeat(words)), Some(seed)), 1_024).await;
        if job.prompt_tokens >= 1_000 {
            assert!(job.prompt_tokens < 1_020);
            return job;
        }
    }
    panic!("no prompt is long enough");
}

#[test]
fn answers_end_with_the_context() {
    run(async {
        let job = long_job(0).await;
        let room = 1_024 - job.prompt_tokens;
        let mut lengths = Vec::new();
        for seed in 0..4 {
            let request = Valid::new(GenerateRequest { seed: Some(seed), ..job.request.clone().into_inner() }).unwrap();
            let answer = read(engine().await.generate(Job { request, ..job.clone() }).await.unwrap()).await.unwrap();
            assert!(answer.reason == FinishReason::Stop || answer.tokens == room, "{answer:?}");
            lengths.push(answer.tokens);
        }
        assert!(lengths.contains(&room), "{lengths:?} of {room}");
    });
}

#[test]
fn a_failed_generation_is_an_error_and_leaves_the_engine_well() {
    run(async {
        // A wrong count lets the answer grow beyond the context, where mistral.rs fails.
        let job = Job { prompt_tokens: 1, ..long_job(0).await };
        let mut failed = 0;
        for seed in 0..4 {
            let request = Valid::new(GenerateRequest { seed: Some(seed), ..job.request.clone().into_inner() }).unwrap();
            match read(engine().await.generate(Job { request, ..job.clone() }).await.unwrap()).await {
                Ok(answer) => assert_eq!(answer.reason, FinishReason::Stop),
                Err(EngineError::Failed { .. }) => failed += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        assert!(failed > 0);
        assert!(answer(ask("Hello"), 100).await.text.starts_with("Hello! I am Pip"));
    });
}

#[test]
fn a_prompt_beyond_the_context_is_an_error() {
    run(async {
        let long = job(ask(&"Hello ".repeat(2_000)), 10).await;
        let prompt_tokens = long.prompt_tokens;
        assert!(prompt_tokens > 1_024);
        let error = engine().await.generate(long.clone()).await.err().unwrap();
        assert_eq!(error, EngineError::ContextTooLong { prompt_tokens, context_tokens: 1_024 });
        // Even where the count was wrong.
        let error = read(engine().await.generate(Job { prompt_tokens: 1, ..long }).await.unwrap()).await.unwrap_err();
        assert!(matches!(&error, EngineError::InvalidRequest { message } if !message.contains('\n')), "{error}");
    });
}
