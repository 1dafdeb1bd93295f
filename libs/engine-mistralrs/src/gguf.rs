//! GGUF, the format of llama.cpp: one file with weights, tokenizer and chat template.
//! See <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{Content, Value};
use serde_json::json;

use crate::LoadError;
use crate::folder::{generation_ends, unreadable};
use crate::template::Template;
use crate::vocabulary::{Tokenizer, Vocabulary};

/// Kinds of tokens. Normal text is 1; what is none of these is text, too.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;

/// A file in which nothing is missing.
#[derive(Debug)]
pub(crate) struct Gguf {
    /// Its absolute path.
    pub(crate) file: PathBuf,
    /// The folder that it lies in, and its name, which mistral.rs takes as texts.
    pub(crate) place: (String, String),
    /// A chat template beside it, which takes the place of its own.
    pub(crate) template_beside: Option<String>,
    pub(crate) template: Template,
    pub(crate) context_tokens: u32,
    /// How most of its weights are quantised.
    pub(crate) format: String,
    tokenizer: Tokenizer,
}

impl Gguf {
    /// Reads what a file says of itself, and no weights.
    pub(crate) fn open(file: &Path) -> Result<Self, LoadError> {
        let file = file.canonicalize().map_err(unreadable(file))?;
        let mut reader = BufReader::new(File::open(&file).map_err(unreadable(&file))?);
        let content = Content::read(&mut reader);
        let content = content.map_err(|why| LoadError::NotGguf { file: file.clone(), why: why.to_string() })?;
        let metadata = Metadata { file: &file, values: content.metadata };
        let place = place(&file)?;
        let beside = file.with_file_name("chat_template.jinja");
        let (template, template_beside) = if beside.is_file() {
            let text = fs::read_to_string(&beside).map_err(unreadable(&beside))?;
            let beside = format!("{}/chat_template.jinja", place.0);
            (Template::from(text.as_str()), Some(beside))
        } else {
            let missing = || LoadError::ChatTemplateMissing { folder: file.clone() };
            (Template::from(metadata.text("tokenizer.chat_template").ok_or_else(missing)?), None)
        };
        let architecture = metadata.text("general.architecture").unwrap_or_default().to_owned();
        let context_key = format!("{architecture}.context_length");
        let context_tokens = metadata.number(&context_key).and_then(|tokens| u32::try_from(tokens).ok());
        let context_tokens = context_tokens.filter(|tokens| *tokens > 0).ok_or_else(|| metadata.lacks(&context_key))?;
        let format = format(metadata.number("general.file_type"));
        let tokenizer = tokenizer(&metadata)?;
        Ok(Self { place, template_beside, template, context_tokens, format, tokenizer, file })
    }

    pub(crate) fn vocabulary(&self) -> Result<Vocabulary, LoadError> {
        let mut tokenizer = self.tokenizer.clone();
        tokenizer.listed_ends = generation_ends(Path::new(&self.place.0))?;
        Vocabulary::new(&tokenizer, self.template.text(), &self.file)
    }
}

/// What a file says of itself, by name.
struct Metadata<'a> {
    file: &'a Path,
    values: HashMap<String, Value>,
}

impl Metadata<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key)?.to_string().ok().map(String::as_str)
    }

    fn number(&self, key: &str) -> Option<i64> {
        number(self.values.get(key)?)
    }

    fn list(&self, key: &str) -> Option<&Vec<Value>> {
        self.values.get(key)?.to_vec().ok()
    }

    fn lacks(&self, key: &str) -> LoadError {
        LoadError::NotGguf { file: self.file.to_owned(), why: format!("it does not say `{key}`") }
    }
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::U8(number) => Some((*number).into()),
        Value::I8(number) => Some((*number).into()),
        Value::U16(number) => Some((*number).into()),
        Value::I16(number) => Some((*number).into()),
        Value::U32(number) => Some((*number).into()),
        Value::I32(number) => Some((*number).into()),
        Value::U64(number) => i64::try_from(*number).ok(),
        Value::I64(number) => Some(*number),
        _ => None,
    }
}

/// The folder of a file, and its name.
fn place(file: &Path) -> Result<(String, String), LoadError> {
    let text = |part: Option<&Path>| part.and_then(Path::to_str).map(str::to_owned);
    let (folder, name) = (text(file.parent()), text(file.file_name().map(Path::new)));
    folder.zip(name).ok_or_else(|| LoadError::FolderNameUnusable { folder: file.to_owned() })
}

