use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::LoadError;
use crate::files::files_with;
use crate::vision::Vision;

/// A model folder in which nothing is missing.
#[derive(Debug)]
pub(crate) struct Folder {
    /// Its absolute path, which mistral.rs takes as text.
    pub(crate) path: String,
    /// Its weights, sorted by name.
    pub(crate) weights: Vec<PathBuf>,
    /// The most tokens that prompt and answer may have together.
    pub(crate) context_tokens: u32,
    /// The first file of its weights, if they are in mistral.rs' own format; it finds the others.
    pub(crate) uqff: Option<PathBuf>,
    /// Whether it makes vectors of texts, and no texts.
    pub(crate) embeds: bool,
    /// How it takes pictures, if it sees.
    pub(crate) vision: Option<Vision>,
}

impl Folder {
    /// Looks into a folder. All that mistral.rs needs must be there: it asks a model hub, by name, for a
    /// folder or file that it does not find, and panics in the middle of a request without a chat template.
    pub(crate) fn open(folder: &Path) -> Result<Self, LoadError> {
        if !folder.is_dir() {
            return Err(LoadError::FolderMissing { folder: folder.to_owned() });
        }
        let uqff = uqff(folder)?;
        let mut weights = files_with(folder, "safetensors")?;
        let embeds = folder.join("modules.json").is_file();
        let mut missing: Vec<&'static str> = ["config.json", "tokenizer.json", "tokenizer_config.json"]
            .into_iter()
            .filter(|file| !folder.join(file).is_file())
            .collect();
        if weights.is_empty() {
            missing.push("*.safetensors");
        }
        if embeds {
            missing.extend(missing_modules(folder)?);
        }
        if !missing.is_empty() {
            return Err(LoadError::FilesMissing { folder: folder.to_owned(), files: missing });
        }
        if let Some((first, all)) = &uqff {
            if embeds {
                let (path, what) = (first.clone(), "an embedding model");
                return Err(LoadError::FormatCannot { path, format: "UQFF", what });
            }
            weights.extend_from_slice(all);
        }
        let vision = if embeds { None } else { Vision::read(folder)? };
        if !embeds && !has_chat_template(folder)? {
            return Err(LoadError::ChatTemplateMissing { folder: folder.to_owned() });
        }
        let context_tokens = context_tokens(folder)?;
        let path = folder.canonicalize().map_err(unreadable(folder))?;
        let path = path
            .into_os_string()
            .into_string()
            .map_err(|path| LoadError::FolderNameUnusable { folder: path.into() })?;
        let uqff = uqff.map(|(first, _)| first);
        Ok(Self { path, weights, context_tokens, uqff, embeds, vision })
    }
}

/// Which modules of an embedding model lack their files.
fn missing_modules(folder: &Path) -> Result<Option<&'static str>, LoadError> {
    let modules = json(&folder.join("modules.json"))?;
    let has = |path: &str, file: &str| folder.join(path).join(file).is_file();
    let lacks = |module: &Value| {
        let text = |key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default();
        let (path, kind) = (text("path"), text("type"));
        match kind.rsplit('.').next() {
            Some("Pooling") => !has(path, "config.json"),
            Some("Dense") => !has(path, "config.json") || !has(path, "model.safetensors"),
            _ => false,
        }
    };
    let lacking = modules.as_array().into_iter().flatten().any(lacks);
    Ok(lacking.then_some("the files of a module that modules.json names"))
}

/// Finds weights in mistral.rs' own format: the first file, and all. They are `{name}.uqff`, or `{name}-0.uqff` and
/// so on, beside a `residual.safetensors`.
fn uqff(folder: &Path) -> Result<Option<(PathBuf, Vec<PathBuf>)>, LoadError> {
    let all = files_with(folder, "uqff")?;
    let name = |file: &PathBuf| {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        stem.trim_end_matches(|letter: char| letter.is_ascii_digit()).trim_end_matches('-').to_owned()
    };
    let Some(first) = all.first().cloned() else { return Ok(None) };
    if all.iter().any(|file| name(file) != name(&first)) {
        return Err(LoadError::SeveralModels { folder: folder.to_owned(), count: all.len() });
    }
    Ok(Some((first, all)))
}

