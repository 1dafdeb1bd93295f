//! Reads a JSON object letter by letter, member by member.

/// Reads one object.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    state: State,
    key: String,
    /// The value of a member, where it is told as a whole; also a key that is being read.
    text: String,
    quoted: Quoted,
}

/// What a letter made known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// Nothing yet.
    More,
    /// The value of this member, an object, has this letter.
    Piece { key: String },
    /// The value of this member, no object, is complete.
    Value { key: String, text: String },
    /// The same, and with it the object.
    LastValue { key: String, text: String },
    /// The object is complete.
    Closed,
    /// This is no JSON object.
    Broken,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Before,
    /// Before a key; whether the object may end here.
    BeforeKey {
        may_close: bool,
    },
    Key,
    Colon,
    BeforeValue,
    /// In an object, so many levels deep.
    Object {
        depth: u32,
    },
    /// In a text.
    Text,
    /// In an array, so many levels deep.
    Array {
        depth: u32,
    },
    /// In a number, `true`, `false` or `null`.
    Bare,
    AfterValue,
    Over,
}

/// Whether a letter is inside quotation marks.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Quoted {
    inside: bool,
    escaped: bool,
}

impl Quoted {
    /// Takes a letter; true if it is inside a text, or one of its quotation marks.
    fn take(&mut self, letter: char) -> bool {
        let was = self.inside;
        match letter {
            _ if self.escaped => self.escaped = false,
            '\\' if was => self.escaped = true,
            '"' => self.inside = !was,
            _ => {}
        }
        was || self.inside
    }
}

impl Scanner {
    /// Whether the last letter was inside a text.
    pub(crate) fn in_text(&self) -> bool {
        self.quoted.inside
    }

    pub(crate) fn push(&mut self, letter: char) -> Scan {
        let space = letter.is_ascii_whitespace();
        match self.state {
            State::Before | State::BeforeKey { .. } | State::Colon | State::BeforeValue | State::AfterValue
                if space =>
            {
                Scan::More
            }
            State::Before if letter == '{' => self.go(State::BeforeKey { may_close: true }),
            State::BeforeKey { may_close: true } if letter == '}' => self.close(),
            State::BeforeKey { .. } if letter == '"' => {
                self.quoted.take(letter);
                self.text = letter.to_string();
                self.go(State::Key)
            }
            State::Key => self.key(letter),
            State::Colon if letter == ':' => self.go(State::BeforeValue),
            State::BeforeValue => self.begin_value(letter),
            State::Object { depth } => self.object(letter, depth),
            State::Text | State::Array { .. } => self.inside(letter),
            State::Bare => self.bare(letter),
            State::AfterValue if letter == ',' => self.go(State::BeforeKey { may_close: false }),
            State::AfterValue if letter == '}' => self.close(),
            _ => Scan::Broken,
        }
    }

    fn go(&mut self, state: State) -> Scan {
        self.state = state;
        Scan::More
    }

    fn close(&mut self) -> Scan {
        self.state = State::Over;
        Scan::Closed
    }

    fn key(&mut self, letter: char) -> Scan {
        self.text.push(letter);
        self.quoted.take(letter);
        if self.quoted.inside {
            return Scan::More;
        }
        match serde_json::from_str(&std::mem::take(&mut self.text)) {
            Ok(key) => {
                self.key = key;
                self.go(State::Colon)
            }
            Err(_) => Scan::Broken,
        }
    }

    fn begin_value(&mut self, letter: char) -> Scan {
        if letter == '{' {
            self.state = State::Object { depth: 1 };
            return Scan::Piece { key: self.key.clone() };
        }
        if matches!(letter, ',' | '}' | ']' | ':') {
            return Scan::Broken;
        }
        self.quoted.take(letter);
        self.text = letter.to_string();
        self.go(match letter {
            '"' => State::Text,
            '[' => State::Array { depth: 1 },
            _ => State::Bare,
        })
    }

    fn object(&mut self, letter: char, depth: u32) -> Scan {
        let depth = if self.quoted.take(letter) { depth } else { deeper(letter, depth) };
        self.state = if depth == 0 { State::AfterValue } else { State::Object { depth } };
        Scan::Piece { key: self.key.clone() }
    }

