//! LoRA adapters, as PEFT writes them.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::LoadError;
use crate::folder::{json, unreadable};

/// A folder with an adapter that mistral.rs can apply.
#[derive(Debug)]
pub(crate) struct AdapterFolder {
    /// Its absolute path, which is handed on as text.
    path: String,
}

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

impl AdapterFolder {
    /// Looks into a folder. All that mistral.rs needs must be there: it asks a model hub for what it does not find,
    /// and leaves out of the adapter, without a word, what it does not know.
    pub(crate) fn open(folder: &Path) -> Result<Self, LoadError> {
        if !folder.is_dir() {
            return Err(LoadError::AdapterMissing { folder: folder.to_owned() });
        }
        let files: Vec<&'static str> =
            [CONFIG, WEIGHTS].into_iter().filter(|file| !folder.join(file).is_file()).collect();
        if !files.is_empty() {
            return Err(LoadError::AdapterFilesMissing { folder: folder.to_owned(), files });
        }
        let file = folder.join(CONFIG);
        if let Some(why) = unsupported(&json(&file)?) {
            return Err(LoadError::AdapterUnsupported { file, why });
        }
        let path = folder.canonicalize().map_err(unreadable(folder))?;
        let path = path.into_os_string().into_string();
        Ok(Self { path: path.map_err(|path| LoadError::FolderNameUnusable { folder: path.into() })? })
    }

    /// Returns what decides its answers, beside the model's weights.
    pub(crate) fn files(&self) -> [PathBuf; 2] {
        [CONFIG, WEIGHTS].map(|file| Path::new(&self.path).join(file))
    }

    /// Makes what leads mistral.rs to this folder. It must live until the model is loaded.
    ///
    /// mistral.rs 0.8.1 looks for adapters nowhere but in the cache of a model hub: in a folder of the adapter's
    /// name it reads the file `refs/{revision}`, which has the name of a folder in `snapshots`. Which cache that is,
    /// the environment says, for the whole process. But a path that is absolute takes the place of what it is joined
    /// to: a file of ours is the revision, and the adapter's folder is the snapshot.
    pub(crate) fn revision(&self) -> std::io::Result<NamedTempFile> {
        let mut file = NamedTempFile::new()?;
        file.write_all(self.path.as_bytes())?;
        Ok(file)
    }
}

/// Says what an adapter has that mistral.rs would leave out.
fn unsupported(config: &Value) -> Option<&'static str> {
    let is = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
    let has = |key: &str| match config.get(key) {
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(items)) => !items.is_empty(),
        _ => false,
    };
    let positive = |key: &str| config.get(key).and_then(Value::as_f64).is_some_and(|number| number > 0.0);
    if config.get("peft_type").is_some_and(|kind| kind != "LORA") {
        Some("`peft_type` is another than `LORA`")
    } else if !positive("r") || !positive("lora_alpha") {
        Some("`r` and `lora_alpha` must be numbers above 0")
    } else if !config.get("target_modules").is_some_and(Value::is_array) {
        Some("`target_modules` must be a list of names")
    } else if is("use_dora") || is("use_rslora") || is("fan_in_fan_out") {
        Some("`use_dora`, `use_rslora` and `fan_in_fan_out` are not known to mistral.rs")
    } else if has("rank_pattern") || has("alpha_pattern") || has("modules_to_save") {
        Some("`rank_pattern`, `alpha_pattern` and `modules_to_save` are not known to mistral.rs")
    } else if config.get("bias").is_some_and(|bias| bias != "none") {
        Some("`bias` is another than `none`")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::{AdapterFolder, CONFIG, WEIGHTS, unsupported};
    use crate::LoadError;

    fn config(change: impl FnOnce(&mut Value)) -> Value {
        let mut config = json!({ "peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"] });
        change(&mut config);
        config
    }

    #[test]
    fn what_would_be_left_out_is_refused() {
        assert_eq!(unsupported(&config(|_| ())), None);
        for (key, value) in [
            ("peft_type", json!("ADALORA")),
            ("r", json!(0)),
            ("lora_alpha", json!("16")),
            ("target_modules", json!("all-linear")),
            ("use_dora", json!(true)),
            ("use_rslora", json!(true)),
            ("rank_pattern", json!({ "q_proj": 4 })),
            ("modules_to_save", json!(["lm_head"])),
            ("bias", json!("all")),
        ] {
            let why = unsupported(&config(|config| config[key] = value.clone()));
            assert!(why.is_some_and(|why| why.contains(key)), "{key}: {why:?}");
        }
        assert_eq!(unsupported(&config(|config| config["modules_to_save"] = Value::Null)), None);
    }

    #[test]
    fn a_folder_that_lacks_something_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = || AdapterFolder::open(folder.path());
        assert!(matches!(open(), Err(LoadError::AdapterFilesMissing { files, .. }) if files == [CONFIG, WEIGHTS]));
        fs::write(folder.path().join(WEIGHTS), "").unwrap();
        fs::write(folder.path().join(CONFIG), "{").unwrap();
        assert!(matches!(open(), Err(LoadError::NotJson { .. })));
        fs::write(folder.path().join(CONFIG), "{}").unwrap();
        assert!(matches!(open(), Err(LoadError::AdapterUnsupported { .. })));
        fs::write(folder.path().join(CONFIG), config(|_| ()).to_string()).unwrap();
        let path = folder.path().canonicalize().unwrap();
        let revision = open().unwrap().revision().unwrap();
        assert_eq!(fs::read_to_string(revision.path()).unwrap(), path.to_str().unwrap());
        assert!(matches!(AdapterFolder::open(&path.join("no")), Err(LoadError::AdapterMissing { .. })));
    }
}
