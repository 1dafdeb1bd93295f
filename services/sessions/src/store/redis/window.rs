//! Windows as lists: a header `uid:revision:bytes`, then the turns, oldest first.

use pointsman_proto::sessions::v1::Turn;
use prost::Message;

use crate::store::{Memory, Window};

/// A window with more turns is not kept, however small they are.
pub(crate) const MOST_TURNS: usize = 16_384;

/// What becomes of a window when its lease is given back.
#[derive(Debug, PartialEq)]
pub(super) struct Change {
    /// `keep`, `drop`, `put` or `add`.
    pub(super) verb: &'static str,
    /// How the header of a window begins that may be added to.
    pub(super) before: String,
    /// How the header begins afterwards.
    pub(super) after: String,
    pub(super) turns: Vec<Vec<u8>>,
}

impl Change {
    fn only(verb: &'static str) -> Self {
        Self { verb, before: String::new(), after: String::new(), turns: Vec::new() }
    }

    /// What a window becomes that may have so many bytes.
    pub(super) fn of(memory: Memory<'_>, most_bytes: usize) -> Self {
        match memory {
            Memory::Unchanged => Self::only("keep"),
            Memory::Added(uid, turn) => {
                // A window without turns is not kept: the first turn makes one.
                let verb = if turn.revision == 1 { "put" } else { "add" };
                let before = header(uid, turn.revision.saturating_sub(1));
                Self { verb, before, after: header(uid, turn.revision), turns: vec![turn.encode_to_vec()] }
            }
            Memory::Whole(window) => {
                let bytes: usize = window.turns.iter().map(Message::encoded_len).sum();
                if bytes > most_bytes || window.turns.len() > MOST_TURNS {
                    return Self::only("drop");
                }
                let turns = window.turns.iter().map(Message::encode_to_vec).collect();
                Self { verb: "put", before: String::new(), after: header(&window.uid, window.revision), turns }
            }
        }
    }
}

fn header(uid: &str, revision: u64) -> String {
    format!("{uid}:{revision}:")
}

/// Reads a window. `None`: it is none of ours, or broken.
pub(super) fn decode(elements: &[Vec<u8>]) -> Option<Window> {
    let (header, turns) = elements.split_first()?;
    let [_bytes, revision, uid] = *std::str::from_utf8(header).ok()?.rsplitn(3, ':').collect::<Vec<_>>() else {
        return None;
    };
    let turns: Vec<_> = turns.iter().map(|turn| Turn::decode(turn.as_slice())).collect::<Result<_, _>>().ok()?;
    let window = Window { uid: uid.to_owned(), revision: revision.parse().ok()?, turns };
    let is_in_order = window.turns.is_sorted_by(|one, next| one.revision < next.revision);
    let ends_well = window.turns.last().map_or(0, |turn| turn.revision) == window.revision;
    (is_in_order && ends_well).then_some(window)
}

#[cfg(test)]
mod tests {
    use pointsman_proto::sessions::v1::Turn;
    use prost::Message;

    use super::{Change, MOST_TURNS, decode};
    use crate::store::{Memory, Window};

    fn turn(revision: u64) -> Turn {
        Turn { revision, model: "m".into(), ..Turn::default() }
    }

    fn window(revisions: impl IntoIterator<Item = u64>) -> Window {
        let turns: Vec<_> = revisions.into_iter().map(turn).collect();
        Window { uid: "u".into(), revision: turns.last().map_or(0, |turn| turn.revision), turns }
    }

    #[test]
    fn a_window_comes_back_as_it_was() {
        for window in [window(1..=3), window([2, 7, 8]), Window { uid: "a:b".into(), ..window([1]) }, window([])] {
            let change = Change::of(Memory::Whole(&window), 1000);
            assert_eq!(change.verb, "put");
            let header = format!("{}12", change.after).into_bytes();
            let elements: Vec<_> = std::iter::once(header).chain(change.turns).collect();
            assert_eq!(decode(&elements), Some(window));
        }
    }

    #[test]
    fn what_is_no_window_is_none() {
        let one = turn(1).encode_to_vec();
        let two = turn(2).encode_to_vec();
        for elements in [
            vec![],
            vec![b"u:1:3".to_vec()],
            vec![b"u:2:3".to_vec(), one.clone()],
            vec![b"u:2:6".to_vec(), two.clone(), one.clone()],
            vec![b"u:2:6".to_vec(), two.clone(), two],
            vec![b"1:3".to_vec(), one.clone()],
            vec![b"u:x:3".to_vec(), one.clone()],
            vec![b"\xff:1:3".to_vec(), one],
            vec![b"u:1:3".to_vec(), b"\xff\xff".to_vec()],
        ] {
            assert_eq!(decode(&elements), None, "{elements:?}");
        }
    }

    #[test]
    fn what_is_too_large_is_not_sent() {
        assert_eq!(Change::of(Memory::Whole(&window(1..=3)), 10), Change::only("drop"));
        assert_eq!(Change::of(Memory::Whole(&window(1..=MOST_TURNS as u64)), usize::MAX).verb, "put");
        assert_eq!(Change::of(Memory::Whole(&window(0..=MOST_TURNS as u64)), usize::MAX), Change::only("drop"));
    }

    #[test]
    fn a_turn_is_added_to_the_window_before_it() {
        let change = Change::of(Memory::Added("u", &turn(7)), 1000);
        assert_eq!((change.verb, &*change.before, &*change.after), ("add", "u:6:", "u:7:"));
        assert_eq!(Change::of(Memory::Added("u", &turn(1)), 1000).verb, "put");
        assert_eq!(Change::of(Memory::Unchanged, 1000), Change::only("keep"));
    }
}
