//! Pictures, and a model that sees.

use std::io::Cursor;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use futures::StreamExt;
use image::{ImageFormat, Rgb, RgbImage};
use pointsman_engine::{Engine, EngineError, Event, Job};
use pointsman_engine_mistralrs::{Adapter, Config, LoadError, MistralrsEngine, Quantization};
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::delta::Content;
use pointsman_proto::inference::v1::part::Kind;
use pointsman_proto::inference::v1::response_format::Format;
use pointsman_proto::inference::v1::tool_choice::{Choice, Mode};
use pointsman_proto::inference::v1::{
    Ability, FinishReason, GenerateRequest, Image, Logprobs, Message, Part, ResponseFormat, Role, ToolChoice, Usage,
    UsageSource, image::Source,
};
use pointsman_testkit::seeing_model;
use tokio::sync::OnceCell;

use crate::tools::tool;
use crate::{PATIENCE, ask, model, run, sampled};

static ENGINE: OnceCell<MistralrsEngine> = OnceCell::const_new();

async fn engine() -> &'static MistralrsEngine {
    let load = || async { MistralrsEngine::load(Config::new("eyes", folder().path())).await.unwrap() };
    ENGINE.get_or_init(load).await
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    seeing_model::write(folder.path()).unwrap();
    folder
}

/// A picture of one colour, with a corner in another.
fn png(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
    drawn(width, height, colour, ImageFormat::Png)
}

fn drawn(width: u32, height: u32, colour: [u8; 3], format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_fn(width, height, |x, y| if x + y < width / 3 { Rgb([255; 3]) } else { Rgb(colour) });
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn shown(bytes: Vec<u8>) -> Kind {
    Kind::Image(Image { source: Some(Source::Data(bytes.into())), ..Image::default() })
}

fn said(text: &str) -> Kind {
    Kind::Text(text.to_owned())
}

fn message(role: Role, kinds: Vec<Kind>) -> Message {
    let parts = kinds.into_iter().map(|kind| Part { kind: Some(kind) }).collect();
    Message { role: role.into(), parts, ..Message::default() }
}

fn user(kinds: Vec<Kind>) -> GenerateRequest {
    GenerateRequest { messages: vec![message(Role::User, kinds)], ..ask("") }
}

fn scored(request: GenerateRequest) -> GenerateRequest {
    GenerateRequest { logprobs: Some(Logprobs::default()), ..request }
}

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    counted: u32,
    text: String,
    scores: Vec<f64>,
    /// Names of tools.
    calls: Vec<String>,
    reason: FinishReason,
    usage: Usage,
}

async fn try_answer(request: GenerateRequest, most: u32) -> Result<Answer, EngineError> {
    try_answer_of(engine().await, request, most).await
}

async fn try_answer_of(engine: &MistralrsEngine, request: GenerateRequest, most: u32) -> Result<Answer, EngineError> {
    let request = Valid::new(request).unwrap();
    let counted = engine.count_prompt_tokens(&request).await?;
    let job = Job { request, prompt_tokens: counted, max_output_tokens: most };
    let mut events = engine.generate(job).await?;
    let (mut text, mut scores, mut calls) = (String::new(), Vec::new(), Vec::new());
    while let Some(event) = tokio::time::timeout(PATIENCE, events.next()).await.expect("no event") {
        match event? {
            Event::Delta { delta, .. } => {
                match delta.content {
                    Some(Content::Text(more)) => text.push_str(&more),
                    Some(Content::ToolCall(call)) => calls.extend(Some(call.name).filter(|name| !name.is_empty())),
                    other => panic!("{other:?}"),
                }
                scores.extend(delta.logprobs.iter().map(|token| token.logprob));
            }
            Event::Finished { reason, usage } => return Ok(Answer { counted, text, scores, calls, reason, usage }),
            event => panic!("{event:?}"),
        }
    }
    panic!("no end after {text:?}")
}

async fn answer(request: GenerateRequest) -> Answer {
    try_answer(request, 20).await.unwrap()
}

