//! Models that see: which ones mistral.rs is asked to load, and how many tokens it makes of a picture.
//!
//! Those of the Qwen3-VL family, which all go through one preparation of pictures (`Qwen3VLImageProcessor`). It is
//! the one whose count of tokens is known here, and that takes several pictures: others of mistral.rs 0.8.1 panic
//! at the second picture (LLaVA), or see nothing but a message's first text (Qwen2-VL), and are refused.

use std::path::Path;

use serde_json::Value;

use crate::LoadError;
use crate::folder::json;

mod classes;

/// The file that says how pictures are cut.
pub(crate) const PREPARATION: &str = "preprocessor_config.json";

/// The longer edge of a picture may be this many times the shorter.
const LONGEST: u32 = 200;

/// The most pixels that the model sees of a picture. Its tower compares each cell with each, on the engine's thread,
/// where everybody waits for it: 16 times the pixels take up to 256 times as long.
const MOST_SEEN: usize = 1 << 20;
const MOST_SEEN_ON_CPU: usize = 1 << 18;

/// Why a picture is none that the model can see: what to say of it.
pub(crate) type Unfit = String;

/// How a model cuts pictures into tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vision {
    /// Pixels at each edge of what becomes one token.
    cell: usize,
    /// Pixels that a picture is brought to.
    least: usize,
    most: usize,
    /// Pixels that a picture is brought to here, where it has more.
    bound: usize,
}