/// Reads the tokens that end an answer from `generation_config.json`, where there is one.
pub(crate) fn generation_ends(folder: &Path) -> Result<Vec<u32>, LoadError> {
    let file = folder.join("generation_config.json");
    if !file.is_file() {
        return Ok(Vec::new());
    }
    let listed = match json(&file)?.get("eos_token_id") {
        Some(Value::Array(several)) => several.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    Ok(listed.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect())
}

fn has_chat_template(folder: &Path) -> Result<bool, LoadError> {
    let tokenizer = json(&folder.join("tokenizer_config.json"))?;
    let beside = ["chat_template.jinja", "chat_template.json"];
    Ok(tokenizer.get("chat_template").is_some_and(|template| !template.is_null())
        || beside.iter().any(|file| folder.join(file).is_file()))
}

/// Reads the length of the context; models for more than text say it one level down.
fn context_tokens(folder: &Path) -> Result<u32, LoadError> {
    let file = folder.join("config.json");
    let config = json(&file)?;
    let tokens = ["/max_position_embeddings", "/text_config/max_position_embeddings"]
        .iter()
        .find_map(|pointer| config.pointer(pointer)?.as_u64())
        .and_then(|tokens| u32::try_from(tokens).ok())
        .filter(|tokens| *tokens > 0);
    tokens.ok_or(LoadError::ContextUnknown { file })
}

/// Reads a JSON file of a model.
pub(crate) fn json(file: &Path) -> Result<Value, LoadError> {
    let text = fs::read_to_string(file).map_err(unreadable(file))?;
    serde_json::from_str(&text).map_err(|source| LoadError::NotJson { file: file.to_owned(), source })
}

pub(crate) fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> LoadError + '_ {
    |source| LoadError::Unreadable { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::Folder;
    use crate::LoadError;

    const FILES: [(&str, &str); 5] = [
        ("config.json", r#"{"max_position_embeddings": 1024}"#),
        ("tokenizer.json", "{}"),
        ("tokenizer_config.json", r#"{"chat_template": "{{ messages }}"}"#),
        ("model-2.safetensors", ""),
        ("model-1.safetensors", ""),
    ];

    /// Opens a folder with the files above, after `change`.
    fn open(change: impl FnOnce(&Path)) -> Result<Folder, LoadError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in FILES {
            fs::write(folder.path().join(name), content).unwrap();
        }
        change(folder.path());
        Folder::open(folder.path())
    }

    #[test]
    fn weights_are_sorted_by_name() {
        let folder = open(|_| ()).unwrap();
        let names: Vec<_> = folder.weights.iter().map(|file| file.file_name().unwrap()).collect();
        assert_eq!(names, ["model-1.safetensors", "model-2.safetensors"]);
        assert_eq!(folder.context_tokens, 1024);
    }

    #[test]
    fn every_missing_file_is_named() {
        let error = open(|folder| {
            for (name, _) in FILES {
                fs::remove_file(folder.join(name)).unwrap();
            }
        });
        let Err(LoadError::FilesMissing { files, .. }) = error else { panic!("{error:?}") };
        assert_eq!(files, ["config.json", "tokenizer.json", "tokenizer_config.json", "*.safetensors"]);
        assert!(matches!(Folder::open(Path::new("/no/such/folder")), Err(LoadError::FolderMissing { .. })));
    }

    #[test]
    fn a_chat_template_may_lie_in_a_file_of_its_own() {
        let without = |folder: &Path| fs::write(folder.join("tokenizer_config.json"), "{}").unwrap();
        assert!(matches!(open(without), Err(LoadError::ChatTemplateMissing { .. })));
        let beside = open(|folder| {
            without(folder);
            fs::write(folder.join("chat_template.jinja"), "{{ messages }}").unwrap();
        });
        assert!(beside.is_ok());
    }

    #[test]
    fn the_context_is_read_or_asked_for() {
        let context = |config: &str| open(|folder| fs::write(folder.join("config.json"), config).unwrap());
        assert_eq!(context(r#"{"text_config": {"max_position_embeddings": 7}}"#).unwrap().context_tokens, 7);
        assert!(matches!(context(r#"{"max_position_embeddings": 0}"#), Err(LoadError::ContextUnknown { .. })));
        assert!(matches!(context("{}"), Err(LoadError::ContextUnknown { .. })));
        assert!(matches!(context("no JSON"), Err(LoadError::NotJson { .. })));
    }
}
