//! Makes Rust of `proto/` with a compiler in Rust, so that nobody needs `protoc`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use prost::Message;

const OUT: &str = "libs/proto/src/generated";

/// Writes the generated code, or checks that it is what is committed.
pub fn run(check: bool) -> Result<()> {
    let root = crate::root();
    let fresh = generate(&root.join("proto"))?;
    let out = root.join(OUT);
    if check {
        if read_folder(&out)? != fresh {
            bail!("{OUT} is not what proto/ says: run `cargo xtask codegen`");
        }
        return Ok(());
    }
    fs::create_dir_all(&out)?;
    for name in read_folder(&out)?.keys() {
        fs::remove_file(out.join(name))?;
    }
    for (name, content) in fresh {
        fs::write(out.join(name), content)?;
    }
    Ok(())
}

/// Returns the generated files by name.
fn generate(proto: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = Vec::new();
    find(proto, &mut files)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    let mut compiler = protox::Compiler::new([proto])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    let mut descriptors = compiler.file_descriptor_set();
    let folder = crate::target_dir().join("codegen");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        // The largest by far, and one in each stream: the others are moved for every piece.
        .boxed(".pointsman.inference.v1.Frame.body.started")
        .out_dir(&folder)
        .compile_fds(descriptors.clone())
        .context("generating Rust")?;
    let mut made = read_folder(&folder)?;
    made.retain(|name, _| name.starts_with("pointsman."));
    // Reflection needs the schema, not its comments.
    descriptors.file.iter_mut().for_each(|file| file.source_code_info = None);
    made.insert("descriptors.bin".to_owned(), descriptors.encode_to_vec());
    made.insert("files.rs".to_owned(), include_all(proto)?.into_bytes());
    Ok(made)
}

/// Returns Rust that includes the files of the contract, as they are.
fn include_all(proto: &Path) -> Result<String> {
    let mut files = Vec::new();
    find(&proto.join("pointsman"), &mut files)?;
    files.sort();
    let mut rust = String::from("&[\n");
    for file in files {
        let name = file.strip_prefix(proto)?.display();
        rust.push_str(&format!("    (\"{name}\", include_str!(\"../../../../proto/{name}\")),\n"));
    }
    rust.push_str("]\n");
    Ok(rust)
}

fn find(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

fn read_folder(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(name, fs::read(&path)?);
    }
    Ok(files)
}
