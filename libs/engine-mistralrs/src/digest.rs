use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Returns the version that weights give to a model: the first 12 hexadecimal digits of a SHA-256.
///
/// Of one file it is the file's SHA-256; of several, the SHA-256 of their SHA-256s (32 bytes each) in the
/// order given. Fails with the file that could not be read. Reads everything: seconds for large weights.
pub(crate) fn version(files: &[PathBuf]) -> Result<String, (PathBuf, io::Error)> {
    let digests = files
        .iter()
        .map(|file| sha256(file).map_err(|error| (file.clone(), error)))
        .collect::<Result<Vec<[u8; 32]>, _>>()?;
    let digest = match digests.as_slice() {
        [one] => *one,
        several => Sha256::digest(several.concat()).into(),
    };
    let mut version = hex::encode(digest);
    version.truncate(12);
    Ok(version)
}

fn sha256(file: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(file)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::version;

    #[test]
    fn one_file_gives_its_own_digest_and_several_the_digest_of_digests() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| -> PathBuf {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let abc = file("a", "abc");
        let empty = file("b", "");

        // printf abc | sha256sum
        assert_eq!(version(std::slice::from_ref(&abc)).unwrap(), "ba7816bf8f01");
        // (printf abc | sha256sum; printf '' | sha256sum) | cut -c1-64 | xxd -r -p | sha256sum
        assert_eq!(version(&[abc.clone(), empty.clone()]).unwrap(), "6f1290896ee8");
        assert_ne!(version(&[empty, abc]).unwrap(), "6f1290896ee8");

        let missing = folder.path().join("c");
        assert_eq!(version(std::slice::from_ref(&missing)).unwrap_err().0, missing);
    }
}