    fn inside(&mut self, letter: char) -> Scan {
        self.text.push(letter);
        let in_text = self.quoted.take(letter);
        if let State::Array { depth } = self.state {
            let depth = if in_text { depth } else { deeper(letter, depth) };
            self.state = State::Array { depth };
        }
        if self.quoted.inside || !matches!(self.state, State::Text | State::Array { depth: 0 }) {
            return Scan::More;
        }
        self.state = State::AfterValue;
        let (key, text) = self.member();
        Scan::Value { key, text }
    }

    fn bare(&mut self, letter: char) -> Scan {
        let state = match letter {
            ',' => State::BeforeKey { may_close: false },
            '}' => State::Over,
            letter if letter.is_ascii_whitespace() => State::AfterValue,
            letter => {
                self.text.push(letter);
                return Scan::More;
            }
        };
        self.state = state;
        let (key, text) = self.member();
        if state == State::Over { Scan::LastValue { key, text } } else { Scan::Value { key, text } }
    }

    fn member(&mut self) -> (String, String) {
        (self.key.clone(), std::mem::take(&mut self.text))
    }
}

fn deeper(letter: char, depth: u32) -> u32 {
    match letter {
        '{' | '[' => depth.saturating_add(1),
        '}' | ']' => depth.saturating_sub(1),
        _ => depth,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::{Scan, Scanner};

    /// The members of an object as they are told, and whether it is complete; None if it is broken.
    fn scan(text: &str) -> Option<(Vec<(String, String)>, bool)> {
        let mut scanner = Scanner::default();
        let mut members: Vec<(String, String)> = Vec::new();
        let mut in_pieces = None;
        for letter in text.chars() {
            match scanner.push(letter) {
                Scan::More => {}
                Scan::Piece { key } => {
                    if in_pieces.as_ref() != Some(&key) {
                        members.push((key.clone(), String::new()));
                        in_pieces = Some(key);
                    }
                    members.last_mut().unwrap().1.push(letter);
                }
                Scan::Value { key, text } => members.push((key, text)),
                Scan::LastValue { key, text } => {
                    members.push((key, text));
                    return Some((members, true));
                }
                Scan::Closed => return Some((members, true)),
                Scan::Broken => return None,
            }
        }
        Some((members, false))
    }

    #[test]
    fn members_are_told_one_by_one() {
        for (text, want, complete) in [
            ("{}", &[][..], true),
            (r#" {"a": 1, "b" :"x}\"" }"#, &[("a", "1"), ("b", r#""x}\"""#)], true),
            (
                r#"{"o":{"p":["}"]},"l":[[1],{"q":"]"}],"n":null}"#,
                &[("o", r#"{"p":["}"]}"#), ("l", r#"[[1],{"q":"]"}]"#), ("n", "null")],
                true,
            ),
            (r#"{"a": {"b"#, &[("a", r#"{"b"#)], false),
            (r#"{"\u0061": true"#, &[], false),
        ] {
            let want: Vec<(String, String)> = want.iter().map(|(key, text)| ((*key).into(), (*text).into())).collect();
            assert_eq!(scan(text), Some((want, complete)), "{text}");
        }
    }

    #[test]
    fn what_is_no_object_is_broken() {
        for text in ["[", "x", r#"{,"#, r#"{"a" 1"#, r#"{"a":,"#, r#"{"a":1,}"#, r#"{"a":"b" "c""#, "{a"] {
            assert_eq!(scan(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_object_is_read_to_its_end(map in proptest::collection::btree_map("[a-c\"\\\\é{}]{0,4}", any_value(), 0..4)) {
            let text = serde_json::to_string(&map).unwrap();
            let (members, complete) = scan(&text).unwrap();
            prop_assert!(complete);
            let read: Vec<(String, Value)> =
                members.into_iter().map(|(key, text)| (key, serde_json::from_str(&text).unwrap())).collect();
            prop_assert_eq!(read, map.into_iter().collect::<Vec<_>>());
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a{}\\[\\],\"\\\\]{0,5}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[a-c]{1,2}", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
