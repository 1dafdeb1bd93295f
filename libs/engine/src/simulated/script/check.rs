//! Makes replies of what YAML says, and finds every mistake in it.

use std::fmt::Display;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use pointsman_errors::Reason;
use pointsman_proto::inference::v1::FinishReason;
use serde::de::IntoDeserializer;
use serde::de::value::Error as ValueError;
use serde_saphyr::{Location, Spanned};

use super::file::{ErrorEntry, File, ReplyEntry, UsageEntry, WhenEntry};
use super::message::default_message;
use super::when::{TextTest, When};
use super::{Mistake, Reply};
use crate::EngineError;
use crate::simulated::plan::{Interruption, Pace, Plan, StatedUsage};
use crate::simulated::prompt::tokens;
use crate::simulated::sequence::Step;

/// The longest duration that can be written.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// What a gateway does not pass on: said by a worker, all but the last are faults of the mesh to it which is
/// no word of the caller's.
const KEPT_BY_GATEWAYS: [Reason; 5] =
    [Reason::KeyInvalid, Reason::ScopeMissing, Reason::MeshContextRefused, Reason::OriginRefused, Reason::Cancelled];

/// Returns the replies, or all mistakes in the order of their places.
pub(super) fn replies(file: &File) -> Result<Vec<Reply>, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    if file.replies.value.is_empty() {
        mistakes.push(mistake(file.replies.referenced, "replies: give at least one".to_owned()));
    }
    let mut replies: Vec<Reply> = Vec::new();
    for (index, entry) in file.replies.value.iter().enumerate() {
        let mut check = Check { index, mistakes: &mut mistakes };
        let reply = check.reply(entry);
        // One without a number of times leaves nothing for a later one that it covers.
        let covers = |earlier: &Reply| earlier.left.is_none() && earlier.when.covers(&reply.when);
        if let Some(earlier) = replies.iter().position(covers) {
            let what = format!("is never reached: replies[{earlier}] has no `times`, and fits wherever this does");
            check.add(entry.referenced, "", what);
        }
        replies.push(reply);
    }
    mistakes.sort_by_key(|mistake| mistake.place);
    if mistakes.is_empty() { Ok(replies) } else { Err(mistakes) }
}

fn mistake(at: Location, what: String) -> Mistake {
    Mistake { place: Some((at.line(), at.column())), what }
}

/// Checks one reply. A value that is wrong is told, and its default goes on.
struct Check<'a> {
    index: usize,
    mistakes: &'a mut Vec<Mistake>,
}

/// What prevents a good end.
struct Broken<'a> {
    key: &'static str,
    at: Location,
    after_pieces: Option<&'a Spanned<String>>,
    step: Step,
}

