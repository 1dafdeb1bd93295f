//! The bounds of single values.

use std::ops::RangeInclusive;
use std::time::Duration;

use pointsman_proto::policy::v1 as proto;
use pointsman_types::{TargetName, is_segment};

use super::{Budget, Problems};
use crate::rule::Timeouts;

/// The bounds of numbers.
pub(super) const WEIGHT: RangeInclusive<u32> = 1..=1_000_000;
pub(super) const MAX_ATTEMPTS: RangeInclusive<u32> = 1..=16;
const MIN_PER_SECOND: RangeInclusive<u32> = 0..=1000;
const RATIO: RangeInclusive<f64> = 0.0..=1.0;

pub(super) const NO_TARGET: &str = "must be `models/{model}/versions/{version}`, or a model's name";

/// Says what a number must be, by the name of its field in the contract.
pub(crate) fn must_be(field: &str) -> String {
    let whole = |bounds: RangeInclusive<u32>| format!("must be a whole number, {} to {}", bounds.start(), bounds.end());
    match field {
        "weight" => whole(WEIGHT),
        "max_attempts" => whole(MAX_ATTEMPTS),
        "min_per_second" => whole(MIN_PER_SECOND),
        "ratio" => format!("must be a number, {} to {}", RATIO.start(), RATIO.end()),
        _ => "must be a number".to_owned(),
    }
}

pub(super) fn is_target(text: &str) -> bool {
    is_segment(text) || text.parse::<TargetName>().is_ok()
}

pub(super) fn budget(given: Option<&proto::Budget>, at: &str, problems: &mut Problems) -> Budget {
    let default = Budget::default();
    let Some(given) = given else { return default };
    let ratio = given.ratio.unwrap_or(default.ratio);
    let min_per_second = given.min_per_second.unwrap_or(default.min_per_second);
    problems.require(RATIO.contains(&ratio), format!("{at}.ratio"), &must_be("ratio"));
    problems.require(
        MIN_PER_SECOND.contains(&min_per_second),
        format!("{at}.min_per_second"),
        &must_be("min_per_second"),
    );
    Budget { ratio, min_per_second }
}

pub(super) fn timeouts(given: Option<&proto::Timeouts>, at: &str, problems: &mut Problems) -> Timeouts {
    let default = Timeouts::default();
    let Some(given) = given else { return default };
    let mut read = |given: Option<&prost_types::Duration>, name: &str, default| {
        given
            .map_or(Some(default), |_| within(given, &format!("{at}.{name}"), (1, 3_600_000), problems))
            .unwrap_or(default)
    };
    let read = Timeouts {
        connect: read(given.connect.as_ref(), "connect", default.connect),
        first_token: read(given.first_token.as_ref(), "first_token", default.first_token),
        idle_gap: read(given.idle_gap.as_ref(), "idle_gap", default.idle_gap),
        total: read(given.total.as_ref(), "total", default.total),
    };
    let (first_token, total) = (("first_token", read.first_token), ("total", read.total));
    // One that is not written bounds nothing when another is shorter, and misleads nobody.
    let written = [
        ("connect", given.connect.is_some(), read.connect, &[first_token, total][..]),
        ("first_token", given.first_token.is_some(), read.first_token, &[total]),
        ("idle_gap", given.idle_gap.is_some(), read.idle_gap, &[total]),
    ];
    for (name, _, time, ends) in written.into_iter().filter(|(_, is_written, ..)| *is_written) {
        if let Some((end, _)) = ends.iter().find(|(_, end)| time > *end) {
            let message = format!("is never reached: `{end}` is shorter");
            problems.contradicts(true, format!("{at}.{name}"), format!("{at}.{end}"), &message);
        }
    }
    read
}

/// Reads a duration that must be there and within these bounds, in milliseconds.
pub(super) fn within(
    given: Option<&prost_types::Duration>,
    at: &str,
    (least, most): (u64, u64),
    problems: &mut Problems,
) -> Option<Duration> {
    // What is more than a second is no fraction of one: the JSON mapping has no such duration.
    let given = given.filter(|given| (0..1_000_000_000).contains(&given.nanos));
    let duration = given.and_then(|given| Duration::try_from(*given).ok());
    let bounds = Duration::from_millis(least)..=Duration::from_millis(most);
    let duration = duration.filter(|duration| bounds.contains(duration));
    if duration.is_none() {
        let most = Duration::from_millis(most).as_secs();
        problems.add(at, format!("must be {least} ms to {most} s, in seconds: 0.5s"));
    }
    duration
}
