use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use clap::Parser;
use pointsman_proto::sessions::v1::Session;

use super::console::Console;
use super::{choose, hold};
use crate::arguments::{Arguments, ChatOptions, Command};
use crate::client::fake::{FakeMesh, Fault};

/// What was printed.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn options(line: &[&str]) -> ChatOptions {
    let line = ["pointsman", "chat", "--address", "http://mesh"].into_iter().chain(line.iter().copied());
    match Arguments::parse_from(line).command {
        Command::Chat(options) => options,
        other => panic!("another command: {other:?}"),
    }
}

/// What a conversation printed, and how it ended.
struct Held {
    answers: String,
    remarks: String,
    error: Option<String>,
}

/// Holds a conversation with a person, or with lines from a file.
async fn held(fake: &FakeMesh, interactive: bool, arguments: &[&str], lines: &[&str]) -> Held {
    let (answers, remarks) = (Paper::default(), Paper::default());
    let console = Console {
        interactive,
        names_traces: false,
        answers: Box::new(answers.clone()),
        remarks: Box::new(remarks.clone()),
    };
    let mut lines: VecDeque<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    let ended = hold(fake.mesh(), &options(arguments), console, async || Ok(lines.pop_front())).await;
    Held { answers: answers.text(), remarks: remarks.text(), error: ended.err().map(|error| format!("{error:#}")) }
}

/// The texts of a session's turns.
fn texts(fake: &FakeMesh, name: &str) -> Vec<String> {
    let state = fake.state();
    state.sessions[name].1.iter().map(crate::commands::sessions::draw::short).collect()
}

fn chosen(names: &[&str], before: Option<&str>) -> (String, Option<String>) {
    choose(names.iter().map(|name| (*name).to_owned()).collect(), before).unwrap()
}

#[test]
fn a_choice_is_told_where_there_was_one() {
    assert_eq!(chosen(&["pip"], None), ("pip".to_owned(), None));
    assert_eq!(chosen(&["pip", "pip"], None), ("pip".to_owned(), None), "two versions");
    for before in [None, Some("gone")] {
        let (model, choice) = chosen(&["assistant", "pip", "pip"], before);
        let choice = choice.unwrap();
        assert!(model == "assistant" && choice.starts_with("the first of 2 models; --model NAME"), "{choice}");
    }
    let (model, choice) = chosen(&["assistant", "pip"], Some("pip"));
    assert_eq!((model.as_str(), choice.as_deref()), ("pip", Some("as before; --model NAME chooses another")));
    assert_eq!(chosen(&["pip"], Some("pip")), ("pip".to_owned(), None));
    assert!(choose(Vec::new(), Some("pip")).is_err());
}

#[tokio::test]
async fn without_a_session_each_request_has_all_that_was_said() {
    let fake = FakeMesh::default();
    let said = held(&fake, false, &["--model", "pip", "--system", "Be kind."], &["one", "two", "", "three"]).await;
    assert_eq!((said.answers.as_str(), said.remarks.as_str()), ("You said: one\nYou said: two\n", ""));
    assert_eq!(said.error, None);
    let state = fake.state();
    let sent: Vec<usize> = state.asked.iter().map(|request| request.messages.len()).collect();
    assert_eq!(sent, [2, 4]);
    assert!(state.asked.iter().all(|request| request.session.is_none() && request.request_id.is_empty()));
    assert!(state.sessions.is_empty());
}

#[tokio::test]
async fn with_a_session_what_is_new_is_sent_and_the_mesh_keeps_it() {
    let fake = FakeMesh::with_turns(3);
    let said = held(&fake, true, &["--session", "sessions/demo"], &["one", "two"]).await;
    let want = "\
Talking to pip, as before; --model NAME chooses another. An empty line or Ctrl-D ends the conversation.
sessions/demo has 3 turns. The last:
  user: question 3
  assistant: answer 3
> You said: one
> You said: two
> ";
    assert_eq!((said.answers.as_str(), said.remarks.as_str(), said.error), (want, "", None));
    let state = fake.state();
    for request in &state.asked {
        let session = request.session.as_ref().unwrap();
        assert_eq!((session.session.as_str(), session.expected_revision), ("sessions/demo", None));
        assert_eq!(request.messages.len(), 1);
    }
    assert_eq!(state.sessions["sessions/demo"].1.len(), 5);
    assert_ne!(state.asked[0].request_id, state.asked[1].request_id);
}

#[tokio::test]
async fn a_session_that_is_not_there_is_new() {
    let fake = FakeMesh::default();
    let said = held(&fake, false, &["--session", "demo", "--model", "pip", "Hello"], &[]).await;
    assert_eq!((said.answers.as_str(), said.remarks.as_str()), ("You said: Hello\n", "sessions/demo is new.\n"));
    assert_eq!(texts(&fake, "sessions/demo"), ["  user: Hello\n  assistant: You said: Hello\n"]);
    let said = held(&fake, false, &["--session", "demo", "Again"], &[]).await;
    assert!(said.remarks.contains("sessions/demo has 1 turn. The last:\n  user: Hello\n"), "{}", said.remarks);
}

