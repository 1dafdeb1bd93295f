//! The inference engine of a worker: mistral.rs 0.8.1, behind [`pointsman_engine::Engine`].
//!
//! It loads models from local files (folders in Hugging Face layout, GGUF, UQFF; quantised while they are loaded, or
//! with a LoRA adapter) and generates with them: greedy or
//! sampled (temperature, top-k, top-p, min-p, penalties, bias), with a seed that repeats an answer, stop texts
//! found across token borders, log-probabilities, several answers, answers in a form (JSON, regular expression,
//! grammar), tools where the model's chat template knows them, and pictures where the model sees. It reaches no network, and has no telemetry.
//!
//! On the CPU answers are generated one at a time: there mistral.rs 0.8.1 gives each conversation of a batch
//! the content of another ([`MistralrsEngine::max_concurrent`]).
//!
//! ```no_run
//! # async fn example() -> Result<(), pointsman_engine_mistralrs::LoadError> {
//! use pointsman_engine_mistralrs::{Config, MistralrsEngine};
//!
//! let engine = MistralrsEngine::load(Config::new("pip", "models/demo/model")).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Features, all off by default: `cuda`, `cudnn`, `flash-attn`, `nccl`, `metal`. Without `cuda` and `metal`
//! a model runs on the CPU in 32-bit floats. Nothing but the CPU was ever tried.
//!
//! No other crate names mistral.rs. What it does not check, bound or survive is written in the comments of
//! the code that works around it; read these again when its version moves.
//!
//! - [`Config`], [`LoadError`]: what is loaded, and what may be missing.
//! - `files`, `folder`, `gguf`, `adapter`, `digest`, `load`: the files, the version that their weights give, the
//!   loading.
//! - `device`: what a model runs on, and what of that a build cannot do.
//! - [`EmbeddingModel`]: vectors of texts.
//! - `template`, `vocabulary`: what the model knows beside its weights, read once more from its files.
//! - `vision`, `sight`, `pictures`: which models see, what a picture is to them, and what it may be.
//! - `engine`, `plan`, `request`, `mailbox`: a generation, from the request to what mistral.rs gets of it; `messages`, `tools`,
//!   `grammar`, `guides`: what it is made of; `costly`: where the long part of that is done.
//! - `sampling`: the choice of each token, all in one place, between mistral.rs' logits and its sampler.
//! - `stream`, `choices`: the events of one answer, and of several.

mod adapter;
mod choices;
mod config;
mod costly;
mod device;
mod digest;
mod embedding;
mod engine;
mod error;
mod files;
mod folder;
mod gguf;
mod grammar;
mod guides;
mod load;
mod mailbox;
mod marks;
mod messages;
mod pictures;
mod plan;
mod quantization;
mod request;
mod sampling;
mod sight;
mod stream;
mod template;
mod tools;
mod vision;
mod vocabulary;

pub use config::{Adapter, Config};
pub use device::{Device, DeviceMap, Dtype, Hardware, KvMemory, PagedAttention, PagedMode};
pub use embedding::{EmbeddingModel, Embeddings};
pub use engine::MistralrsEngine;
pub use error::LoadError;
pub use load::{Model, load};
pub use quantization::Quantization;
