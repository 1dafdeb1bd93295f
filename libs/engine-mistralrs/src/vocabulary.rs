//! The model's tokens: what they are in bytes, which of them are no text, and which end an answer.
//!
//! mistral.rs keeps its own to itself, so that the same files are read once more.

use std::collections::HashSet;
use std::fmt::{self, Debug};
use std::path::Path;
use std::sync::Arc;

use mistralrs::llguidance::toktrie::{ApproximateTokEnv, TokRxInfo, TokTrie, TokenizerEnv};
use mistralrs::llguidance::{ParserFactory, panic_utils, token_bytes_from_tokenizer_json};
use serde_json::Value;

use crate::LoadError;
use crate::folder::{generation_ends, json};

/// Tokens that mistral.rs takes for an end when the chat template writes them.
const ALTERNATE_ENDS: [&str; 8] = [
    "<|im_end|>",
    "<end_of_turn>",
    "<|end_of_text|>",
    "<|end|>",
    "<|eot_id|>",
    "<|message|>",
    "<|start|>",
    "<|channel|>",
];

/// What a model's files say of its tokens.
#[derive(Clone, Debug)]
pub(crate) struct Tokenizer {
    /// As in a `tokenizer.json`: `decoder`, `added_tokens` and `model.vocab`.
    pub(crate) json: Value,
    /// The text of the token that ends an answer.
    pub(crate) end: Option<String>,
    /// Further ones, by number.
    pub(crate) listed_ends: Vec<u32>,
}

/// The tokens of a model.
pub(crate) struct Vocabulary {
    environment: Arc<ApproximateTokEnv>,
    factory: ParserFactory,
    /// Tokens that steer the model and are no text.
    special: HashSet<u32>,
    ends: Vec<u32>,
}

impl Debug for Vocabulary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Vocabulary").field("tokens", &self.len()).field("ends", &self.ends).finish()
    }
}

impl Vocabulary {
    /// Reads the tokens of a model folder. `template` is its chat template: a token that it writes at the end of
    /// a message ends an answer.
    pub(crate) fn read(folder: &Path, template: &str) -> Result<Self, LoadError> {
        let file = folder.join("tokenizer.json");
        let config = json(&folder.join("tokenizer_config.json"))?;
        let end = config.get("eos_token").and_then(|end| end.as_str().or_else(|| end.get("content")?.as_str()));
        let tokenizer =
            Tokenizer { json: json(&file)?, end: end.map(str::to_owned), listed_ends: generation_ends(folder)? };
        Self::new(&tokenizer, template, &file)
    }

    /// Makes a vocabulary of a tokenizer that this file says.
    pub(crate) fn new(tokenizer: &Tokenizer, template: &str, file: &Path) -> Result<Self, LoadError> {
        let unusable = |why: String| LoadError::TokenizerUnusable { file: file.to_owned(), why };
        // It asserts what it expects of the file.
        let words = panic_utils::catch_unwind(|| token_bytes_from_tokenizer_json(&tokenizer.json));
        let words = words.map_err(|error| unusable(error.to_string()))?;
        let added = added_tokens(&tokenizer.json);
        let special = added.iter().filter(|added| added.special).map(|added| added.id).collect();
        let ends = ends(tokenizer, template, &added, words.len());
        let Some(end) = ends.first() else { return Err(unusable("no token ends an answer".to_owned())) };
        let size = u32::try_from(words.len()).map_err(|_| unusable("too many tokens".to_owned()))?;
        let trie = TokTrie::from(&TokRxInfo::new(size, *end), &words).with_eos_tokens(&ends);
        let environment = Arc::new(ApproximateTokEnv::new(trie));
        let shared: Arc<dyn TokenizerEnv + Sync> = Arc::clone(&environment) as _;
        let mut factory = ParserFactory::new_simple(&shared).map_err(|error| unusable(error.to_string()))?;
        factory.quiet().limits_mut().verbose_errors = false;
        Ok(Self { environment, factory, special, ends })
    }

    /// Returns the number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.trie().vocab_size()
    }

    /// Returns what makes matchers of grammars.
    pub(crate) fn factory(&self) -> &ParserFactory {
        &self.factory
    }

    /// Returns the tokens that end an answer; at least one.
    pub(crate) fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Whether the token steers the model and is no text.
    pub(crate) fn is_special(&self, token: u32) -> bool {
        self.special.contains(&token) || self.ends.contains(&token)
    }

    /// Whether there is a single token of this text that steers the model and is no text.
    pub(crate) fn has_special(&self, text: &str) -> bool {
        self.special.iter().any(|token| self.bytes(*token) == text.as_bytes())
    }

    /// Returns the bytes of a token; none where there is no such token.
    pub(crate) fn bytes(&self, token: u32) -> &[u8] {
        if usize::try_from(token).is_ok_and(|token| token >= self.len()) {
            return &[];
        }
        let bytes = self.trie().token(token);
        match bytes {
            [TokTrie::SPECIAL_TOKEN_MARKER, name @ ..] if self.special.contains(&token) => name,
            bytes => bytes,
        }
    }

    /// Cuts bytes into tokens, though not always into those that the model's own tokenizer would take.
    pub(crate) fn tokens(&self, bytes: &[u8]) -> Vec<u32> {
        self.trie().greedy_tokenize(bytes)
    }

    fn trie(&self) -> &TokTrie {
        self.environment.tok_trie()
    }
}

