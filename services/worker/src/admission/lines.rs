//! Who waits, and who is next: a higher priority first, and of one priority whoever came first.
//!
//! So that nobody waits for ever behind others, one slot in five goes by age alone: when [`IN_A_ROW`] slots in a row
//! went past whoever has waited longest, the next one is theirs. With n before it in the queue, of whatever priority,
//! a request gets one of the next 5 (n + 1) slots.

use std::collections::BTreeMap;

use pointsman_proto::inference::v1::Priority;

/// How many slots in a row may go past whoever has waited longest.
const IN_A_ROW: u32 = 4;

/// Those who wait, in a line for each priority.
#[derive(Debug)]
pub(super) struct Lines<T> {
    /// The highest priority last; in each line by the number at the door.
    waiting: [BTreeMap<u64, T>; 4],
    next_number: u64,
    /// How many in a row went past whoever has waited longest.
    past: u32,
}

/// A place in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    line: usize,
    number: u64,
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self { waiting: Default::default(), next_number: 0, past: 0 }
    }
}

impl<T> Lines<T> {
    /// Joins the end of the line of this priority.
    pub(super) fn join(&mut self, priority: Priority, one: T) -> Ticket {
        let ticket = Ticket { line: line_of(priority), number: self.next_number };
        self.next_number += 1;
        self.waiting[ticket.line].insert(ticket.number, one);
        ticket
    }

    /// Leaves the line; `None` for who was next before.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<T> {
        self.waiting[ticket.line].remove(&ticket.number)
    }

    /// Takes out whoever is next.
    pub(super) fn next(&mut self) -> Option<T> {
        let heads = self.waiting.iter().enumerate().filter_map(|(line, all)| Some((*all.keys().next()?, line)));
        let (_, longest) = heads.clone().min()?;
        let (_, highest) = heads.max_by_key(|(_, line)| *line)?;
        let by_age = longest == highest || self.past == IN_A_ROW;
        self.past = if by_age { 0 } else { self.past + 1 };
        let line = if by_age { longest } else { highest };
        self.waiting[line].pop_first().map(|(_, one)| one)
    }
}

fn line_of(priority: Priority) -> usize {
    match priority {
        Priority::Bulk => 0,
        Priority::Unspecified | Priority::Default => 1,
        Priority::Interactive => 2,
        Priority::System => 3,
    }
}

#[cfg(test)]
mod tests {
    use pointsman_proto::inference::v1::Priority::{self, Bulk, Default, Interactive, System, Unspecified};
    use proptest::prelude::*;

    use super::{IN_A_ROW, Lines, Ticket, line_of};

    /// Lets these wait, and returns the order in which they are next.
    fn order(waiting: &[Priority]) -> Vec<usize> {
        let mut lines = Lines::default();
        for (at, priority) in waiting.iter().enumerate() {
            lines.join(*priority, at);
        }
        std::iter::from_fn(|| lines.next()).collect()
    }

    #[test]
    fn a_higher_priority_goes_first_and_equals_in_their_order() {
        assert_eq!(order(&[Bulk, Default, Interactive, System]), [3, 2, 1, 0]);
        assert_eq!(order(&[Default, Unspecified, Interactive, Default, Interactive]), [2, 4, 0, 1, 3]);
    }

    #[test]
    fn one_slot_in_five_goes_by_age_alone() {
        let bulk = [Bulk; 2];
        let waiting = [&bulk[..], &[Interactive; 9]].concat();
        assert_eq!(order(&waiting), [2, 3, 4, 5, 0, 6, 7, 8, 9, 1, 10]);
    }

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Join(Priority),
        /// The one at this place among those who wait.
        Leave(usize),
        Next,
    }

    fn act() -> impl Strategy<Value = Act> {
        let priority = prop::sample::select(vec![Unspecified, Bulk, Default, Interactive, System]);
        prop_oneof![3 => priority.prop_map(Act::Join), 1 => any::<usize>().prop_map(Act::Leave), 2 => Just(Act::Next)]
    }

    /// One who waits, as the rule in words sees it.
    #[derive(Clone, Copy, Debug)]
    struct Waiting {
        ticket: Ticket,
        priority: Priority,
        /// Slots that may still go to others.
        patience: usize,
    }

    /// Those who wait in the order in which they came, and how many slots in a row went past the first.
    #[derive(Default)]
    struct Model {
        waiting: Vec<Waiting>,
        past: u32,
    }

    impl Model {
        fn next(&mut self) -> Option<Waiting> {
            let highest = self.waiting.iter().map(|one| line_of(one.priority)).max()?;
            let first_of_highest = self.waiting.iter().position(|one| line_of(one.priority) == highest)?;
            let at = if self.past == IN_A_ROW { 0 } else { first_of_highest };
            self.past = if at == 0 { 0 } else { self.past + 1 };
            let next = self.waiting.remove(at);
            for other in &mut self.waiting {
                other.patience = other.patience.checked_sub(1).unwrap_or_else(|| panic!("{other:?} starves"));
            }
            Some(next)
        }
    }

    proptest! {
        #[test]
        fn whoever_comes_and_goes_the_rule_holds_and_nobody_starves(acts in prop::collection::vec(act(), 0..400)) {
            let (mut lines, mut model) = (Lines::default(), Model::default());
            let drain = std::iter::repeat_n(Act::Next, acts.len());
            for (at, act) in acts.iter().copied().chain(drain).enumerate() {
                match act {
                    Act::Join(priority) => {
                        let ticket = lines.join(priority, at);
                        let patience = 5 * (model.waiting.len() + 1) - 1;
                        model.waiting.push(Waiting { ticket, priority, patience });
                        prop_assert_eq!(lines.waiting[ticket.line].get(&ticket.number), Some(&at));
                    }
                    Act::Leave(_) if model.waiting.is_empty() => {}
                    Act::Leave(which) => {
                        let left = model.waiting.remove(which % model.waiting.len());
                        prop_assert!(lines.leave(left.ticket).is_some());
                        prop_assert!(lines.leave(left.ticket).is_none(), "it left already");
                    }
                    Act::Next => {
                        let ticket = model.next().map(|next| next.ticket);
                        let one = ticket.and_then(|it| lines.waiting[it.line].get(&it.number).copied());
                        prop_assert_eq!(lines.next(), one);
                        prop_assert!(ticket.is_none_or(|it| lines.leave(it).is_none()), "it is out");
                    }
                }
            }
            prop_assert!(lines.next().is_none());
        }
    }
}
