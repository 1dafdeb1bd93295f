use std::io;
use std::path::PathBuf;
use std::time::Duration;

use pointsman_engine::EngineError;
use thiserror::Error;

use crate::request::first_line;

/// Why a model could not be loaded. Each says what to change.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The model's name cannot be part of a resource name.
    #[error("the model name `{name}` must consist of lower-case letters, digits, `-` and `.`")]
    NameInvalid {
        /// The name.
        name: String,
    },
    /// The names of model and adapter are too long together.
    #[error("the name `{name}` is longer than 63 letters; give the model or the adapter a shorter one")]
    NameTooLong {
        /// The names, with a colon between them.
        name: String,
    },
    /// No tenant can be called so.
    #[error("the tenant `{name}` must be 1 to 63 letters, digits, `-`, `_` or `.`")]
    TenantInvalid {
        /// The name.
        name: String,
    },
    /// Nothing would ever run.
    #[error("`max_concurrent` must be at least 1")]
    NothingConcurrent,
    /// No model is loaded in no time.
    #[error("`load_timeout` must be longer than 0s; leave it out for as long as it takes")]
    NoTimeToLoad,
    /// Loading took too long; what was begun cannot be ended but with the process.
    #[error(
        "{} was not loaded within {limit:?}; give `load_timeout` more, or look what keeps the disk or the device", .path.display()
    )]
    TooLong {
        /// The model's folder or file.
        path: PathBuf,
        /// The configured limit.
        limit: Duration,
    },
    /// The build, or mistral.rs, cannot run a model so.
    #[error("{}", .problems.join("; "))]
    HardwareRefused {
        /// What is wrong, each with its key.
        problems: Vec<String>,
    },
    /// There is no such folder.
    #[error("the model folder {} does not exist; give the path of a folder in Hugging Face layout, or of a GGUF file", .folder.display())]
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
        "{} has no chat template: add a chat_template.jinja beside the weights, or `chat_template` to \
         tokenizer_config.json", .folder.display()
    )]
    ChatTemplateMissing {
        /// The folder.
        folder: PathBuf,
    },
    /// Nothing here knows how the model takes pictures.
    #[error(
        "{} is a `{class}`, and of the models that see only Qwen3VLForConditionalGeneration, \
         Qwen3VLMoeForConditionalGeneration, Qwen3_5ForConditionalGeneration and Qwen3_5MoeForConditionalGeneration \
         are loaded; take one of those", .folder.display()
    )]
    VisionUnsupported {
        /// The folder.
        folder: PathBuf,
        /// The model's class, as its `config.json` says it.
        class: &'static str,
    },
    /// The model cuts pictures otherwise than mistral.rs does.
    #[error("{} cannot be used: {why}", .file.display())]
    PreparationUnusable {
        /// The model's `preprocessor_config.json`.
        file: PathBuf,
        /// What to change.
        why: &'static str,
    },
    /// The folder holds more models than one.
    #[error("the folder {} has {count} files with weights of different models; give the path of one GGUF file, or move the others away", .folder.display())]
    SeveralModels {
        /// The folder.
        folder: PathBuf,
        /// How many files there are.
        count: usize,
    },
    /// The file is none that llama.cpp's format knows, or lacks something.
    #[error("{} is no GGUF file that can be used: {}", .file.display(), first_line(.why))]
    NotGguf {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// Something was asked for that mistral.rs cannot do with such files.
    #[error("{} is {format}, which does not go with {what}", .path.display())]
    FormatCannot {
        /// The model's folder or file.
        path: PathBuf,
        /// Its format.
        format: &'static str,
        /// What was asked for.
        what: &'static str,
    },
    /// There is no such folder.
    #[error("the adapter's folder {} does not exist; give the path of a folder that PEFT has written", .folder.display())]
    AdapterMissing {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder lacks files of an adapter.
    #[error("the adapter's folder {} lacks {}; copy the whole adapter there", .folder.display(), .files.join(" and "))]
    AdapterFilesMissing {
        /// The folder.
        folder: PathBuf,
        /// What is missing, by name.
        files: Vec<&'static str>,
    },
    /// mistral.rs would apply a part of the adapter only, without a word.
    #[error("the adapter of {} cannot be used: {why}; train one without", .file.display())]
    AdapterUnsupported {
        /// Its `adapter_config.json`.
        file: PathBuf,
        /// What it has, or lacks.
        why: &'static str,
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
    #[error("mistral.rs could not load {}", .folder.display())]
    Refused {
        /// The folder or file.
        folder: PathBuf,
        /// Why.
        #[source]
        source: anyhow::Error,
    },
    /// mistral.rs panicked over the model, as it does when a file is malformed.
    #[error("mistral.rs panicked while it loaded {}; see standard error", .folder.display())]
    Panicked {
        /// The folder.
        folder: PathBuf,
    },
    /// The model was loaded and could not generate a single token.
    #[error("{} was loaded, but cannot generate", .folder.display())]
    CannotGenerate {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: EngineError,
    },
}
