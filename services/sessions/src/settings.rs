//! The settings of a session: their rules, and how some of them change.

use std::time::Duration;

use pointsman_proto::inference::v1::DataClass;
use pointsman_proto::sessions::v1::{SecondTurn, Session};
use prost_types::FieldMask;
use tonic_types::FieldViolation;

/// One field that callers may set.
struct Setting {
    name: &'static str,
    is_set: fn(&Session) -> bool,
    take: fn(&mut Session, &Session),
}

macro_rules! settings {
    ($($name:ident),+ $(,)?) => {
        &[$(Setting {
            name: stringify!($name),
            is_set: |session| session.$name != Session::default().$name,
            take: |session, from| session.$name = from.$name.clone(),
        }),+]
    };
}

const SETTINGS: &[Setting] = settings![
    title,
    system_prompt,
    labels,
    data_class,
    home_zone,
    retention,
    second_turn,
    merge_window,
    tool_timeout,
    limits,
    keep_partial_output,
];

/// The fields that an update changes; without a mask, those that are set.
pub(crate) fn paths(session: &Session, mask: Option<&FieldMask>) -> Result<Vec<String>, Vec<FieldViolation>> {
    let Some(mask) = mask.filter(|mask| !mask.paths.is_empty()) else {
        let set = SETTINGS.iter().filter(|setting| (setting.is_set)(session));
        return Ok(set.map(|setting| setting.name.to_owned()).collect());
    };
    let unknown = |path: &&String| !SETTINGS.iter().any(|setting| setting.name == path.as_str());
    match mask.paths.iter().find(unknown) {
        None => Ok(mask.paths.clone()),
        Some(path) => {
            let names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
            let message = format!("`{path}` cannot be changed; these can: {}", names.join(", "));
            Err(vec![FieldViolation::new("update_mask", message)])
        }
    }
}

/// A session with some settings of another.
pub(crate) fn changed(session: &Session, from: &Session, paths: &[String]) -> Session {
    let mut changed = session.clone();
    for setting in SETTINGS.iter().filter(|setting| paths.iter().any(|path| path == setting.name)) {
        (setting.take)(&mut changed, from);
    }
    changed
}

/// Says what is wrong with the settings of a session, each with its field.
pub(crate) fn violations(session: &Session) -> Vec<FieldViolation> {
    let mut found = Vec::new();
    let mut require = |kept: bool, field: &str, message: &str| {
        if !kept {
            found.push(FieldViolation::new(format!("session.{field}"), message));
        }
    };
    require(session.title.len() <= 256, "title", "must have at most 256 bytes");
    require(session.system_prompt.len() <= 256 << 10, "system_prompt", "must have at most 256 KiB");
    require(session.labels.len() <= 32, "labels", "give at most 32 labels");
    for (key, value) in &session.labels {
        require((1..=63).contains(&key.len()), "labels", "keys must have 1 to 63 bytes");
        require(value.len() <= 256, "labels", "values must have at most 256 bytes");
        require(!key.contains('\0') && !value.contains('\0'), "labels", "must not contain NUL");
    }
    require(DataClass::try_from(session.data_class).is_ok(), "data_class", UNKNOWN);
    let zone = session.home_zone.as_bytes();
    let is_zone = zone.len() <= 63 && zone.iter().all(u8::is_ascii_graphic);
    require(is_zone, "home_zone", "must have at most 63 visible ASCII characters");
    let second = Duration::from_secs(1);
    let within = |value: Option<prost_types::Duration>, least: Duration, most: Duration| {
        value.is_none_or(|value| Duration::try_from(value).is_ok_and(|value| (least..=most).contains(&value)))
    };
    require(within(session.retention, 60 * second, 366 * 10 * DAY), "retention", "must be 1 minute to 10 years");
    require(within(session.tool_timeout, second, 30 * DAY), "tool_timeout", "must be 1 s to 30 days");
    require(within(session.merge_window, Duration::ZERO, 30 * second), "merge_window", "must be at most 30 s");
    require(SecondTurn::try_from(session.second_turn).is_ok(), "second_turn", UNKNOWN);
    let limits = session.limits.unwrap_or_default();
    require(limits.max_turns != Some(0), "limits.max_turns", "must be at least 1");
    require(limits.max_bytes != Some(0), "limits.max_bytes", "must be at least 1");
    found
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const UNKNOWN: &str = "is no value of the enum";

#[cfg(test)]
mod tests {
    use pointsman_proto::sessions::v1::{Session, SessionLimits};
    use prost_types::FieldMask;

    use super::{changed, paths, violations};

    #[test]
    fn an_update_changes_what_it_names_and_nothing_else() {
        let old = Session { title: "a".into(), home_zone: "eu".into(), revision: 3, ..Session::default() };
        let new = Session { title: String::new(), home_zone: "us".into(), revision: 9, ..Session::default() };
        let mask = |names: &[&str]| Some(FieldMask { paths: names.iter().map(|name| (*name).to_owned()).collect() });
        for (mask, title, zone) in [
            (None, "a", "us"),
            (mask(&[]), "a", "us"),
            (mask(&["title"]), "", "eu"),
            (mask(&["title", "home_zone"]), "", "us"),
        ] {
            let session = changed(&old, &new, &paths(&new, mask.as_ref()).unwrap());
            assert_eq!((session.title.as_str(), session.home_zone.as_str(), session.revision), (title, zone, 3));
        }
        let told = paths(&new, mask(&["revision"]).as_ref()).unwrap_err();
        assert!(told[0].description.contains("these can: title"), "{told:?}");
    }

    #[test]
    fn every_bad_setting_is_named() {
        assert!(violations(&Session::default()).is_empty());
        let limits = Some(SessionLimits { max_turns: Some(0), max_bytes: Some(0) });
        let second = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let bad = Session {
            title: "t".repeat(257),
            labels: [("a\0".into(), String::new())].into(),
            data_class: 77,
            home_zone: "z".repeat(64),
            retention: second(1),
            tool_timeout: second(0),
            merge_window: second(31),
            second_turn: 9,
            limits,
            ..Session::default()
        };
        let fields: Vec<_> = violations(&bad).into_iter().map(|it| it.field).collect();
        let want = [
            "title",
            "labels",
            "data_class",
            "home_zone",
            "retention",
            "tool_timeout",
            "merge_window",
            "second_turn",
            "limits.max_turns",
            "limits.max_bytes",
        ];
        assert_eq!(fields, want.map(|field| format!("session.{field}")));
    }
}
