//! What is looked up for each request; made anew when something changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pointsman_errors::{Error, Reason};
use pointsman_policy::Fleet;
use pointsman_policy::fleet::Target;
use pointsman_policy::pick::{Candidate, NonePicked, Out, State, Wish, pick};
use pointsman_proto::inference::v1::{Priority, TargetDescription};

use super::breaker::Entry;
use super::cooling::Cooling;
use super::{Extras, Instance, Picked};

/// The fleet at one moment.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// The targets, for decisions.
    pub(crate) fleet: Fleet,
    members: HashMap<Box<str>, Members>,
}

/// Who serves a target.
#[derive(Debug)]
struct Members {
    ready: Vec<Member>,
    extras: Arc<Extras>,
}

/// An instance that is ready to serve a target.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Arc<Instance>,
    pub(super) zone: Box<str>,
    pub(super) cooling: Arc<Cooling>,
}

/// What is asked of a pick.
pub(crate) struct Asking<'a> {
    pub(crate) wish: Wish<'a>,
    /// A target's resource name.
    pub(crate) target: &'a str,
    /// The instances that this request has tried.
    pub(crate) tried: &'a [Arc<str>],
    /// About how many tokens the request will need.
    pub(crate) tokens: u64,
    pub(crate) priority: Priority,
    /// On the fleet's clock.
    pub(crate) now: u64,
}

impl View {
    pub(super) fn new(revision: u64, incomplete: bool) -> Self {
        Self { fleet: Fleet::new(revision, incomplete), members: HashMap::new() }
    }

    pub(super) fn add(
        &mut self,
        description: &TargetDescription,
        zone: &str,
        ready: Option<Member>,
        extras: &Arc<Extras>,
    ) {
        self.fleet.add(description, zone);
        let members = self
            .members
            .entry(description.target.as_str().into())
            .or_insert_with(|| Members { ready: Vec::new(), extras: Arc::clone(extras) });
        // An instance may be ready for its other targets.
        members.ready.extend(ready.filter(|_| !description.unavailable));
    }

    pub(super) fn knows(&self, target: &str) -> bool {
        self.members.contains_key(target)
    }

    /// The targets, and whether each can be served.
    pub(super) fn offers(&self) -> impl Iterator<Item = (&str, bool)> {
        self.fleet.targets().map(|target| (&*target.name, self.serves(target)))
    }

    fn serves(&self, target: &Target) -> bool {
        self.members.get(&*target.name).is_some_and(|members| !members.ready.is_empty())
    }

    /// Describes a target as it is now: unavailable where no instance is ready to serve it.
    pub(crate) fn describe(&self, target: &Target) -> TargetDescription {
        TargetDescription { unavailable: !self.serves(target), tenants: target.owners(), ..target.description.clone() }
    }

    /// What was spent on extra attempts at a target.
    pub(crate) fn extras(&self, target: &str) -> Option<&Extras> {
        self.members.get(target).map(|members| &*members.extras)
    }

    /// Picks an instance for an attempt, and counts one more in flight to it.
    pub(crate) fn pick(&self, asking: &Asking<'_>) -> Result<Picked, Error> {
        let Some(members) = self.members.get(asking.target) else { return Err(none_ready(asking.target)) };
        let is_alone = members.is_alone(asking);
        let candidates: Vec<Candidate<'_>> = members
            .ready
            .iter()
            .map(|member| Candidate {
                hash: member.instance.hash,
                zone: &member.zone,
                state: member.state(asking, is_alone),
                load: member.instance.load(),
            })
            .collect();
        let picked = pick(&asking.wish, &candidates).map_err(|none| members.refusal(asking, &none))?;
        let Member { instance, cooling, .. } = &members.ready[picked.index];
        let entry = match instance.breaker.enter() {
            Some(entry) => entry,
            None if is_alone => Entry::Freely,
            // A probe that another request began in this very moment: rare, and as good as broken.
            None => return Err(none_ready(asking.target)),
        };
        Ok(Picked::new(instance, cooling, asking.tokens, entry))
    }
}

impl Members {
    /// Whether there is no choice: one instance is ready where the request may run.
    fn is_alone(&self, asking: &Asking<'_>) -> bool {
        let mut allowed = self.allowed(asking);
        allowed.next().is_some() && allowed.next().is_none()
    }

    /// Those that are where the request may run.
    fn allowed(&self, asking: &Asking<'_>) -> impl Iterator<Item = &Member> {
        self.ready.iter().filter(|member| asking.wish.decision.allows_zone(&member.zone))
    }

    /// Says why nobody can be asked: what passes soonest comes first.
    fn refusal(&self, asking: &Asking<'_>, none: &NonePicked) -> Error {
        let target = asking.target;
        if none.count(Out::Reserved) > 0 {
            let message =
                "the mesh is busy, and what room is left is kept for requests of a higher priority; wait and try again";
            return Error::new(Reason::Overloaded, message).retry_after(Duration::from_secs(1));
        }
        if none.count(Out::Cooling) > 0 {
            let cooling =
                self.allowed(asking).filter_map(|member| Some((member.cooling.until(asking.now)?, &member.cooling)));
            let soonest = cooling.min_by_key(|(until, _)| *until);
            let until = soonest.as_ref().map_or(asking.now, |(until, _)| *until);
            let is_limit = soonest.is_some_and(|(_, cooling)| cooling.is_rate_limited());
            let reason = if is_limit { Reason::RateLimited } else { Reason::QueueFull };
            let message = format!(
                "every instance of {target} has asked to be left alone for a while; wait as long as the hint says"
            );
            let wait = Duration::from_millis(until.saturating_sub(asking.now).max(1));
            return Error::new(reason, message).retry_after(wait);
        }
        none_ready(target)
    }
}

impl Member {
    /// What a pick is to see.
    fn state(&self, asking: &Asking<'_>, is_alone: bool) -> State {
        if asking.tried.contains(&self.instance.name) {
            State::Tried
        } else if !self.instance.has_room(asking.priority) {
            State::Reserved
        } else if is_alone {
            // Nobody else could be asked, and its own error says more than that it was not asked.
            State::Ready
        } else if self.instance.breaker.is_open(asking.now) {
            State::Broken
        } else if self.cooling.until(asking.now).is_some() {
            State::Cooling
        } else {
            State::Ready
        }
    }
}

fn none_ready(target: &str) -> Error {
    let message = format!("no instance of {target} is ready; try again");
    Error::new(Reason::NoInstanceReady, message).retry_after(Duration::from_secs(1))
}