/// The name of a file type, as llama.cpp gives it.
fn format(file_type: Option<i64>) -> String {
    let names = [
        (0, "f32"),
        (1, "f16"),
        (2, "q4_0"),
        (3, "q4_1"),
        (7, "q8_0"),
        (8, "q5_0"),
        (9, "q5_1"),
        (10, "q2_k"),
        (11, "q3_k_s"),
        (12, "q3_k_m"),
        (13, "q3_k_l"),
        (14, "q4_k_s"),
        (15, "q4_k_m"),
        (16, "q5_k_s"),
        (17, "q5_k_m"),
        (18, "q6_k"),
        (32, "bf16"),
    ];
    let Some(file_type) = file_type else { return "unknown".to_owned() };
    let name = names.iter().find(|(number, _)| *number == file_type);
    name.map_or_else(|| format!("type{file_type}"), |(_, name)| (*name).to_owned())
}

/// Makes the tokenizer that mistral.rs makes of the file, as far as it is needed here.
fn tokenizer(metadata: &Metadata<'_>) -> Result<Tokenizer, LoadError> {
    let model = metadata.text("tokenizer.ggml.model").unwrap_or_default();
    let decoder = match model {
        "gpt2" => json!({ "type": "ByteLevel" }),
        "llama" | "replit" => json!({ "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
            { "type": "ByteFallback" },
        ]}),
        other => {
            let why = format!("its tokenizer is `{other}`, and mistral.rs knows `gpt2` and `llama`");
            return Err(LoadError::NotGguf { file: metadata.file.to_owned(), why });
        }
    };
    let key = "tokenizer.ggml.tokens";
    let tokens = metadata.list(key).ok_or_else(|| metadata.lacks(key))?;
    let kinds = metadata.list("tokenizer.ggml.token_type");
    let mut vocabulary = serde_json::Map::new();
    let mut added = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        let Ok(token) = token.to_string() else { return Err(metadata.lacks(key)) };
        let kind = kinds.and_then(|kinds| number(kinds.get(id)?)).unwrap_or(1);
        if let UNKNOWN | CONTROL | USER_DEFINED | UNUSED = kind {
            added.push(json!({ "id": id, "content": token, "special": kind != USER_DEFINED, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false }));
        } else {
            vocabulary.insert(token.clone(), json!(id));
        }
    }
    let key = "tokenizer.ggml.eos_token_id";
    let end = metadata.number(key).and_then(|id| tokens.get(usize::try_from(id).ok()?)?.to_string().ok());
    let end = end.ok_or_else(|| metadata.lacks(key))?.clone();
    let json = json!({ "decoder": decoder, "added_tokens": added, "model": { "vocab": vocabulary } });
    Ok(Tokenizer { json, end: Some(end), listed_ends: Vec::new() })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{Gguf, format};
    use crate::LoadError;
    use crate::vocabulary::tests::vocabulary;

    const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo/pip-q8_0.gguf");

    #[test]
    fn the_demo_models_file_says_what_its_folder_says() {
        let gguf = Gguf::open(Path::new(DEMO)).unwrap();
        assert_eq!((gguf.context_tokens, &*gguf.format), (1024, "q8_0"));
        assert!(gguf.template.knows_tools() && gguf.template_beside.is_none());
        let (own, folders) = (gguf.vocabulary().unwrap(), vocabulary());
        assert_eq!(own.len(), folders.len());
        for token in 0..u32::try_from(own.len()).unwrap() {
            let named = std::str::from_utf8(own.bytes(token)).is_ok_and(|text| text.starts_with("[PAD"));
            assert!(named || own.bytes(token) == folders.bytes(token), "{token}: {:?}", own.bytes(token));
        }
        assert_eq!(own.ends().first(), folders.ends().first());
        assert!(own.is_special(1020) && !own.is_special(1022));
    }

    #[test]
    fn a_template_beside_the_file_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pip.gguf");
        fs::copy(DEMO, &file).unwrap();
        fs::write(folder.path().join("chat_template.jinja"), "{{ messages }}").unwrap();
        let gguf = Gguf::open(&file).unwrap();
        assert_eq!(gguf.template.text(), "{{ messages }}");
        assert!(gguf.template_beside.is_some_and(|file| Path::new(&file).is_file()));
    }

    #[test]
    fn a_broken_file_is_an_error_that_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pip.gguf");
        let whole = fs::read(DEMO).unwrap();
        for broken in [&b""[..], b"no GGUF at all", &whole[..1000]] {
            fs::write(&file, broken).unwrap();
            assert!(matches!(Gguf::open(&file), Err(LoadError::NotGguf { .. })));
        }
        assert!(matches!(Gguf::open(&folder.path().join("no.gguf")), Err(LoadError::Unreadable { .. })));
    }

    #[test]
    fn formats_have_names() {
        assert_eq!([Some(15), Some(99), None].map(format), ["q4_k_m", "type99", "unknown"]);
    }
}
