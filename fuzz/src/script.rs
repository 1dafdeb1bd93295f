use pointsman_engine::simulated::Script;

use crate::policy::is_inside;

/// A script of replies: what is wrong with it is told with a place that the text has, in the order of the places, and
/// the same every time.
pub fn script(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let read = Script::parse(text);
    assert_eq!(format!("{read:?}"), format!("{:?}", Script::parse(text)));
    let Err(mistakes) = read else { return };
    assert!(!mistakes.is_empty());
    for mistake in &mistakes {
        assert!(!mistake.what.is_empty());
        if let Some(place) = mistake.place {
            assert!(is_inside(text, place), "{mistake} is not in {text:?}");
        }
    }
    assert!(mistakes.is_sorted_by_key(|mistake| mistake.place), "{mistakes:?}");
}
