//! The features for accelerators reach mistral.rs. That they compile takes toolkits that no gate has: see
//! `docs/guides/gpu.md`.

use anyhow::Result;

use crate::shell;

const FEATURES: [&str; 5] = ["cuda", "cudnn", "flash-attn", "nccl", "metal"];

/// Has cargo resolve each of them, and looks whether mistral.rs' own core gets it.
pub fn check() -> Result<()> {
    let findings: Vec<String> = FEATURES.into_iter().map(finding).collect::<Result<Vec<_>>>()?.concat();
    super::refuse(&findings)
}

fn finding(feature: &str) -> Result<Vec<String>> {
    let mut tree = shell::cargo();
    tree.args(["tree", "--locked", "--package", "pointsman", "--features", feature]);
    tree.args(["--edges", "features,no-dev", "--invert", "mistralrs-core", "--depth", "1", "--prefix", "none"]);
    let tree = shell::output(&mut tree)?;
    Ok(if reaches(&tree, feature) { Vec::new() } else { vec![format!("`{feature}` does not reach mistralrs-core")] })
}

fn reaches(tree: &str, feature: &str) -> bool {
    tree.lines().any(|line| line.starts_with(&format!("mistralrs-core feature \"{feature}\"")))
}

#[cfg(test)]
mod tests {
    use super::reaches;

    #[test]
    fn a_feature_that_does_not_arrive_is_found() {
        let tree = "mistralrs-core v0.8.1\nmistralrs-core feature \"cuda\"\nmistralrs-core feature \"default\"\n";
        assert!(reaches(tree, "cuda") && !reaches(tree, "cudnn") && !reaches(tree, "cud"));
    }
}