struct Added {
    id: u32,
    content: String,
    special: bool,
}

fn added_tokens(tokenizer: &Value) -> Vec<Added> {
    let added = tokenizer.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
    added
        .filter_map(|token| {
            Some(Added {
                id: u32::try_from(token.get("id")?.as_u64()?).ok()?,
                content: token.get("content")?.as_str()?.to_owned(),
                special: token.get("special").and_then(Value::as_bool).unwrap_or(false),
            })
        })
        .collect()
}

/// Collects what mistral.rs takes for the end of an answer, the model's own first.
fn ends(tokenizer: &Tokenizer, template: &str, added: &[Added], size: usize) -> Vec<u32> {
    let alternates = ALTERNATE_ENDS.into_iter().filter(|end| template.contains(end));
    let named = tokenizer.end.as_deref().into_iter().chain(alternates);
    let mut ends: Vec<u32> =
        named.filter_map(|name| added.iter().find(|token| token.content == name).map(|token| token.id)).collect();
    ends.extend(&tokenizer.listed_ends);
    let mut seen = HashSet::new();
    ends.retain(|end| usize::try_from(*end).is_ok_and(|end| end < size) && seen.insert(*end));
    ends
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;
    use std::sync::{Arc, LazyLock};

    use super::Vocabulary;
    use crate::LoadError;

    const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo/model");

    /// The demo model's.
    pub(crate) fn vocabulary() -> Arc<Vocabulary> {
        static VOCABULARY: LazyLock<Arc<Vocabulary>> =
            LazyLock::new(|| Arc::new(Vocabulary::read(Path::new(DEMO), "<|im_end|>").unwrap()));
        Arc::clone(&VOCABULARY)
    }

    /// The demo model's, and one token more, of this text.
    pub(crate) fn vocabulary_and(text: &str) -> Arc<Vocabulary> {
        let (demo, folder) = (Path::new(DEMO), tempfile::tempdir().unwrap());
        for file in ["tokenizer_config.json", "generation_config.json"] {
            std::fs::copy(demo.join(file), folder.path().join(file)).unwrap();
        }
        let mut tokenizer = crate::folder::json(&demo.join("tokenizer.json")).unwrap();
        let more = serde_json::json!({"id": 1024, "content": text, "special": false});
        tokenizer["added_tokens"].as_array_mut().unwrap().push(more);
        std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        Arc::new(Vocabulary::read(folder.path(), "<|im_end|>").unwrap())
    }

    #[test]
    fn tokens_are_bytes_and_some_are_no_text() {
        let vocabulary = vocabulary();
        assert_eq!(vocabulary.len(), 1024);
        assert_eq!(vocabulary.ends(), [1021, 1019]);
        assert_eq!(vocabulary.bytes(1020), b"<|im_start|>");
        assert!(vocabulary.is_special(1020) && vocabulary.has_special("<|im_start|>"));
        assert_eq!(vocabulary.bytes(1022), b"<tool_call>");
        assert!(!vocabulary.is_special(1022) && !vocabulary.has_special("<tool_call>"));
        assert_eq!(vocabulary.bytes(9_999), b"");
        let tokens = vocabulary.tokens("Füür 🚂\n".as_bytes());
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| vocabulary.bytes(*token)).copied().collect();
        assert_eq!(bytes, "Füür 🚂\n".as_bytes());
    }

    #[test]
    fn a_tokenizer_of_another_kind_is_an_error_and_no_crash() {
        let folder = tempfile::tempdir().unwrap();
        for (tokenizer, config) in [
            (r#"{"decoder": {"type": "WordPiece"}}"#, "{}"),
            (r#"{"decoder": {"type": "ByteLevel"}, "added_tokens": [], "model": {"vocab": {"a": 0}}}"#, "{}"),
        ] {
            std::fs::write(folder.path().join("tokenizer.json"), tokenizer).unwrap();
            std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
            let error = Vocabulary::read(folder.path(), "").unwrap_err();
            assert!(matches!(error, LoadError::TokenizerUnusable { .. }), "{error}");
        }
    }
}