/// A picture as the model gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) tokens: u32,
    /// Its pixels. mistral.rs may change them, but not the tokens.
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Vision {
    /// Reads what a model folder says of pictures. None: it has no eyes.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, LoadError> {
        let config = json(&folder.join("config.json"))?;
        let classes = config.get("architectures").and_then(Value::as_array).into_iter().flatten();
        let class = classes.filter_map(Value::as_str).next().unwrap_or_default();
        if !classes::sees(class, folder)? {
            return Ok(None);
        }
        let file = folder.join(PREPARATION);
        if !file.is_file() {
            return Err(LoadError::FilesMissing { folder: folder.to_owned(), files: vec![PREPARATION] });
        }
        let preparation = json(&file)?;
        let vision = Self::of(&preparation);
        vision.map(Some).map_err(|why| LoadError::PreparationUnusable { file, why })
    }

    /// With the defaults of mistral.rs, which are not those of `transformers`.
    fn of(preparation: &Value) -> Result<Self, &'static str> {
        let number = |pointer: &str| preparation.pointer(pointer)?.as_u64().and_then(|it| usize::try_from(it).ok());
        let cell = number("/patch_size").unwrap_or(14) * number("/merge_size").unwrap_or(2);
        let least = number("/min_pixels").or_else(|| number("/size/shortest_edge")).unwrap_or(256 * 256);
        let most = number("/max_pixels").or_else(|| number("/size/longest_edge")).unwrap_or(1536 * 1536);
        if cell == 0 || most == 0 {
            return Err("`patch_size`, `merge_size` and the most pixels must be above 0");
        }
        // Pictures of any other size than a multiple of the cell would end mistral.rs.
        if preparation.get("do_resize") == Some(&Value::Bool(false)) {
            return Err("`do_resize` must be true");
        }
        if preparation.get("resample").or_else(|| preparation.get("resampling")).is_some_and(|filter| *filter != 3) {
            return Err(
                "`resample` must be 3, or absent: pictures are made smaller in that way before mistral.rs has them",
            );
        }
        Ok(Self { cell, least, most, bound: MOST_SEEN_ON_CPU })
    }

    /// Bounds what is seen of a picture by what it runs on.
    pub(crate) fn on(self, is_cpu: bool) -> Self {
        Self { bound: if is_cpu { MOST_SEEN_ON_CPU } else { MOST_SEEN }, ..self }
    }

    /// Returns what the model gets of a picture of so many pixels; or why it cannot.
    pub(crate) fn see(&self, width: u32, height: u32) -> Result<Seen, Unfit> {
        self.tokens(width, height)?;
        let (width, height) = self.bounded(width, height);
        let tokens = self.tokens(width, height)?;
        let (width, height) = self.fitted(width, height).unwrap_or((width, height));
        Ok(Seen { tokens, width, height })
    }

    /// Makes a picture smaller that has more pixels than the bound, and than the model's least.
    fn bounded(&self, width: u32, height: u32) -> (u32, u32) {
        let bound = Self { most: self.bound.max(self.least), ..self.clone() };
        let cells = |edge| u32::try_from(bound.cells(edge, width, height)).unwrap_or(u32::MAX).max(1);
        let cell = u32::try_from(self.cell).unwrap_or(u32::MAX);
        if bound.rounded(width) * bound.rounded(height) <= bound.most {
            return (width, height);
        }
        let (across, down) = (cells(width), cells(height));
        // What is cut off of the shorter edge must not make it too long.
        let (across, down) = (across.min(down * (LONGEST - 1)), down.min(across * (LONGEST - 1)));
        (across * cell, down * cell)
    }

    /// Returns the tokens of a picture of so many pixels, as `smart_resize` of mistral.rs brings it to size; or why
    /// it would panic over it.
    fn tokens(&self, width: u32, height: u32) -> Result<u32, Unfit> {
        let (long, short) = (width.max(height), width.min(height));
        if usize::try_from(short).is_ok_and(|short| short < self.cell) {
            return Err(format!(
                "must be at least {0} × {0} pixels for this model; it is {width} × {height}",
                self.cell
            ));
        }
        if long / short >= LONGEST {
            return Err(format!("must be less than {LONGEST} times as long as wide; it is {width} × {height}"));
        }
        let (across, down) = (self.cells(width, width, height), self.cells(height, width, height));
        if across == 0 || down == 0 {
            return Err(format!("is too narrow for this model, at {width} × {height} pixels"));
        }
        u32::try_from(across * down).map_err(|_| format!("has too many pixels, {width} × {height}"))
    }

    /// Returns the size that a picture may be brought to beforehand, and is as many tokens then. None: it is small
    /// enough.
    fn fitted(&self, width: u32, height: u32) -> Option<(u32, u32)> {
        let edge = |edge: u32| u32::try_from(self.cells(edge, width, height) * self.cell).ok();
        let (across, down) = (edge(width)?, edge(height)?);
        let is_smaller = across <= width && down <= height && (across, down) != (width, height);
        (is_smaller && self.tokens(across, down) == self.tokens(width, height)).then_some((across, down))
    }

    /// Returns width and height of a small picture.
    pub(crate) fn example(&self) -> (u32, u32) {
        let edge = |cells: usize| u32::try_from(self.cell * cells).unwrap_or(u32::MAX);
        (edge(3), edge(2))
    }

    /// Returns the cells along one edge of a picture.
    fn cells(&self, edge: u32, width: u32, height: u32) -> usize {
        let pixels = self.rounded(width) * self.rounded(height);
        let (edge, cell) = (f64::from(edge), self.cell as f64);
        let given = f64::from(width) * f64::from(height);
        if pixels > self.most {
            (edge / (given / self.most as f64).sqrt() / cell).floor() as usize
        } else if pixels < self.least {
            (edge * (self.least as f64 / given).sqrt() / cell).ceil() as usize
        } else {
            (edge / cell).round() as usize
        }
    }

    /// Returns an edge as the nearest multiple of the cell.
    fn rounded(&self, edge: u32) -> usize {
        (f64::from(edge) / self.cell as f64).round() as usize * self.cell
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::{MOST_SEEN_ON_CPU, Seen, Vision};
    use crate::LoadError;

    fn vision() -> Vision {
        Vision::of(&json!({ "patch_size": 16, "size": { "shortest_edge": 65_536, "longest_edge": 1_048_576 } }))
            .unwrap()
            .on(false)
    }

    #[test]
    fn no_more_is_seen_of_a_picture_than_a_device_has_time_for() {
        let large = Vision { most: 1 << 24, ..vision() };
        for (is_cpu, width, height, seen) in [
            (false, 4096, 4096, (1024, 1024)),
            (false, 800, 600, (800, 600)),
            (true, 4096, 4096, (512, 512)),
            (true, 1920, 1080, (672, 384)),
            (true, 500, 260, (500, 260)),
            (true, 12_000, 61, (32 * 199, 32)),
            (true, 61, 12_000, (32, 32 * 199)),
        ] {
            let Seen { tokens, width: across, height: down } = large.clone().on(is_cpu).see(width, height).unwrap();
            assert_eq!((across, down), seen, "{width} × {height}");
            assert_eq!(Ok(tokens), large.tokens(across, down));
        }
        // A model that wants more pixels gets them.
        let least = Vision { least: 1 << 20, ..large }.on(true);
        assert_eq!(least.see(2048, 2048), Ok(Seen { tokens: 1024, width: 1024, height: 1024 }));
    }

    #[test]
    fn a_picture_is_brought_to_size_and_cut_into_cells() {
        for (width, height, tokens) in [
            (256, 256, 64),
            (512, 256, 128),
            (500, 260, 16 * 8),
            // Too small, and too large.
            (32, 32, 64),
            (64, 32, 12 * 6),
            (4096, 4096, 1024),
            (1920, 1080, 42 * 24),
        ] {
            assert_eq!(vision().tokens(width, height), Ok(tokens), "{width} × {height}");
        }
    }

    #[test]
    fn a_large_picture_may_be_brought_to_its_size_beforehand() {
        for (width, height, fitted) in [
            (4096, 4096, Some((1024, 1024))),
            (1920, 1080, Some((1344, 768))),
            (520, 270, Some((512, 256))),
            (512, 256, None),
            (500, 260, None),
            (32, 32, None),
        ] {
            assert_eq!(vision().fitted(width, height), fitted, "{width} × {height}");
        }
    }

    #[test]
    fn what_would_end_the_engine_is_refused() {
        let narrow = Vision { cell: 32, least: 1024, most: 65_536, bound: MOST_SEEN_ON_CPU };
        for (vision, width, height, says) in [
            (vision(), 31, 64, "at least 32 × 32"),
            (vision(), 6400, 32, "200 times"),
            (narrow, 6000, 32, "too narrow"),
        ] {
            let why = vision.tokens(width, height).unwrap_err();
            assert!(why.contains(says) && why.contains(&width.to_string()), "{why}");
        }
    }

    #[test]
    fn a_folder_says_what_its_model_sees() {
        let folder = tempfile::tempdir().unwrap();
        let read = |class: &str, preparation: Option<&str>| {
            let config = json!({ "architectures": [class] }).to_string();
            fs::write(folder.path().join("config.json"), config).unwrap();
            let _ = fs::remove_file(folder.path().join(super::PREPARATION));
            if let Some(preparation) = preparation {
                fs::write(folder.path().join(super::PREPARATION), preparation).unwrap();
            }
            Vision::read(folder.path())
        };
        assert!(read("Qwen3ForCausalLM", None).unwrap().is_none());
        let class = "Qwen3VLForConditionalGeneration";
        assert_eq!(
            read(class, Some(r#"{"patch_size": 16, "resample": 3}"#)).unwrap(),
            Some(Vision { cell: 32, least: 65_536, most: 1536 * 1536, bound: MOST_SEEN_ON_CPU })
        );
        assert!(matches!(read(class, None), Err(LoadError::FilesMissing { .. })));
        for preparation in [r#"{"do_resize": false}"#, r#"{"patch_size": 0}"#, r#"{"resample": 2}"#] {
            assert!(matches!(read(class, Some(preparation)), Err(LoadError::PreparationUnusable { .. })));
        }
        let other = read("LlavaForConditionalGeneration", None).unwrap_err();
        assert!(other.to_string().contains("Qwen3VLForConditionalGeneration"), "{other}");
    }
}
