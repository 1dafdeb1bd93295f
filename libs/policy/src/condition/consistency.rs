//! Whether tests of one fact leave it any value.

use std::collections::BTreeSet;

use super::expression::{Check, Test};
use crate::facts::{Fact, Kind};

/// Returns whether no value of the fact gives the new test and those that are known these results. False
/// may be wrong, true is certain.
pub(super) fn contradicts(known: &[(&Test, bool)], new: &Test, truth: bool) -> bool {
    let mut results = vec![(&new.check, truth)];
    results.extend(known.iter().filter(|(test, _)| test.fact == new.fact).map(|(test, truth)| (&test.check, *truth)));
    let opposed = results.iter().skip(1).any(|(check, other)| truth != *other && is_same(&new.check, check));
    opposed
        || match new.fact.kind() {
            Kind::Number => no_number(&new.fact, &results),
            Kind::Text => no_text(&new.fact, &results),
        }
}

fn no_number(fact: &Fact, results: &[(&Check, bool)]) -> bool {
    let bounds = fact.bounds();
    let fits = |number: u64| {
        bounds.contains(&number) && results.iter().all(|(check, truth)| check.accepts_number(number) == *truth)
    };
    let (mut least, mut most, mut excluded) = (*bounds.start(), *bounds.end(), BTreeSet::new());
    for (check, truth) in results {
        match (check, truth) {
            (Check::OneOfNumbers(numbers), true) => return !numbers.iter().any(|number| fits(*number)),
            (Check::OneOfNumbers(numbers), false) => excluded.extend(numbers.iter().copied()),
            (Check::AtLeast(number), true) => least = least.max(*number),
            // `AtLeast(0)` is a constant and never gets here.
            (Check::AtLeast(number), false) => most = most.min(number.saturating_sub(1)),
            _ => {}
        }
    }
    least > most || excluded.range(least..=most).count() as u64 > most - least
}

fn no_text(fact: &Fact, results: &[(&Check, bool)]) -> bool {
    let fits = |text: &str| {
        let mut checks = results.iter().filter(|(check, _)| !matches!(check, Check::Present));
        checks.all(|(check, truth)| check.accepts_text(text) == *truth)
    };
    if let Some(values) = fact.values() {
        return !values.iter().any(|value| fits(value));
    }
    // A label that the caller left out reads as empty.
    if results.iter().any(|result| matches!(result, (Check::Present, false))) {
        return !fits("");
    }
    let listed = results.iter().find_map(|result| match result {
        (Check::OneOf(texts), true) => Some(texts),
        _ => None,
    });
    match listed {
        Some(texts) => !texts.iter().any(|text| fits(text)),
        None => results.iter().any(|(one, truth)| {
            *truth
                && results.iter().any(|(other, truth)| if *truth { excludes(one, other) } else { implies(one, other) })
        }),
    }
}

fn is_same(one: &Check, other: &Check) -> bool {
    match (one, other) {
        (Check::Present, Check::Present) => true,
        (Check::Matches(one), Check::Matches(other)) => one.as_str() == other.as_str(),
        // The rest is compared by what values are left.
        _ => false,
    }
}

/// Returns whether every text that passes one check passes the other.
fn implies(one: &Check, other: &Check) -> bool {
    match (one, other) {
        (Check::StartsWith(one), Check::StartsWith(other)) => one.starts_with(&**other),
        (Check::EndsWith(one), Check::EndsWith(other)) => one.ends_with(&**other),
        (Check::StartsWith(one) | Check::EndsWith(one) | Check::Contains(one), Check::Contains(other)) => {
            one.contains(&**other)
        }
        _ => false,
    }
}

/// Returns whether no text passes both checks.
fn excludes(one: &Check, other: &Check) -> bool {
    match (one, other) {
        (Check::StartsWith(one), Check::StartsWith(other)) => !one.starts_with(&**other) && !other.starts_with(&**one),
        (Check::EndsWith(one), Check::EndsWith(other)) => !one.ends_with(&**other) && !other.ends_with(&**one),
        _ => false,
    }
}
