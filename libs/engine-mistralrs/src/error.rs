use std::io;
use std::path::PathBuf;

use pointsman_engine::EngineError;
use thiserror::Error;

/// Why a model could not be loaded. Each says what to change.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The model's name cannot be part of a resource name.
    #[error("the model name `{name}` must consist of lower-case letters, digits, `-` and `.`")]
    NameInvalid {
        /// The name.
        name: String,
    },
    /// Nothing would ever run.
    #[error("`max_concurrent` must be at least 1")]
    NothingConcurrent,
    /// The build, or mistral.rs, cannot run a model so.
    #[error("{}", .problems.join("; "))]
    HardwareRefused {
        /// What is wrong, each with its key.
        problems: Vec<String>,
    },
    /// There is no such folder.
    #[error("the model folder {} does not exist; give the path of a folder in Hugging Face layout", .folder.display())]
    FolderMissing {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder's path is not valid UTF-8, which mistral.rs needs.
    #[error("the path of the model folder {} is not valid UTF-8; rename the folder", .folder.display())]
    FolderNameUnusable {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder lacks files without which mistral.rs would ask a model hub.
    #[error("the model folder {} lacks {}; copy the whole model there", .folder.display(), .files.join(", "))]
    FilesMissing {
        /// The folder.
        folder: PathBuf,
        /// What is missing, by name.
        files: Vec<&'static str>,
    },
    /// The model cannot be talked to.
    #[error(
        "the model folder {} has no chat template: add `chat_template` to tokenizer_config.json, or a \
         chat_template.jinja", .folder.display()
    )]
    ChatTemplateMissing {
        /// The folder.
        folder: PathBuf,
    },
    /// A file or folder could not be read.
    #[error("{} could not be read", .path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A JSON file could not be understood.
    #[error("{} is not the JSON that it should be", .file.display())]
    NotJson {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The model does not say how long its context is.
    #[error("{} does not say `max_position_embeddings`, a number above 0", .file.display())]
    ContextUnknown {
        /// The model's `config.json`.
        file: PathBuf,
    },
    /// The tokenizer is of a kind whose tokens are not known in bytes.
    #[error("the tokenizer in {} cannot be used: {why}", .file.display())]
    TokenizerUnusable {
        /// The model's `tokenizer.json`.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// No thread could be started to load on.
    #[error("no thread could be started to load the model")]
    ThreadRefused(#[source] io::Error),
    /// mistral.rs refused the model.
    #[error("mistral.rs could not load the model in {}", .folder.display())]
    Refused {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: anyhow::Error,
    },
    /// mistral.rs panicked over the model, as it does when a file is malformed.
    #[error("mistral.rs panicked while it loaded the model in {}; see standard error", .folder.display())]
    Panicked {
        /// The folder.
        folder: PathBuf,
    },
    /// The model was loaded and could not generate a single token.
    #[error("the model in {} was loaded, but cannot generate", .folder.display())]
    CannotGenerate {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: EngineError,
    },
}