#[tokio::test]
async fn standing_instructions_are_those_of_the_session() {
    let fake = FakeMesh::default();
    let kind = ["--session", "demo", "--model", "pip", "--system", "Be kind.", "Hello"];
    for turns in 1..=2 {
        let said = held(&fake, false, &kind, &[]).await;
        assert_eq!(said.error, None);
        let state = fake.state();
        let (session, kept) = &state.sessions["sessions/demo"];
        assert_eq!((session.system_prompt.as_str(), kept.len()), ("Be kind.", turns));
        assert_eq!(state.asked.last().unwrap().messages.len(), 1);
    }
    let told = held(&fake, false, &["--session", "demo", "--system", "Be rude.", "Hello"], &[]).await.error.unwrap();
    assert!(told.starts_with("sessions/demo is there with another system prompt: leave --system out"), "{told}");
    assert!(told.contains("sessions set demo --system TEXT"), "{told}");
    fake.state().create("sessions/bare", Session::default()).unwrap();
    let told = held(&fake, false, &["--session", "bare", "--system", "Be kind.", "Hello"], &[]).await.error.unwrap();
    assert!(told.starts_with("sessions/bare is there with no system prompt"), "{told}");
    assert_eq!(texts(&fake, "sessions/demo").len(), 2, "nothing was said");
}

#[tokio::test]
async fn an_error_ends_the_exchange_and_a_person_goes_on() {
    let fake = FakeMesh::with_turns(1);
    fake.state().next = vec![Fault::Fails, Fault::LosesItsEnd];
    let said = held(&fake, true, &["--session", "demo", "--model", "pip"], &["one", "two", "three"]).await;
    assert_eq!(said.error, None);
    let [first, second] = said.remarks.split("turn 2, ").collect::<Vec<_>>()[..] else {
        panic!("{}", said.remarks);
    };
    assert!(first.starts_with("error: nothing of this exchange is in sessions/demo: "), "{first}");
    assert!(first.contains("the engine was lost"), "{first}");
    assert!(second.contains("  user: two\n  assistant: You said: two\nerror: the answer broke off here; "), "{second}");
    assert!(second.contains("sessions/demo has it as turn 2"), "{second}");
    assert!(said.answers.ends_with("\n> You \n> You \n> You said: three\n> "), "{}", said.answers);
    let kept = texts(&fake, "sessions/demo");
    assert_eq!(kept.len(), 3, "{kept:?}");
    assert!(kept[1].contains("two") && kept[2].contains("three"), "{kept:?}");
}

#[tokio::test]
async fn an_answer_without_its_end_is_an_error() {
    let fake = FakeMesh::with_turns(1);
    fake.state().next = vec![Fault::EndsEarly];
    let said = held(&fake, false, &["--session", "demo", "--model", "pip", "one"], &[]).await;
    let want = "nothing of this exchange is in sessions/demo: the answer ended without saying that it is kept";
    assert_eq!((said.answers.as_str(), said.error.as_deref()), ("You \n", Some(want)));
}

#[tokio::test]
async fn the_first_turn_of_a_new_session_may_fail_too() {
    let fake = FakeMesh::default();
    fake.state().next = vec![Fault::Fails];
    let said = held(&fake, true, &["--session", "demo", "--model", "pip"], &["one", "two"]).await;
    assert!(said.remarks.starts_with("error: nothing of this exchange is in sessions/demo: "), "{}", said.remarks);
    assert_eq!((said.error, texts(&fake, "sessions/demo").len()), (None, 1));
}

#[tokio::test]
async fn where_nobody_reads_or_nothing_is_known_an_error_ends_the_conversation() {
    let fake = FakeMesh::with_turns(1);
    fake.state().next = vec![Fault::Fails];
    let said = held(&fake, false, &["--session", "demo", "--model", "pip"], &["one", "two"]).await;
    assert!(said.error.unwrap().starts_with("nothing of this exchange is in sessions/demo: "));
    assert_eq!(fake.state().asked.len(), 1, "what follows in a file may build on it");

    fake.state().next = vec![Fault::TakesTheStoreAlong];
    let said = held(&fake, true, &["--session", "demo", "--model", "pip"], &["one", "two"]).await;
    let told = said.error.unwrap();
    assert!(told.starts_with("whether sessions/demo has this exchange is not known ("), "{told}");
    assert!(told.contains("the engine was lost"), "{told}");
}

#[tokio::test]
async fn what_others_said_and_what_was_left_out_is_told() {
    let fake = FakeMesh::with_turns(1);
    fake.state().next = vec![Fault::ComesSecond];
    let said = held(&fake, false, &["--session", "demo", "--model", "pip"], &["one", "two"]).await;
    let told: Vec<&str> = said.remarks.lines().skip(3).collect();
    assert_eq!(told.len(), 2, "{}", said.remarks);
    assert!(told[0].starts_with("(1 turn of others came before this one: `"), "{told:?}");
    assert_eq!(told[1], "(1 older turn left out: the model has no room for them)");
}

#[tokio::test]
async fn calls_that_wait_are_told_of() {
    let fake = FakeMesh::with_turns(0);
    let waiting = |session: &mut Session| {
        session.state = 2;
        session.awaited_tool_call_ids = vec!["c1".into(), "c2".into()];
    };
    waiting(&mut fake.state().sessions.get_mut("sessions/demo").unwrap().0);
    let said = held(&fake, false, &["--session", "demo", "--model", "pip", "Never mind"], &[]).await;
    let want = "sessions/demo has 0 turns.\nIt awaits the results of c1, c2: what you say cancels these calls.\n";
    assert_eq!(said.remarks, want);
}
