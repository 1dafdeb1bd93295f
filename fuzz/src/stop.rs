use pointsman_engine::stop::StopMatcher;

/// The finder of stop texts: cut into whatever pieces, a text gives what a search of the whole gives, nothing of a stop
/// text is delivered, and nothing is held back that cannot begin one.
///
/// The bytes: a stop text in each line up to an empty one, then a piece in each line.
pub fn stop(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (stops, pieces) = text.split_once("\n\n").unwrap_or(("", &text));
    let stops: Vec<String> = stops.lines().take(16).map(str::to_owned).collect();
    let mut matcher = StopMatcher::new(&stops);
    let (mut given, mut delivered) = (String::new(), String::new());
    for piece in pieces.split('\n') {
        given.push_str(piece);
        delivered.push_str(&matcher.push(piece));
        check_so_far(&stops, &given, &delivered, matcher.stopped());
    }
    let stopped = matcher.stopped();
    delivered.push_str(&matcher.finish());
    assert_eq!((delivered.as_str(), stopped), whole(&stops, &given), "{stops:?}");
}

fn check_so_far(stops: &[String], given: &str, delivered: &str, stopped: bool) {
    let (expected, found) = whole(stops, given);
    assert_eq!(stopped, found, "a stop text is found with its last byte");
    if stopped {
        assert_eq!(delivered, expected);
        return;
    }
    let held = given.strip_prefix(delivered).expect("what is delivered is what was given");
    let begins_one = stops.iter().any(|stop| stop.starts_with(held));
    assert!(held.is_empty() || begins_one, "{held:?} is held back for nothing");
    let longest = (1..=given.len()).rev().filter(|length| given.is_char_boundary(given.len() - length));
    let mut ends = longest.map(|length| &given[given.len() - length..]);
    let undecided = ends.find(|end| stops.iter().any(|stop| stop.starts_with(end))).unwrap_or("");
    assert_eq!(held, undecided, "what may begin a stop text is held back");
}

/// The text before the stop text that is complete first, the longest of those; and whether there is one.
fn whole<'t>(stops: &[String], text: &'t str) -> (&'t str, bool) {
    for end in 0..=text.len() {
        let ends_here = |stop: &&String| !stop.is_empty() && text.as_bytes()[..end].ends_with(stop.as_bytes());
        if let Some(longest) = stops.iter().filter(ends_here).map(String::len).max() {
            return (&text[..end - longest], true);
        }
    }
    (text, false)
}
