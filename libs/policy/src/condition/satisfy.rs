//! Whether any request can meet a condition.
//!
//! An analytic tableau (Beth 1955, Smullyan 1968): claims are taken apart until only tests are left, and a
//! branch whose tests contradict each other is closed. When every branch is closed, nothing can meet the
//! condition. It is the disjunctive normal form, one conjunction at a time.

use super::consistency;
use super::expression::{Expression, Test};

/// How many claims are taken apart before the answer is "perhaps". A policy of 64 rules with some tests
/// each needs far fewer.
const MOST_STEPS: usize = 32_768;

/// An expression, and whether it is to be true or false.
type Claim<'a> = (&'a Expression, bool);

/// Returns whether all of `wanted` may hold where none of `unwanted` does. False is certain.
pub(super) fn can_hold<'a>(
    wanted: impl Iterator<Item = &'a Expression>,
    unwanted: impl Iterator<Item = &'a Expression>,
) -> bool {
    let unwanted = unwanted.map(|expression| (expression, false));
    let claims = unwanted.chain(wanted.map(|expression| (expression, true))).collect();
    let mut branches = vec![Branch { claims, splits: Vec::new(), tests: Vec::new() }];
    let mut steps = 0;
    while let Some(mut branch) = branches.pop() {
        if !branch.take_apart(&mut steps) {
            continue;
        }
        let Some(split) = branch.splits.pop() else { return true };
        if steps > MOST_STEPS {
            return true;
        }
        let mut other = branch.clone();
        other.claims.extend([(split.asked.0, !split.asked.1), split.otherwise]);
        branch.claims.push(split.asked);
        branch.claims.extend(split.then);
        branches.extend([other, branch]);
    }
    false
}

#[derive(Clone)]
struct Branch<'a> {
    claims: Vec<Claim<'a>>,
    /// They wait until the claims are done: tests that are known close branches early.
    splits: Vec<Split<'a>>,
    tests: Vec<(&'a Test, bool)>,
}

/// Two ways to meet a claim. They exclude each other: branches that overlap would be closed twice.
#[derive(Clone, Copy)]
struct Split<'a> {
    asked: Claim<'a>,
    /// What else must hold if `asked` does.
    then: Option<Claim<'a>>,
    /// What else must hold if `asked` does not.
    otherwise: Claim<'a>,
}

impl Branch<'_> {
    /// Turns the claims into tests and splits. Returns false if they contradict each other.
    fn take_apart(&mut self, steps: &mut usize) -> bool {
        while let Some((expression, truth)) = self.claims.pop() {
            *steps += 1;
            match (expression, truth) {
                (Expression::Constant(value), truth) if *value != truth => return false,
                (Expression::Constant(_), _) => {}
                (Expression::Not(inner), truth) => self.claims.push((inner, !truth)),
                (Expression::And(sides), true) | (Expression::Or(sides), false) => {
                    self.claims.extend(sides.iter().map(|side| (side, truth)));
                }
                (Expression::And(sides), false) | (Expression::Or(sides), true) => {
                    let [left, right] = &**sides;
                    self.splits.push(Split { asked: (left, truth), then: None, otherwise: (right, truth) });
                }
                (Expression::Choose(parts), truth) => {
                    let [asked, then, otherwise] = &**parts;
                    let (then, otherwise) = (Some((then, truth)), (otherwise, truth));
                    self.splits.push(Split { asked: (asked, true), then, otherwise });
                }
                (Expression::Test(test), truth) => {
                    if consistency::contradicts(&self.tests, test, truth) {
                        return false;
                    }
                    self.tests.push((test, truth));
                }
            }
        }
        true
    }
}