impl Check<'_> {
    /// Adds a mistake; the key begins with a dot, or is empty for the reply as a whole.
    fn add(&mut self, at: Location, key: &str, what: impl Display) {
        self.mistakes.push(mistake(at, format!("replies[{}]{key}: {what}", self.index)));
    }

    fn reply(&mut self, entry: &Spanned<ReplyEntry>) -> Reply {
        let when = entry.value.when.as_ref().map(|when| self.when(when)).unwrap_or_default();
        // A wrong number still is one: the reply is not taken for one that answers always.
        let times = entry.value.times.as_ref().map(|times| self.number(times, ".times", 1).unwrap_or(1));
        Reply { when, left: times.map(AtomicU32::new), plan: self.plan(entry) }
    }

    fn when(&mut self, entry: &Spanned<WhenEntry>) -> When {
        let WhenEntry { contains, equals, model, labels } = &entry.value;
        if contains.is_none() && equals.is_none() && model.is_none() && labels.is_empty() {
            self.add(entry.referenced, ".when", "names nothing; leave it out for a reply that fits always");
        }
        if let (Some(_), Some(equals)) = (contains, equals) {
            self.add(equals.referenced, ".when.equals", "stands beside `contains`; leave one of the two out");
        }
        for (key, text) in [(".when.contains", contains), (".when.equals", equals)] {
            if let Some(text) = text.as_ref().filter(|text| text.value.is_empty()) {
                self.add(text.referenced, key, "is empty; leave it out");
            }
        }
        let equals = equals.as_ref().map(|text| TextTest::Equals(text.value.clone()));
        let text = equals.or(contains.as_ref().map(|text| TextTest::Contains(text.value.clone())));
        When { text, model: model.clone(), labels: labels.clone() }
    }

    fn plan(&mut self, entry: &Spanned<ReplyEntry>) -> Plan {
        let ReplyEntry { delay, finish_reason, usage, .. } = &entry.value;
        let pieces = self.pieces(&entry.value);
        let interruption = self.interruption(&entry.value, pieces.as_deref());
        if pieces.is_none() && interruption.is_none() {
            self.add(entry.referenced, "", "says nothing; give `answer`, `pieces`, `error`, `truncate` or `hang`");
        }
        let mut plan = Plan { interruption, ..Plan::new(pieces.unwrap_or_default()) };
        if let Some(delay) = delay {
            plan.pace = Pace {
                first_piece: self.duration(delay.first_piece.as_ref(), ".delay.first_piece").unwrap_or_default(),
                per_piece: self.duration(delay.per_piece.as_ref(), ".delay.per_piece").unwrap_or_default(),
            };
        }
        if let Some(name) = finish_reason {
            plan.finish_reason = self.finish_reason(name);
        }
        if let Some(usage) = usage {
            let UsageEntry { input_tokens, output_tokens } = &usage.value;
            plan.usage = StatedUsage {
                input_tokens: input_tokens.as_ref().and_then(|tokens| self.number(tokens, ".usage.input_tokens", 0)),
                output_tokens: output_tokens.as_ref().and_then(|tokens| self.number(tokens, ".usage.output_tokens", 0)),
            };
        }
        plan
    }

    fn pieces(&mut self, entry: &ReplyEntry) -> Option<Vec<String>> {
        if let (Some(_), Some(pieces)) = (&entry.answer, &entry.pieces) {
            self.add(pieces.referenced, ".pieces", "stands beside `answer`; leave one of the two out");
        }
        if let Some(answer) = &entry.answer {
            return Some(tokens(answer).map(str::to_owned).collect());
        }
        let pieces = entry.pieces.as_ref()?;
        for (index, piece) in pieces.value.iter().enumerate().filter(|(_, piece)| piece.value.is_empty()) {
            self.add(piece.referenced, &format!(".pieces[{index}]"), "is empty; leave it out");
        }
        Some(pieces.value.iter().map(|piece| piece.value.clone()).collect())
    }

    fn interruption(&mut self, entry: &ReplyEntry, pieces: Option<&[String]>) -> Option<Interruption> {
        let mut broken = self.broken(entry).into_iter();
        let Broken { key, at, after_pieces, step } = broken.next()?;
        for other in broken {
            let what = format!("stands beside `{key}`; leave one of the two out");
            self.add(other.at, &format!(".{}", other.key), what);
        }
        let finish_reason = entry.finish_reason.as_ref().map(|given| ("finish_reason", given.referenced));
        let usage = entry.usage.as_ref().map(|given| ("usage", given.referenced));
        for (part, at) in finish_reason.into_iter().chain(usage) {
            self.add(
                at,
                &format!(".{part}"),
                format_args!("belongs to a good end, which `{key}` prevents; leave it out"),
            );
        }
        let key = format!(".{key}.after_pieces");
        let most = pieces.map_or(0, <[String]>::len);
        let Some(given) = after_pieces else {
            if pieces.is_some() {
                self.add(at, &key, format_args!("is missing: after how many pieces, 0 to {most}?"));
            }
            return Some(Interruption { after_pieces: 0, step });
        };
        let after_pieces = self.number(given, &key, 0).unwrap_or(0);
        if after_pieces as usize > most {
            self.add(given.referenced, &key, format_args!("must be at most {most}, the pieces of the answer"));
        }
        Some(Interruption { after_pieces, step })
    }

    /// Returns all that the reply names; more than one is a mistake.
    fn broken<'a>(&mut self, entry: &'a ReplyEntry) -> Vec<Broken<'a>> {
        let error = entry.error.as_ref().map(|error| Broken {
            key: "error",
            at: error.referenced,
            after_pieces: error.value.after_pieces.as_ref(),
            step: self.error(&error.value),
        });
        let truncate = entry.truncate.as_ref().map(|truncate| Broken {
            key: "truncate",
            at: truncate.referenced,
            after_pieces: truncate.value.after_pieces.as_ref(),
            step: truncation(),
        });
        let hang = entry.hang.as_ref().map(|hang| Broken {
            key: "hang",
            at: hang.referenced,
            after_pieces: hang.value.after_pieces.as_ref(),
            step: Step::Stall,
        });
        [error, truncate, hang].into_iter().flatten().collect()
    }

    fn error(&mut self, entry: &ErrorEntry) -> Step {
        let name = &entry.reason.value;
        let reason = name.parse().unwrap_or_else(|()| {
            let what = format!("`{name}` is no reason; docs/errors/README.md lists them");
            self.add(entry.reason.referenced, ".error.reason", what);
            Reason::Internal
        });
        if KEPT_BY_GATEWAYS.contains(&reason) {
            let what = format!("{reason} would come as another error: no gateway believes it of a worker");
            self.add(entry.reason.referenced, ".error.reason", what);
        }
        let message = entry.message.clone().unwrap_or_else(|| default_message(reason));
        let retry_after = self.duration(entry.retry_after.as_ref(), ".error.retry_after");
        Step::Error(EngineError::Chosen { reason, message, retry_after })
    }

    fn number(&mut self, text: &Spanned<String>, key: &str, least: u32) -> Option<u32> {
        let number = text.value.parse().ok().filter(|number| *number >= least);
        if number.is_none() {
            let what = format!("must be a whole number, {least} to {}", u32::MAX);
            self.add(text.referenced, key, what);
        }
        number
    }

    fn duration(&mut self, text: Option<&Spanned<String>>, key: &str) -> Option<Duration> {
        let Spanned { value, referenced, .. } = text?;
        let parsed = humantime_serde::deserialize(IntoDeserializer::<ValueError>::into_deserializer(value.as_str()));
        match parsed {
            Ok(duration) if duration <= LONGEST => return Some(duration),
            Ok(_) => self.add(*referenced, key, "must be at most 1h"),
            Err(_) => self.add(*referenced, key, format_args!("`{value}` is no duration; write it like 300ms or 2s")),
        }
        None
    }

    fn finish_reason(&mut self, name: &Spanned<String>) -> FinishReason {
        match name.value.as_str() {
            "STOP" => FinishReason::Stop,
            "LENGTH" => FinishReason::Length,
            "CONTENT_FILTER" => FinishReason::ContentFilter,
            _ => {
                self.add(name.referenced, ".finish_reason", "must be STOP, LENGTH or CONTENT_FILTER");
                FinishReason::Stop
            }
        }
    }
}

/// A caller of a mesh sees a stream that broke off as this error, and never as an end. That the worker stays ready,
/// unlike after a real loss of its engine, makes the next request predictable.
fn truncation() -> Step {
    Step::Error(EngineError::Chosen {
        reason: Reason::StreamTruncated,
        message: "the script breaks the stream off here: what was delivered is not whole. Send the request again"
            .to_owned(),
        retry_after: None,
    })
}
