//! Who is answered with whom, and in which order.

use pointsman_errors::Error;
use pointsman_proto::inference::v1::{Message, part};
use pointsman_proto::sessions::v1::{BeginTurn, MergedRequest, Session, Turn};
use prost::Message as _;
use tokio::sync::oneshot;

use super::{Fate, Follower, Followers, Guest};
use crate::tools;
use crate::turn::as_expected;

/// As many messages as a request may have are answered together, instructions and results of awaited calls among them.
const MOST_MESSAGES: usize = 4096;
/// And so many bytes: a turn goes to the store in one piece.
const MOST_BYTES: usize = 4 << 20;

/// Where the session stands.
#[derive(Clone, Copy)]
pub(crate) struct Stand<'a> {
    pub(crate) session: &'a Session,
    pub(crate) history: &'a [Turn],
    /// Whether calls that are awaited count as failed.
    pub(crate) have_expired: bool,
}

impl Stand<'_> {
    /// How sensitive is what the model is told of the session.
    fn data_class(&self) -> i32 {
        self.history.iter().map(|turn| turn.data_class).fold(self.session.data_class, i32::max)
    }
}

/// What one turn answers.
#[derive(Debug, Default)]
pub(crate) struct Together {
    /// What is put before the messages of its request: results of calls that it does not answer, and what others say.
    pub(crate) before: Vec<Message>,
    pub(crate) after: Vec<Message>,
    pub(crate) data_class: i32,
    /// The other requests, in the order of their messages.
    pub(crate) requests: Vec<MergedRequest>,
    pub(crate) followers: Followers,
}

impl Together {
    /// One request alone.
    pub(crate) fn alone(stand: &Stand<'_>, begin: &BeginTurn) -> Result<Self, Error> {
        Ok(Self {
            before: answered(stand, &stand.session.awaited_tool_call_ids, begin)?,
            data_class: stand.data_class().max(begin.data_class),
            ..Self::default()
        })
    }
}

pub(super) enum Verdict {
    /// Of the awaited calls these are not answered then.
    Joins(Vec<Message>),
    /// It is for another turn.
    Stays,
    Told(Fate),
}

/// A turn that takes others along.
pub(super) struct Gathering<'a> {
    stand: &'a Stand<'a>,
    leader: &'a Guest,
    /// Results of the calls that nobody of them answers.
    cancelled: Vec<Message>,
    others: Vec<Guest>,
    followers: Followers,
    messages: usize,
    bytes: usize,
    is_full: bool,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(stand: &'a Stand<'a>, leader: &'a Guest) -> Result<Self, Error> {
        let cancelled = answered(stand, &stand.session.awaited_tool_call_ids, &leader.begin)?;
        let instructions = usize::from(!stand.session.system_prompt.is_empty());
        Ok(Self {
            stand,
            leader,
            messages: instructions + cancelled.len() + leader.begin.messages.len(),
            bytes: bytes(&leader.begin),
            cancelled,
            others: Vec::new(),
            followers: Followers::default(),
            is_full: false,
        })
    }

    /// Says what becomes of somebody who waits.
    pub(super) fn judge(&mut self, guest: &Guest) -> Verdict {
        let begin = &guest.begin;
        let is_same = |other: &Guest| other.begin.request_id == begin.request_id;
        // A run has a record of its own, and so an answer.
        if begin.detach || guest.zones != self.leader.zones || is_same(self.leader) || self.others.iter().any(is_same) {
            return Verdict::Stays;
        }
        if may_be_committed(guest, self.stand) {
            return Verdict::Told(Fate::Again);
        }
        if let Err(error) = as_expected(begin, self.stand.session.revision) {
            return Verdict::Told(Fate::Refused(error));
        }
        // From the first that has no room on: nobody overtakes it.
        self.is_full |= self.messages + begin.messages.len() > MOST_MESSAGES || self.bytes + bytes(begin) > MOST_BYTES;
        if self.is_full {
            return Verdict::Stays;
        }
        match answered(self.stand, &results(&self.cancelled), begin) {
            Ok(cancelled) => Verdict::Joins(cancelled),
            Err(error) => Verdict::Told(Fate::Refused(error)),
        }
    }

    /// Takes along somebody who joins, unless it has gone.
    pub(super) fn add(&mut self, guest: Guest, told: oneshot::Sender<Fate>, cancelled: Vec<Message>) {
        let (follower, ends) = oneshot::channel();
        if told.send(Fate::Taken(ends)).is_err() {
            return;
        }
        self.cancelled = cancelled;
        self.messages += guest.begin.messages.len();
        self.bytes += bytes(&guest.begin);
        self.followers.add(Follower { request_id: guest.begin.request_id.clone(), told: follower });
        self.others.push(guest);
    }

    pub(super) fn done(self) -> Together {
        let awaited = &self.stand.session.awaited_tool_call_ids;
        // Results stand where the model's calls ended; the rest comes as it came.
        let order = |guest: &Guest| {
            let is_answer = results(&guest.begin.messages).iter().any(|id| awaited.contains(id));
            (!is_answer, guest.arrival)
        };
        let mut others = self.others;
        others.sort_by_key(order);
        let classes = others.iter().map(|guest| guest.begin.data_class);
        let data_class = classes.fold(self.stand.data_class().max(self.leader.begin.data_class), i32::max);
        let requests = others.iter().map(|guest| MergedRequest {
            request_id: guest.begin.request_id.clone(),
            request_digest: guest.begin.request_digest,
        });
        let requests = requests.collect();
        let own = others.partition_point(|guest| order(guest) < order(self.leader));
        let after = others.split_off(own).into_iter().flat_map(|guest| guest.begin.messages).collect();
        let before = others.into_iter().flat_map(|guest| guest.begin.messages);
        let before = self.cancelled.into_iter().chain(before).collect();
        Together { before, after, data_class, requests, followers: self.followers }
    }
}

/// Results of the awaited calls that a request does not answer.
fn answered(stand: &Stand<'_>, awaited: &[String], begin: &BeginTurn) -> Result<Vec<Message>, Error> {
    tools::answered(awaited, stand.have_expired, &begin.messages).map_err(Error::invalid)
}

/// The calls whose results stand in messages.
fn results(messages: &[Message]) -> Vec<String> {
    let parts = messages.iter().flat_map(|message| &message.parts);
    let ids = parts.filter_map(|part| match &part.kind {
        Some(part::Kind::ToolResult(result)) => Some(result.tool_call_id.clone()),
        _ => None,
    });
    ids.collect()
}

/// Whether a request was committed since it was looked for, as far as one can see here.
fn may_be_committed(guest: &Guest, stand: &Stand<'_>) -> bool {
    let (uid, revision) = &guest.seen;
    let since = stand.history.iter().filter(|turn| turn.revision > *revision);
    let are_all_known = since.clone().count() as u64 == stand.session.revision.saturating_sub(*revision);
    let id = &guest.begin.request_id;
    *uid != stand.session.uid
        || !are_all_known
        || since.into_iter().any(|turn| turn.request_id == *id || turn.merged_request_ids.contains(id))
}

fn bytes(begin: &BeginTurn) -> usize {
    begin.messages.iter().map(Message::encoded_len).sum()
}