async fn refusal(request: GenerateRequest) -> String {
    match try_answer(request, 20).await {
        Err(EngineError::InvalidField { field, rule }) => format!("{field}: {rule}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_model_that_sees_says_so_and_answers_texts_as_before() {
    run(async {
        let abilities = &engine().await.description().abilities;
        assert!(abilities.contains(&i32::from(Ability::Images)), "{abilities:?}");
        let texts = answer(ask("Hello")).await;
        assert!(texts.text.starts_with("Hello! I am Pip"), "{texts:?}");
        assert_eq!(texts, answer(ask("Hello")).await);
    });
}

#[test]
fn a_picture_counts_and_decides_and_the_same_one_repeats() {
    run(async {
        let red = || user(vec![shown(png(96, 64, [200, 0, 0])), said("Hello")]);
        let blue = user(vec![shown(png(96, 64, [0, 0, 200])), said("Hello")]);
        let first = answer(red()).await;
        assert_eq!(first, answer(red()).await);
        // mistral.rs' own count of the prompt is ours.
        assert_eq!((first.usage.input_tokens, first.usage.source()), (Some(first.counted), UsageSource::Reported));
        let (red, blue) = (answer(scored(red())).await, answer(scored(blue)).await);
        assert_eq!((red.counted, red.text.as_str()), (first.counted, first.text.as_str()));
        assert_eq!(red.usage.input_tokens, Some(red.counted));
        assert!(!red.scores.is_empty() && red.scores[0] != blue.scores[0], "{red:?} {blue:?}");
        assert_eq!(red.counted, blue.counted);
    });
}

#[test]
fn pictures_are_seen_in_their_order_and_in_earlier_turns() {
    run(async {
        let (red, blue) = (|| shown(png(96, 64, [200, 0, 0])), || shown(png(64, 128, [0, 0, 200])));
        let one = answer(scored(user(vec![red(), said("Hello")]))).await;
        let both = answer(scored(user(vec![red(), said("and"), blue(), said("Hello")]))).await;
        let turned = answer(scored(user(vec![blue(), said("and"), red(), said("Hello")]))).await;
        assert!(both.counted > one.counted && both.usage.input_tokens == Some(both.counted));
        assert_eq!(both.counted, turned.counted);
        assert_ne!(both.scores, turned.scores);
        let later = |picture: Kind| {
            let turns = vec![
                message(Role::User, vec![picture, said("Hello")]),
                message(Role::Assistant, vec![said("Hi.")]),
                message(Role::User, vec![said("Who are you?")]),
            ];
            scored(GenerateRequest { messages: turns, ..ask("") })
        };
        let (with_red, with_blue) = (answer(later(red())).await, answer(later(blue())).await);
        assert_ne!(with_red.scores, with_blue.scores);
        assert_eq!(with_red, answer(later(red())).await);
    });
}

#[test]
fn every_format_is_read_and_detail_is_bounded() {
    run(async {
        let plain = answer(user(vec![shown(png(96, 64, [9, 99, 9])), said("Hello")])).await;
        for format in [ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif] {
            let picture = shown(drawn(96, 64, [9, 99, 9], format));
            assert_eq!(answer(user(vec![picture, said("Hello")])).await.counted, plain.counted, "{format:?}");
        }
        // In little detail it is 16 × 512, which is too narrow.
        let long = |detail: &str| {
            let source = Some(Source::Data(png(64, 2048, [0; 3]).into()));
            user(vec![Kind::Image(Image { source, detail: detail.to_owned(), ..Image::default() })])
        };
        assert_eq!(answer(long("auto")).await.counted, answer(long("high")).await.counted);
        assert!(refusal(long("low")).await.contains("it is 16 × 512"));
    });
}

#[test]
fn a_large_picture_is_made_small_and_counts_as_it_is_read() {
    run(async {
        for (width, height) in [(1000, 700), (256, 256), (260, 250), (700, 97), (33, 2000)] {
            let seen = answer(user(vec![shown(png(width, height, [9, 99, 9])), said("Hello")])).await;
            assert_eq!(seen.usage.input_tokens, Some(seen.counted), "{width} × {height}");
            assert_eq!(seen.usage.source(), UsageSource::Reported);
        }
    });
}

#[test]
fn what_is_asked_of_texts_is_done_with_pictures() {
    run(async {
        let seen = || user(vec![shown(png(96, 64, [200, 0, 0])), said("Tell me a story.")]);
        let whole = answer(seen()).await;
        let middle: String = whole.text.chars().skip(4).take(3).collect();
        let cut = answer(GenerateRequest { stop: vec![middle.clone()], ..seen() }).await;
        assert_eq!((cut.text.as_str(), cut.reason), (whole.text.split_once(&middle).unwrap().0, FinishReason::Stop));
        let few = try_answer(seen(), 3).await.unwrap();
        assert_eq!((few.usage.output_tokens, few.reason), (Some(3), FinishReason::Length));

        let seeded = |seed| sampled(seen(), Some(seed));
        assert_eq!(answer(seeded(1)).await, answer(seeded(1)).await);
        assert_ne!(answer(seeded(1)).await.text, answer(seeded(2)).await.text);
        let format = Some(ResponseFormat { format: Some(Format::Regex("yes|no".to_owned())) });
        let formed = answer(GenerateRequest { response_format: format, ..seen() }).await;
        assert!(["yes", "no"].contains(&formed.text.as_str()), "{formed:?}");

        // With the tool in the prompt, and no more of it.
        let required = Some(ToolChoice { choice: Some(Choice::Mode(Mode::Required.into())), parallel: Some(false) });
        let offered = GenerateRequest { tools: vec![tool("now", "")], tool_choice: required, ..seen() };
        let called = try_answer(offered, 60).await.unwrap();
        assert_eq!((called.reason, called.calls), (FinishReason::ToolCalls, vec!["now".to_owned()]));
        assert!(called.counted > whole.counted);

        let request = Valid::new(GenerateRequest { choice_count: Some(2), ..seen() }).unwrap();
        let job = Job { request, prompt_tokens: whole.counted, max_output_tokens: 20 };
        let events: Vec<Event> = engine().await.generate(job).await.unwrap().map(Result::unwrap).collect().await;
        let text = |choice: u32| -> String {
            let deltas = events.iter().filter_map(|event| match event {
                Event::Delta { delta, .. } if delta.choice == choice => delta.content.clone(),
                _ => None,
            });
            deltas.map(|content| if let Content::Text(text) = content { text } else { String::new() }).collect()
        };
        assert_eq!([text(0), text(1)], [whole.text.as_str(); 2]);
    });
}

#[test]
fn pictures_of_the_same_bytes_and_another_size_are_told_apart() {
    run(async {
        let folder = folder();
        let other = MistralrsEngine::load(Config::new("eyes", folder.path())).await.unwrap();
        let flat = |(width, height)| {
            let mut bytes = Cursor::new(Vec::new());
            RgbImage::from_pixel(width, height, Rgb([7, 77, 177])).write_to(&mut bytes, ImageFormat::Png).unwrap();
            scored(user(vec![shown(bytes.into_inner()), said("Hello")]))
        };
        // As many pixels each, and the last two as many tokens; each engine sees another of them first.
        let sizes = [(96, 64), (48, 128), (64, 96)];
        let mut answers = Vec::new();
        for size in sizes {
            answers.push(try_answer_of(engine().await, flat(size), 20).await.unwrap());
        }
        for (size, first) in sizes.into_iter().zip(&answers).rev() {
            let seen = try_answer_of(&other, flat(size), 20).await.unwrap();
            assert_eq!(seen.usage.input_tokens, Some(seen.counted), "{size:?}");
            assert_eq!(&seen, first, "{size:?}");
        }
        assert_ne!(answers[0].counted, answers[1].counted);
        assert_ne!(answers[0].scores, answers[2].scores);
    });
}

#[test]
fn no_more_is_seen_of_a_picture_than_the_cpu_has_time_for() {
    run(async {
        let folder = folder();
        let size = r#""size": {"shortest_edge": 4096, "longest_edge": 16777216}"#;
        let preparation = format!(r#"{{"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2, {size}}}"#);
        std::fs::write(folder.path().join("preprocessor_config.json"), preparation).unwrap();
        let engine = MistralrsEngine::load(Config::new("eyes", folder.path())).await.unwrap();
        let words = answer(user(vec![said("Hello")])).await.counted;
        for (width, height, most) in [(2000, 1400, 256), (520, 500, 256), (3000, 32, 94), (6300, 60, 199)] {
            let request = user(vec![shown(png(width, height, [9, 99, 9])), said("Hello")]);
            let seen = try_answer_of(&engine, request, 2).await.unwrap();
            assert_eq!(seen.usage.input_tokens, Some(seen.counted), "{width} × {height}");
            assert!(seen.counted <= words + most + 2, "{width} × {height}: {}", seen.counted);
        }
    });
}

#[test]
fn a_mark_of_pictures_is_never_written() {
    run(async {
        let asked = |regex: &str| {
            let format = Some(ResponseFormat { format: Some(Format::Regex(regex.to_owned())) });
            let shows = vec![shown(png(96, 64, [200, 0, 0])), said("Hello")];
            GenerateRequest { response_format: format, ..user(shows) }
        };
        assert!(refusal(asked("a<|image_pad|>")).await.starts_with("response_format.regex: leave out"));
        let refused = try_answer(asked(r"<\|image_pad\|>"), 40).await.unwrap_err();
        assert!(matches!(&refused, EngineError::InvalidRequest { message } if message.contains("leave out")));
        let answered = try_answer(asked(r"<\|image_pad(\|>|yes)"), 40).await.unwrap();
        assert_eq!(answered.text, "<|image_padyes");
    });
}

#[test]
fn pictures_fill_the_context_and_no_more() {
    run(async {
        let many = |count: usize| user((0..count).map(|_| shown(png(256, 256, [0, 99, 0]))).collect());
        let most = try_answer(many(14), 1000).await.unwrap();
        assert!(most.counted > 900, "{most:?}");
        let room = 1024 - most.counted;
        assert!(most.reason == FinishReason::Stop || most.usage.output_tokens == Some(room), "{most:?}");
        let error = try_answer(many(16), 1000).await.unwrap_err();
        assert!(matches!(error, EngineError::ContextTooLong { prompt_tokens: 1025.., .. }), "{error:?}");
    });
}

/// A GIF of a few bytes that says it is so large, and a frame of it that says the same of itself.
fn bomb(screen: (u16, u16), frame: (u16, u16)) -> Vec<u8> {
    let size = |(width, height): (u16, u16)| [width.to_le_bytes(), height.to_le_bytes()].concat();
    let two_colours = [0x80, 0, 0, 0, 0, 0, 255, 255, 255];
    [b"GIF89a", &*size(screen), &two_colours, &[b',', 0, 0, 0, 0], &*size(frame), &[0, 2, 0, b';']].concat()
}

/// A WebP of 64 × 64 pixels, with these flags and this piece.
fn webp(flags: u8, name: [u8; 4], content: &[u8]) -> Vec<u8> {
    let piece = |name: &[u8], content: &[u8]| {
        let length = u32::try_from(content.len()).unwrap().to_le_bytes();
        [name, &length, content].concat()
    };
    let canvas = piece(b"VP8X", &[flags, 0, 0, 0, 63, 0, 0, 63, 0, 0]);
    piece(b"RIFF", &[b"WEBP", &*canvas, &piece(&name, content)].concat())
}

#[test]
fn a_picture_that_is_none_is_refused_by_its_place_and_nothing_is_lost() {
    run(async {
        let good = || shown(png(96, 64, [200, 0, 0]));
        let mut broken = png(96, 64, [200, 0, 0]);
        broken.truncate(broken.len() / 2);
        let uri =
            Kind::Image(Image { source: Some(Source::Uri("https://example.com/a.png".into())), ..Image::default() });
        let cases = [
            (shown(b"no picture".to_vec()), "must be a PNG"),
            (shown(b"<svg></svg>".to_vec()), "must be a PNG"),
            (shown(broken), "cannot be read"),
            (shown(bomb((65_000, 65_000), (65_000, 65_000))), "more than 32 Mi pixels"),
            (shown(bomb((6_000, 5_999), (9, 9))), "more than 32 Mi pixels"),
            (shown(bomb((64, 64), (3_000, 2_500))), "emory limit exceeded"),
            (shown(webp(0, *b"VP8 ", &[0x10, 0, 0, 0x9d, 1, 0x2a, 0xff, 0x3f, 0xff, 0x3f, 0, 0])), "different sizes"),
            (shown(webp(0, *b"VP8L", &[0x2f, 0xff, 0xff, 0xff, 0x0f, 0])), "different sizes"),
            (shown(webp(0, *b"VP8 ", &[0; 4])), "different sizes"),
            (shown(webp(0, *b"ANMF", &[0; 24])), "cannot be read"),
            (shown(png(31, 64, [0; 3])), "at least 32 × 32"),
            (shown(png(32, 6_500, [0; 3])), "200 times"),
            (uri, "reaches no network"),
        ];
        for (picture, says) in cases {
            let refused = refusal(user(vec![good(), said("Hello"), picture])).await;
            assert!(
                refused.starts_with("messages[0].parts[2].image: picture 2 ") && refused.contains(says),
                "{refused}"
            );
        }
        let misplaced = GenerateRequest { messages: vec![message(Role::System, vec![good()])], ..ask("") };
        assert!(refusal(misplaced).await.starts_with("messages[0].parts[0]: "));
        for mark in ["<|image_pad|>", "<|vision_start|>", "<|placeholder|>", "<|video_pad|>"] {
            let refused = refusal(user(vec![good(), said(mark)])).await;
            assert!(refused.contains("marks of pictures") && refused.contains(mark), "{refused}");
            assert!(refusal(ask(mark)).await.contains(mark));
        }
        assert!(!answer(user(vec![good()])).await.text.is_empty());
    });
}

/// Counts the panics of mistral.rs' threads, which have no names: after one of them it is started again.
fn engine_panics() -> usize {
    static COUNT: LazyLock<Arc<AtomicUsize>> = LazyLock::new(|| {
        let (count, earlier) = (Arc::new(AtomicUsize::new(0)), std::panic::take_hook());
        let counted = Arc::clone(&count);
        std::panic::set_hook(Box::new(move |panic| {
            counted.fetch_add(usize::from(std::thread::current().name().is_none()), Ordering::Relaxed);
            earlier(panic);
        }));
        count
    });
    COUNT.load(Ordering::Relaxed)
}

#[test]
fn who_leaves_while_a_picture_is_seen_leaves_the_engine_well() {
    run(async {
        let panics = engine_panics();
        let seen = || user(vec![shown(png(256, 256, [200, 0, 0])), said("Hello")]);
        let whole = answer(seen()).await;
        let request = Valid::new(seen()).unwrap();
        for _ in 0..5 {
            let job = Job { request: request.clone(), prompt_tokens: whole.counted, max_output_tokens: 100 };
            drop(engine().await.generate(job).await.unwrap());
        }
        let together = futures::future::join_all((0..4).map(|_| answer(seen()))).await;
        assert!(together.iter().all(|answer| *answer == whole), "{together:?}");
        assert_eq!(engine_panics(), panics, "mistral.rs was started again");
    });
}

#[test]
fn a_model_that_sees_is_quantised_and_takes_no_adapter() {
    run(async {
        let folder = folder();
        let config = Config { quantize: Some(Quantization::Q8_0), ..Config::new("eyes", folder.path()) };
        let quantised = MistralrsEngine::load(config).await.unwrap();
        assert!(quantised.description().abilities.contains(&i32::from(Ability::Images)));
        let mut keeping = Config::new("eyes", folder.path());
        keeping.hardware.prefix_cache = Some(4);
        assert!(keeping.problems().iter().any(|problem| problem.contains("partly unseen")), "{:?}", keeping.problems());
        let adapter = Adapter { name: "pirate".into(), path: model().join("../lora-pirate"), tenants: Vec::new() };
        let adapted = Config { adapters: vec![adapter], ..Config::new("eyes", folder.path()) };
        assert!(matches!(&adapted.problems()[..], [one] if one.contains("`adapters`")), "{:?}", adapted.problems());
        std::fs::remove_file(folder.path().join("preprocessor_config.json")).unwrap();
        let error = MistralrsEngine::load(Config::new("eyes", folder.path())).await.err().unwrap();
        assert!(matches!(error, LoadError::FilesMissing { .. }), "{error}");
    });
}

#[test]
fn a_model_whose_tokens_are_counted_otherwise_is_not_served() {
    run(async {
        // Pictures without a mark in the prompt, and cells of another size than the weights have.
        let blind = folder();
        std::fs::write(blind.path().join("chat_template.jinja"), crate::CHATML).unwrap();
        let other = folder();
        let preparation = r#"{"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}"#;
        std::fs::write(other.path().join("preprocessor_config.json"), preparation).unwrap();
        for folder in [blind, other] {
            let error = MistralrsEngine::load(Config::new("eyes", folder.path())).await.err().unwrap();
            assert!(matches!(error, LoadError::CannotGenerate { .. }), "{error}");
        }
    });
}
