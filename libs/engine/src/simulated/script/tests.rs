use std::time::Duration;

use futures::{FutureExt, StreamExt};
use pointsman_errors::Reason;
use pointsman_proto::Valid;
use pointsman_proto::inference::v1::{
    FinishReason, GenerateRequest, Limits, Message, Part, Priority, Role, Usage, UsageSource, delta, part,
};
use tokio::time::Instant;

use super::Script;
use crate::simulated::{Config, SimulatedEngine, Timing};
use crate::{Engine, EngineError, Event, Generation, Job};

fn message(role: Role, texts: &[&str]) -> Message {
    let part = |text: &&str| Part { kind: Some(part::Kind::Text((*text).to_owned())) };
    Message { role: role.into(), parts: texts.iter().map(part).collect(), ..Message::default() }
}

fn say(text: &str) -> GenerateRequest {
    let model = "models/simulated/versions/1".to_owned();
    GenerateRequest { model, messages: vec![message(Role::User, &[text])], ..GenerateRequest::default() }
}

fn engine(yaml: &str) -> SimulatedEngine {
    SimulatedEngine::new(Config::default()).scripted(Script::parse(yaml).unwrap())
}

async fn start(engine: &SimulatedEngine, request: GenerateRequest) -> Result<Generation, EngineError> {
    let max_output_tokens = request.limits.and_then(|limits| limits.max_output_tokens).unwrap_or(1000);
    let request = Valid::new(request).unwrap();
    let prompt_tokens = engine.count_prompt_tokens(&request).await?;
    engine.generate(Job { request, prompt_tokens, max_output_tokens }).await
}

/// What a caller gets: the text, piece by piece, and how it ended.
#[derive(Debug, PartialEq)]
struct Told {
    pieces: Vec<String>,
    end: Option<Result<(FinishReason, Usage), EngineError>>,
}

impl Told {
    fn text(&self) -> String {
        self.pieces.concat()
    }

    fn finish(&self) -> (FinishReason, Usage) {
        self.end.clone().unwrap().unwrap()
    }

    fn reason(&self) -> Reason {
        match &self.end {
            Some(Err(EngineError::Chosen { reason, .. })) => *reason,
            other => panic!("no chosen error but {other:?}"),
        }
    }
}

async fn ask(engine: &SimulatedEngine, request: GenerateRequest) -> Told {
    let mut told = Told { pieces: Vec::new(), end: None };
    let mut generation = match start(engine, request).await {
        Ok(generation) => generation,
        Err(error) => return Told { end: Some(Err(error)), ..told },
    };
    while let Some(event) = generation.next().await {
        match event {
            Ok(Event::Delta { delta, .. }) => {
                let Some(delta::Content::Text(piece)) = delta.content else { panic!("no text") };
                told.pieces.push(piece);
            }
            Ok(Event::Alive) => {}
            Ok(Event::ChoiceFinished { .. }) => panic!("one answer of several"),
            Ok(Event::Finished { reason, usage }) => told.end = Some(Ok((reason, usage))),
            Err(error) => told.end = Some(Err(error)),
        }
    }
    told
}

