//! Who is out, and why.

use super::{Candidate, State, Wish};

/// Why a candidate is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// The request may not run in its zone.
    Zone,
    /// See [`State::NotReady`].
    NotReady,
    /// See [`State::Broken`].
    Broken,
    /// See [`State::Cooling`].
    Cooling,
    /// See [`State::Reserved`].
    Reserved,
    /// See [`State::Tried`].
    Tried,
}

impl Out {
    pub(super) const COUNT: usize = 6;
}

/// Says why a candidate is out, if it is. The wall first: nothing else is looked at behind it.
pub(super) fn out(wish: &Wish<'_>, candidate: &Candidate<'_>) -> Option<Out> {
    if !wish.decision.allows_zone(candidate.zone) {
        return Some(Out::Zone);
    }
    match candidate.state {
        State::Ready => None,
        State::NotReady => Some(Out::NotReady),
        State::Broken => Some(Out::Broken),
        State::Cooling => Some(Out::Cooling),
        State::Reserved => Some(Out::Reserved),
        State::Tried => Some(Out::Tried),
    }
}
