//! The files of a model, whatever their format.

use std::fs;
use std::path::{Path, PathBuf};

use crate::folder::{Folder, unreadable};
use crate::gguf::Gguf;
use crate::template::Template;
use crate::vocabulary::Vocabulary;
use crate::{Config, Dtype, LoadError, Quantization, digest};

/// A model's files, in which nothing is missing.
#[derive(Debug)]
pub(crate) enum Files {
    /// A folder in Hugging Face layout.
    Folder(Folder),
    /// A single file of llama.cpp's format.
    Gguf(Gguf),
}

impl Files {
    /// Looks at what a path leads to.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        if path.is_file() {
            return Gguf::open(path).map(Self::Gguf);
        }
        if path.is_dir() && files_with(path, "safetensors")?.is_empty() {
            match files_with(path, "gguf")?.as_slice() {
                [] => {}
                [one] => return Gguf::open(one).map(Self::Gguf),
                several => return Err(LoadError::SeveralModels { folder: path.to_owned(), count: several.len() }),
            }
        }
        Folder::open(path).map(Self::Folder)
    }

    /// Refuses what cannot be done with files of this format.
    pub(crate) fn check(&self, config: &Config) -> Result<(), LoadError> {
        let format = match self {
            Self::Folder(folder) if folder.uqff.is_none() => {
                if folder.embeds && (config.quantize.is_some() || !config.adapters.is_empty()) {
                    let (folder, what) = (folder.path.clone().into(), "`quantize` or `adapters`");
                    return Err(LoadError::FormatCannot { path: folder, format: "embedding", what });
                }
                return Ok(());
            }
            Self::Folder(_) => "UQFF",
            Self::Gguf(_) => "GGUF",
        };
        let path = config.model.clone();
        if config.quantize.is_some() {
            return Err(LoadError::FormatCannot { path, format, what: "`quantize`: its weights are quantised" });
        }
        if matches!(self, Self::Gguf(_)) && config.hardware.dtype != Dtype::Auto {
            return Err(LoadError::FormatCannot { path, format, what: "`hardware.dtype`: its file says that" });
        }
        if !config.adapters.is_empty() {
            return Err(LoadError::FormatCannot { path, format, what: "`adapters`: mistral.rs needs plain weights" });
        }
        Ok(())
    }

    /// Whether the model makes vectors of texts, and no texts.
    pub(crate) fn embeds(&self) -> bool {
        matches!(self, Self::Folder(folder) if folder.embeds)
    }

    /// Returns the version that the weights give, with those of an adapter, and with what is made of them.
    pub(crate) fn version(&self, beside: &[PathBuf], quantize: Option<Quantization>) -> Result<String, LoadError> {
        let weights = match self {
            Self::Folder(folder) => folder.weights.as_slice(),
            Self::Gguf(gguf) => std::slice::from_ref(&gguf.file),
        };
        let version = digest::version(&[weights, beside].concat());
        let version = version.map_err(|(path, source)| LoadError::Unreadable { path, source })?;
        Ok(match quantize {
            Some(quantize) => format!("{version}-{}", quantize.name()),
            None => version,
        })
    }

    /// Returns the number format of the weights, as it stands in fingerprints.
    pub(crate) fn format(&self, own: &str, quantize: Option<Quantization>) -> String {
        match self {
            Self::Gguf(gguf) => format!("gguf-{}", gguf.format),
            Self::Folder(folder) if folder.uqff.is_some() => format!("{own}-uqff"),
            Self::Folder(_) => quantize.map_or_else(|| own.to_owned(), |it| format!("{own}-{}", it.name())),
        }
    }

    /// Returns the most tokens that prompt and answer may have together.
    pub(crate) fn context_tokens(&self) -> u32 {
        match self {
            Self::Folder(folder) => folder.context_tokens,
            Self::Gguf(gguf) => gguf.context_tokens,
        }
    }

    pub(crate) fn template(&self) -> Result<Template, LoadError> {
        match self {
            Self::Folder(folder) => Template::read(Path::new(&folder.path)),
            Self::Gguf(gguf) => Ok(gguf.template.clone()),
        }
    }

    pub(crate) fn vocabulary(&self, template: &Template) -> Result<Vocabulary, LoadError> {
        match self {
            Self::Folder(folder) => Vocabulary::read(Path::new(&folder.path), template.text()),
            Self::Gguf(gguf) => gguf.vocabulary(),
        }
    }
}

/// Returns the files in a folder whose names end so, sorted.
pub(crate) fn files_with(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, LoadError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        if path.extension().is_some_and(|own| own == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