/// Everything that is wrong with a script, as it is printed.
fn mistakes(yaml: &str) -> Vec<String> {
    Script::parse(yaml).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn every_wrong_value_is_told_with_its_place() {
    let yaml = "\
replies:
  - when: {}
    times: 0
    answer: a b
    pieces: [a, '']
    error: {reason: QUEUE_FUL, retry_after: 2, after_pieces: 3}
    hang: {}
  - when: {contains: '', equals: a}
    finish_reason: DONE
    delay: {first_piece: 300, per_piece: 2h}
    answer: x
  - {times: 1}
  - truncate: {after_pieces: 1}
    usage: {input_tokens: many}
  - answer: never
    error: {reason: KEY_INVALID, after_pieces: 1}
";
    let want = [
        "line 2, column 11: replies[0].when: names nothing; leave it out for a reply that fits always",
        "line 3, column 12: replies[0].times: must be a whole number, 1 to 4294967295",
        "line 5, column 13: replies[0].pieces: stands beside `answer`; leave one of the two out",
        "line 6, column 21: replies[0].error.reason: `QUEUE_FUL` is no reason; docs/errors/README.md lists them",
        "line 6, column 45: replies[0].error.retry_after: `2` is no duration; write it like 300ms or 2s",
        "line 6, column 62: replies[0].error.after_pieces: must be at most 2, the pieces of the answer",
        "line 7, column 11: replies[0].hang: stands beside `error`; leave one of the two out",
        "line 8, column 22: replies[1].when.contains: is empty; leave it out",
        "line 8, column 34: replies[1].when.equals: stands beside `contains`; leave one of the two out",
        "line 9, column 20: replies[1].finish_reason: must be STOP, LENGTH or CONTENT_FILTER",
        "line 10, column 26: replies[1].delay.first_piece: `300` is no duration; write it like 300ms or 2s",
        "line 10, column 42: replies[1].delay.per_piece: must be at most 1h",
        "line 12, column 5: replies[2]: says nothing; give `answer`, `pieces`, `error`, `truncate` or `hang`",
        "line 13, column 30: replies[3].truncate.after_pieces: must be at most 0, the pieces of the answer",
        "line 14, column 12: replies[3].usage: belongs to a good end, which `truncate` prevents; leave it out",
        "line 14, column 27: replies[3].usage.input_tokens: must be a whole number, 0 to 4294967295",
        "line 15, column 5: replies[4]: is never reached: replies[3] has no `times`, and fits wherever this does",
        "line 16, column 21: replies[4].error.reason: KEY_INVALID would come as another error: no gateway believes it of a worker",
    ];
    assert_eq!(mistakes(yaml), want);
}

#[test]
fn what_is_no_script_is_told_with_its_place() {
    for (yaml, place, word) in [
        ("replies: []\n", "line 1, column 10", "at least one"),
        ("replies:\n  - anwser: x\n", "line 2, column 5", "anwser"),
        ("replies:\n  - answer: x\n    when: {regex: y}\n", "line 3, column 12", "regex"),
        ("replies:\n  - answer: [x]\n", "line 2, column 13", ""),
        ("replies:\n  - error: {after_pieces: 0}\n", "line 2, column 13", "reason"),
        ("replies:\n  - answer: [\n", "line 2", ""),
        ("answers: []\n", "line 1, column 1", "answers"),
        ("", "line 1, column 1", "is empty; a script has replies, such as `replies: [{answer: Hello}]`"),
        (" \n# later\n", "line 1, column 1", "is empty"),
    ] {
        let told = mistakes(yaml);
        assert!(told.len() == 1 && told[0].starts_with(place) && told[0].contains(word), "{yaml}{told:?}");
        assert!(!told[0].contains(" at line "), "the place is told once: {told:?}");
    }
}

#[test]
fn a_reply_that_is_never_reached_is_a_mistake() {
    for (earlier, later, reached) in [
        ("answer: x", "answer: y", false),
        ("answer: x", "when: {equals: a}, answer: y", false),
        ("when: {contains: ai}, answer: x", "when: {contains: rain}, answer: y", false),
        ("when: {contains: ai}, answer: x", "when: {equals: rain}, answer: y", false),
        ("when: {equals: a}, answer: x", "when: {equals: a, model: m}, answer: y", false),
        ("when: {model: m}, answer: x", "when: {model: models/m/versions/1}, answer: y", false),
        ("when: {labels: {a: b}}, answer: x", "when: {labels: {a: b, c: d}}, answer: y", false),
        ("times: 1, answer: x", "answer: y", true),
        ("when: {equals: a}, answer: x", "answer: y", true),
        ("when: {equals: rain}, answer: x", "when: {contains: rain}, answer: y", true),
        ("when: {contains: rain}, answer: x", "when: {contains: ai}, answer: y", true),
        ("when: {model: models/m/versions/1}, answer: x", "when: {model: m}, answer: y", true),
        ("when: {labels: {a: b}}, answer: x", "when: {labels: {a: c}}, answer: y", true),
        ("when: {labels: {a: b}}, answer: x", "when: {equals: a}, answer: y", true),
    ] {
        let parsed = Script::parse(&format!("replies:\n  - {{{earlier}}}\n  - {{{later}}}\n"));
        assert_eq!(parsed.is_ok(), reached, "{earlier} then {later}: {parsed:?}");
    }
}

#[test]
fn a_wrong_condition_hides_no_later_reply() {
    let yaml = "replies:\n  - {when: {}, answer: x}\n  - {when: {equals: a}, answer: y}\n  - answer: z\n";
    let want = ["line 2, column 12: replies[0].when: names nothing; leave it out for a reply that fits always"];
    assert_eq!(mistakes(yaml), want);
}

#[test]
fn nobody_comes_back_with_a_mistake_of_their_own() {
    for (reason, allowed) in [
        ("CONTENT_REFUSED", false),
        ("CONTEXT_TOO_LONG", false),
        ("CANCELLED_BY_OPERATOR", false),
        ("QUEUE_FULL", true),
        ("ENGINE_LOST", true),
    ] {
        let parsed = Script::parse(&format!("replies: [{{error: {{reason: {reason}, retry_after: 3s}}}}]"));
        let told = parsed.err().map(|mistakes| mistakes[0].what.clone());
        let want = format!(
            "replies[0].error.retry_after: no retry helps after {reason}, and callers are told so; leave it out"
        );
        assert_eq!(told, (!allowed).then_some(want));
    }
}

#[tokio::test]
async fn the_first_reply_that_fits_answers() {
    let engine = engine(
        "\
replies:
  - {when: {equals: rain}, answer: is rain}
  - {when: {contains: rain, labels: {kind: storm}}, answer: labelled rain}
  - {when: {contains: rain}, answer: has rain}
  - {when: {model: other}, answer: another model}
  - {when: {labels: {kind: storm}}, answer: labelled}
  - {when: {model: simulated}, answer: this model}
",
    );
    let labelled =
        |value: &str, request| GenerateRequest { labels: [("kind".to_owned(), value.to_owned())].into(), ..request };
    let later = |messages: &[(Role, &[&str])]| GenerateRequest {
        messages: messages.iter().map(|(role, texts)| message(*role, texts)).collect(),
        ..say("rain")
    };
    for (request, want) in [
        (say("rain"), "is rain"),
        (say("Rain"), "this model"),
        (say("rain again"), "has rain"),
        (labelled("storm", say("rain again")), "labelled rain"),
        (labelled("storm", say("snow")), "labelled"),
        (labelled("breeze", say("snow")), "this model"),
        (GenerateRequest { model: "models/other/versions/9".to_owned(), ..say("snow") }, "another model"),
        (later(&[(Role::User, &["rain"]), (Role::Assistant, &["rain"]), (Role::User, &["snow"])]), "this model"),
        (later(&[(Role::User, &["ra", "in"]), (Role::Assistant, &["snow"])]), "is rain"),
        (later(&[(Role::System, &["rain"])]), "this model"),
    ] {
        let told = format!("{request:?}");
        assert_eq!(ask(&engine, request).await.text(), want, "{told}");
    }
}

#[tokio::test]
async fn a_reply_answers_as_often_as_it_says() {
    let engine = engine(
        "\
replies:
  - {when: {contains: a}, times: 2, answer: first}
  - {when: {contains: a}, times: 1, error: {reason: QUEUE_FULL, message: wait, retry_after: 2s}}
  - {when: {equals: a}, answer: then}
",
    );
    for want in ["first", "first"] {
        assert_eq!(ask(&engine, say("a")).await.text(), want);
    }
    let refused = EngineError::Chosen {
        reason: Reason::QueueFull,
        message: "wait".to_owned(),
        retry_after: Some(Duration::from_secs(2)),
    };
    assert_eq!(ask(&engine, say("a")).await, Told { pieces: vec![], end: Some(Err(refused)) });
    for _ in 0..3 {
        assert_eq!(ask(&engine, say("a")).await.text(), "then");
    }
    let Some(Err(EngineError::Chosen { reason, message, .. })) = ask(&engine, say("ab secret")).await.end else {
        panic!("it was answered")
    };
    assert_eq!(reason, Reason::GenerationFailed);
    assert!(message.contains("9 characters") && !message.contains("secret"), "{message}");
}

#[tokio::test]
async fn an_error_without_a_message_says_what_to_do() {
    for (reason, advice) in [
        ("ENGINE_LOST", "throw it away and try again"),
        ("QUEUE_FULL", "wait a while"),
        ("CONTEXT_TOO_LONG", "drop or summarise old messages"),
        ("INTERNAL", "give the operators the trace id"),
    ] {
        let engine = engine(&format!("replies: [{{error: {{reason: {reason}}}}}]"));
        let Some(Err(EngineError::Chosen { message, .. })) = ask(&engine, say("a")).await.end else {
            panic!("it was answered")
        };
        assert!(message.starts_with(&format!("the script answers with {reason}: ")), "{message}");
        assert!(message.contains(advice), "{message}");
    }
}

/// All ways to break off, with the engine's two clocks.
#[tokio::test(start_paused = true)]
async fn a_broken_answer_stops_where_it_says_and_never_ends_well() {
    let yaml = "\
replies:
  - {when: {equals: truncate}, answer: Half an ans, truncate: {after_pieces: 2}}
  - {when: {equals: at once}, truncate: {}}
  - {when: {equals: error}, pieces: [Some, text], error: {reason: ENGINE_LOST, after_pieces: 1}}
  - {when: {equals: after all}, answer: Some text, error: {reason: RATE_LIMITED, after_pieces: 2}}
  - {when: {equals: error at once}, error: {reason: CONTEXT_TOO_LONG}}
";
    let timing = Timing { step: Duration::from_millis(10), ..Timing::default() };
    for config in [Config::default(), Config { timing, ..Config::default() }] {
        let engine = SimulatedEngine::new(config).scripted(Script::parse(yaml).unwrap());
        for (text, pieces, reason) in [
            ("truncate", &["Half", " an"][..], Reason::StreamTruncated),
            ("at once", &[], Reason::StreamTruncated),
            ("error", &["Some"], Reason::EngineLost),
            ("after all", &["Some", " text"], Reason::RateLimited),
            ("error at once", &[], Reason::ContextTooLong),
        ] {
            let told = ask(&engine, say(text)).await;
            assert_eq!(
                (&told.pieces[..], told.reason()),
                (&pieces.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()[..], reason),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn limits_and_stop_texts_hold_for_written_answers() {
    let yaml = "\
replies:
  - {when: {equals: broken}, answer: one two three, error: {reason: INTERNAL, after_pieces: 3}}
  - {answer: one two three, finish_reason: CONTENT_FILTER, usage: {output_tokens: 99}}
";
    let engine = engine(yaml);
    let limited = |max, text| GenerateRequest { limits: Some(Limits { max_output_tokens: Some(max) }), ..say(text) };
    let stopped = |stop: &str| GenerateRequest { stop: vec![stop.to_owned()], ..say("x") };
    for (request, text, reason) in [
        (say("x"), "one two three", FinishReason::ContentFilter),
        (limited(3, "x"), "one two three", FinishReason::ContentFilter),
        (limited(2, "x"), "one two", FinishReason::Length),
        (limited(2, "broken"), "one two", FinishReason::Length),
        (stopped("o t"), "one tw", FinishReason::Stop),
    ] {
        let told = ask(&engine, request).await;
        assert_eq!((told.text().as_str(), told.finish().0), (text, reason));
    }
    assert_eq!(ask(&engine, limited(3, "broken")).await.reason(), Reason::Internal);
}

#[tokio::test]
async fn usage_is_counted_or_what_the_script_says() {
    let engine = engine(
        "\
replies:
  - {when: {equals: both}, answer: x, usage: {input_tokens: 7, output_tokens: 3}}
  - {when: {equals: one}, answer: x, usage: {output_tokens: 3}}
  - {pieces: [It rains, ' all day.']}
",
    );
    for (text, input, output, source) in [
        ("both", 7, 3, UsageSource::Reported),
        ("one", 5, 3, UsageSource::Reported),
        ("two words", 6, 2, UsageSource::Counted),
    ] {
        let usage = ask(&engine, say(text)).await.finish().1;
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.source()), (Some(input), Some(output), source));
    }
}

#[tokio::test(start_paused = true)]
async fn pieces_come_at_their_pace() {
    let engine = engine(
        "\
replies:
  - {when: {equals: slow}, answer: a b c, delay: {first_piece: 300ms, per_piece: 10ms}}
  - {when: {equals: error}, error: {reason: QUEUE_FULL}, delay: {first_piece: 2s}}
  - {answer: a b c, truncate: {after_pieces: 1}, delay: {per_piece: 5ms}}
",
    );
    for (text, want) in [("slow", &[300, 310, 320, 330][..]), ("error", &[2000]), ("truncate", &[0, 5])] {
        let begin = Instant::now();
        let generation = start(&engine, say(text)).await.unwrap();
        let told = generation.filter(|event| std::future::ready(*event != Ok(Event::Alive)));
        let times: Vec<u128> = told.map(|_| begin.elapsed().as_millis()).collect().await;
        assert_eq!(times, want, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_hangs_says_nothing_more() {
    let yaml = "\
replies:
  - {when: {equals: at once}, hang: {}}
  - {answer: a b, hang: {after_pieces: 1}}
";
    let timing = Timing { step: Duration::from_millis(10), ..Timing::default() };
    for config in [Config::default(), Config { timing, batch: 1, ..Config::default() }] {
        let engine = SimulatedEngine::new(config).scripted(Script::parse(yaml).unwrap());
        for (text, pieces) in [("at once", 0), ("later", 1)] {
            let mut generation = start(&engine, say(text)).await.unwrap();
            for _ in 0..pieces {
                generation.next().await.unwrap().unwrap();
            }
            tokio::time::sleep(Duration::from_secs(600)).await;
            assert_eq!(generation.next().now_or_never(), None, "{text}");
            // Who leaves frees the place, also the only one.
        }
    }
}

#[tokio::test]
async fn a_trial_is_no_part_of_the_script() {
    let engine = engine("replies:\n  - {times: 1, answer: for a caller}\n  - {error: {reason: INTERNAL}}\n");
    crate::try_out(&engine).await.unwrap();
    let urgent = GenerateRequest { priority: Priority::System.into(), request_id: "mine".to_owned(), ..say("Hello") };
    assert_eq!(ask(&engine, urgent).await.text(), "for a caller");
}

#[test]
fn the_scripts_that_we_show_are_good() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let example = std::fs::read_to_string(format!("{root}/examples/script/replies.yaml")).unwrap();
    Script::parse(&example).unwrap();
    let page = std::fs::read_to_string(format!("{root}/docs/reference/script.md")).unwrap();
    let shown: Vec<&str> = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let scripts: Vec<&&str> = shown.iter().filter(|yaml| yaml.starts_with("replies:")).collect();
    assert!(!scripts.is_empty(), "the page shows no scripts");
    for yaml in scripts {
        Script::parse(yaml).unwrap();
    }
}
