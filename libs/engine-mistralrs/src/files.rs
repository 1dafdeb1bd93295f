//! The files of a model, whatever their format.

use std::fs;
use std::path::{Path, PathBuf};

use crate::folder::{Folder, unreadable};
use crate::gguf::Gguf;
use crate::template::Template;
use crate::vision::Vision;
use crate::vocabulary::Vocabulary;
use crate::{Config, Dtype, LoadError, PagedAttention, PagedMode, Quantization, digest};

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
        let path = config.model.clone();
        let format = match self {
            Self::Folder(folder) if folder.uqff.is_none() => {
                let Some((format, what)) = kind_cannot(folder, config) else { return Ok(()) };
                return Err(LoadError::FormatCannot { path, format, what });
            }
            Self::Folder(folder) if folder.vision.is_some() => {
                return Err(LoadError::FormatCannot { path, format: "UQFF", what: "a model that sees" });
            }
            Self::Folder(_) => "UQFF",
            Self::Gguf(_) => "GGUF",
        };
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

    /// How the model takes pictures, if it sees.
    pub(crate) fn vision(&self) -> Option<&Vision> {
        match self {
            Self::Folder(folder) => folder.vision.as_ref(),
            Self::Gguf(_) => None,
        }
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

/// Returns what a model of this kind cannot do of what is asked for.
fn kind_cannot(folder: &Folder, config: &Config) -> Option<(&'static str, &'static str)> {
    let hardware = &config.hardware;
    let asked = |asks: bool, what: &'static str| asks.then_some(what);
    if folder.embeds {
        let pages = hardware.paged_attention != PagedAttention { mode: PagedMode::Off, ..PagedAttention::default() };
        let pages = pages && hardware.paged_attention != PagedAttention::default();
        let keeps = hardware.prefix_cache.is_some_and(|count| count > 0);
        let what = asked(config.quantize.is_some() || !config.adapters.is_empty(), "`quantize` or `adapters`")
            .or(asked(pages, "`hardware.paged_attention`: it keeps no keys and values"))
            .or(asked(keeps, "`hardware.prefix_cache`: it keeps no keys and values"));
        return what.map(|what| ("an embedding model", what));
    }
    if folder.vision.is_some() {
        let keeps = hardware.prefix_cache.is_some_and(|count| count > 0);
        let what = asked(!config.adapters.is_empty(), "`adapters`")
            .or(asked(keeps, "`hardware.prefix_cache`: pictures would go partly unseen; leave it out"));
        return what.map(|what| ("a model that sees", what));
    }
    None
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
