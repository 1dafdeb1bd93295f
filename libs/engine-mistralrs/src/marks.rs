//! The marks of pictures: tokens of a prompt, and the texts that mistral.rs takes for them.

use std::sync::Arc;

use pointsman_engine::EngineError;
use pointsman_proto::inference::v1::response_format::Format;
use pointsman_proto::inference::v1::{GenerateRequest, ResponseFormat};
use serde_json::Value;

use crate::request::invalid;
use crate::vocabulary::Vocabulary;

/// What marks a picture in the prompt; mistral.rs writes it once for each token of the picture.
pub(crate) const PICTURE: &str = "<|image_pad|>";
/// Marks that stand beside it, once for each picture.
pub(crate) const SIDES: [&str; 2] = ["<|vision_start|>", "<|vision_end|>"];
/// Marks that stand nowhere: what mistral.rs takes for another picture, or a film.
pub(crate) const OTHERS: [&str; 2] = ["<|video_pad|>", "<|placeholder|>"];
/// All of them.
const TEXTS: [&str; 5] = [PICTURE, SIDES[0], SIDES[1], OTHERS[0], OTHERS[1]];

/// The tokens that mark pictures, by their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) picture: u32,
    pub(crate) sides: [u32; 2],
    pub(crate) others: [u32; 2],
}

impl Marks {
    /// Refuses a prompt in which anything else than its pictures is marked: mistral.rs would look for more
    /// pictures, and panic.
    pub(crate) fn check(&self, prompt: &[u32], pictures: usize) -> Result<(), EngineError> {
        let count = |mark: u32| prompt.iter().filter(|token| **token == mark).count();
        let counts = [self.picture, self.sides[0], self.sides[1]].map(count);
        if counts == [pictures; 3] && self.others.iter().all(|other| count(*other) == 0) {
            return Ok(());
        }
        let why = "where none stands in a text, the model's chat template writes another number of them than there \
                   are pictures, and is to be mended";
        Err(invalid("messages", &format!("{}; {why}", leave_out())))
    }

    /// Returns all of them: no answer has one.
    pub(crate) fn all(&self) -> [u32; 5] {
        [self.picture, self.sides[0], self.sides[1], self.others[0], self.others[1]]
    }
}

fn leave_out() -> String {
    format!("leave out the model's own marks of pictures ({})", TEXTS.join(", "))
}

/// Refuses a request for an answer that spells a mark.
pub(crate) fn check_forms(request: &GenerateRequest) -> Result<(), EngineError> {
    let (field, form) = match request.response_format.as_ref().and_then(|ResponseFormat { format }| format.as_ref()) {
        Some(Format::JsonSchema(form)) => ("response_format.json_schema.json_schema", unescaped(&form.json_schema)),
        Some(Format::Regex(form)) => ("response_format.regex", form.clone()),
        Some(Format::LarkGrammar(form)) => ("response_format.lark_grammar", form.clone()),
        Some(Format::Text(_) | Format::JsonObject(_)) | None => ("", String::new()),
    };
    refuse(field, &form)?;
    for (index, tool) in request.tools.iter().enumerate() {
        refuse(&format!("tools[{index}].parameters_json_schema"), &unescaped(&tool.parameters_json_schema))?;
    }
    Ok(())
}

fn refuse(field: &str, text: &str) -> Result<(), EngineError> {
    if TEXTS.iter().any(|mark| text.contains(mark)) { Err(invalid(field, &leave_out())) } else { Ok(()) }
}

/// Writes JSON anew, in which no letter of a mark is written otherwise.
fn unescaped(json: &str) -> String {
    serde_json::from_str::<Value>(json).map_or_else(|_| json.to_owned(), |value| value.to_string())
}

/// The error of a form that leaves an answer nothing but a mark.
pub(crate) fn nothing_else() -> EngineError {
    EngineError::InvalidRequest { message: format!("the form of the answer allows nothing else here: {}", leave_out()) }
}

