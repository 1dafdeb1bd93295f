//! What somebody may have meant.

/// How many letters may be wrong in a name for another to be suggested.
pub(crate) const MOST_WRONG: usize = 2;

/// Returns the name that is nearest to what was written, if one is near: at most two letters differ, and at
/// most half of the shorter of the two.
pub fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |name: &'a str| {
        let most = (written.chars().count().min(name.chars().count()) / 2).min(MOST_WRONG);
        let wrong = edits(written, name);
        (wrong <= most).then_some((wrong, name))
    };
    names.into_iter().filter_map(near).min().map(|(_, name)| name)
}

/// How many letters differ (Levenshtein 1966).
pub(crate) fn edits(wrong: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (index, letter) in wrong.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, other) in right.chars().enumerate() {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn what_is_near_is_suggested_and_nothing_else() {
        let names = ["simulated", "pip", "one", "two"];
        for (written, near) in [
            ("simulatd", Some("simulated")),
            ("smiulated", Some("simulated")),
            ("pipp", Some("pip")),
            ("tow", None),
            ("on", Some("one")),
            ("x", None),
            ("", None),
            ("simulators", None),
        ] {
            assert_eq!(nearest(written, names), near, "{written}");
        }
    }
}