/// Finds which token would spell a mark: mistral.rs makes text of an answer and tokens of the text, in which it would
/// look for more pictures.
#[derive(Clone)]
pub(crate) struct Spelling {
    vocabulary: Arc<Vocabulary>,
    /// The end of the answer, shorter than the longest mark.
    written: Vec<u8>,
}

impl Spelling {
    pub(crate) fn new(vocabulary: Arc<Vocabulary>) -> Self {
        Self { vocabulary, written: Vec::new() }
    }

    /// Whether the answer would have a mark with this token.
    pub(crate) fn completes(&self, token: u32) -> bool {
        let with = [&self.written, self.vocabulary.bytes(token)].concat();
        TEXTS.iter().any(|mark| with.windows(mark.len()).any(|letters| letters == mark.as_bytes()))
    }

    /// Takes the token that was chosen.
    pub(crate) fn take(&mut self, token: u32) {
        self.written.extend_from_slice(self.vocabulary.bytes(token));
        let longest = TEXTS.iter().map(|mark| mark.len()).max().unwrap_or_default();
        self.written.drain(..self.written.len().saturating_sub(longest));
    }
}

#[cfg(test)]
mod tests {
    use pointsman_proto::inference::v1::response_format::Format;
    use pointsman_proto::inference::v1::{GenerateRequest, JsonSchemaFormat, ResponseFormat};

    use super::{Marks, Spelling, check_forms};
    use crate::tools::tests::tool;
    use crate::vocabulary::tests::vocabulary;

    #[test]
    fn a_form_that_spells_a_mark_is_refused_by_its_field() {
        let schema = |json_schema: &str| {
            Format::JsonSchema(JsonSchemaFormat { json_schema: json_schema.to_owned(), ..JsonSchemaFormat::default() })
        };
        let asked = |format: Format, tools: &[&str]| GenerateRequest {
            response_format: Some(ResponseFormat { format: Some(format) }),
            tools: tools.iter().map(|parameters| tool("now", parameters)).collect(),
            ..GenerateRequest::default()
        };
        for (request, field) in [
            (asked(Format::Regex("a|<|image_pad|>".into()), &[]), "response_format.regex"),
            (asked(Format::LarkGrammar(r#"start: "<|video_pad|>""#.into()), &[]), "response_format.lark_grammar"),
            (asked(schema(r#"{"const": "\u003c|image_pad|>"}"#), &[]), "response_format.json_schema.json_schema"),
            (asked(schema("{}"), &["{}", r#"{"enum": ["<|placeholder|>"]}"#]), "tools[1].parameters_json_schema"),
        ] {
            let refused = check_forms(&request).unwrap_err().to_string();
            assert!(refused.contains(field) && refused.contains("leave out"), "{refused}");
        }
        assert!(check_forms(&asked(schema(r#"{"const": "image_pad"}"#), &["{}"])).is_ok());
    }

    #[test]
    fn the_token_that_completes_a_mark_is_found() {
        let vocabulary = vocabulary();
        let tokens = vocabulary.tokens(b"a <|image_pad|> and <|image_pa");
        let mut spelling = Spelling::new(vocabulary.clone());
        let mut found = Vec::new();
        for token in &tokens {
            if spelling.completes(*token) {
                found.push(*token);
                spelling = Spelling::new(vocabulary.clone());
            }
            spelling.take(*token);
        }
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(vocabulary.bytes(found[0]).contains(&b'>'));
    }

    #[test]
    fn marks_are_there_once_for_each_picture() {
        let marks = Marks { picture: 1, sides: [2, 3], others: [4, 5] };
        for (prompt, pictures, fits) in [
            (&[7, 2, 1, 3, 8][..], 1, true),
            (&[7, 8], 0, true),
            (&[7, 2, 1, 3, 2, 1, 3], 2, true),
            (&[7, 8], 1, false),
            (&[2, 1, 3, 1], 1, false),
            (&[2, 2, 1, 3], 1, false),
            (&[2, 1, 3, 5], 1, false),
            (&[4], 0, false),
        ] {
            assert_eq!(marks.check(prompt, pictures).is_ok(), fits, "{prompt:?}");
        }
    }
}
