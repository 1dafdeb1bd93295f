//! A model that sees, made of the demo model in a moment: its language as it is, and before it a small Qwen3-VL tower
//! of weights that mean nothing. It answers texts as the demo model does; a picture changes what it says, and nobody
//! can say into what.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo/model");
/// Width of the tower, and of the language.
const HIDDEN: usize = 32;
const TEXT_HIDDEN: usize = 256;
const MARKS: [&str; 4] = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"];
/// Tokens that the demo model has.
const FIRST_MARK: usize = 1024;

/// The demo model's, for messages with pictures, thoughts and effort.
const TEMPLATE: &str = "{%- if tools %}{{- '<|im_start|>system\\nTools:' }}{%- for t in tools %}{{- ' ' + t.function.name }}{%- endfor %}{{- '<|im_end|>\\n' }}{%- endif %}\
{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}{%- if m.content is string %}{{- m.content }}{%- else %}{%- for p in m.content %}\
{%- if p.type == 'image' %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}{%- else %}{{- p.text }}{%- endif %}{%- endfor %}{%- endif %}{{- '<|im_end|>\\n' }}{%- endfor %}\
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}{#- calls are written as <tool_call> #}";

/// Writes the model into a folder.
pub fn write(folder: &Path) -> Result<()> {
    let demo = Path::new(DEMO);
    for file in ["generation_config.json", "tokenizer_config.json"] {
        fs::copy(demo.join(file), folder.join(file)).with_context(|| format!("copying {file}"))?;
    }
    let read = |file: &str| -> Result<Value> { Ok(serde_json::from_str(&fs::read_to_string(demo.join(file))?)?) };
    let size = json!({ "shortest_edge": 64 * 64, "longest_edge": 256 * 256 });
    let preparation = json!({ "patch_size": 16, "merge_size": 2, "temporal_patch_size": 2, "size": size });
    for (file, value) in [
        ("config.json", config(read("config.json")?)),
        ("tokenizer.json", tokenizer(read("tokenizer.json")?)?),
        ("preprocessor_config.json", preparation),
    ] {
        fs::write(folder.join(file), value.to_string()).with_context(|| format!("writing {file}"))?;
    }
    fs::write(folder.join("chat_template.jinja"), TEMPLATE)?;
    let weights = fs::read(demo.join("model.safetensors"))?;
    let mut tower = Tower { tensors: language(&weights)?, random: 1 };
    tower.build();
    fs::write(folder.join("model.safetensors"), safetensors(&tower.tensors)?)?;
    Ok(())
}

fn config(mut text: Value) -> Value {
    text["vocab_size"] = json!(FIRST_MARK + MARKS.len());
    text["rope_scaling"] = json!({ "mrope_section": [12, 10, 10] });
    json!({
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "text_config": text,
        "vision_config": {
            "depth": 2, "hidden_size": HIDDEN, "out_hidden_size": TEXT_HIDDEN, "intermediate_size": 2 * HIDDEN,
            "num_heads": 2, "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
        },
        "vision_start_token_id": FIRST_MARK,
        "vision_end_token_id": FIRST_MARK + 1,
        "image_token_id": FIRST_MARK + 2,
        "video_token_id": FIRST_MARK + 3,
        "tie_word_embeddings": true,
    })
}

fn tokenizer(mut tokenizer: Value) -> Result<Value> {
    let added = tokenizer["added_tokens"].as_array_mut().context("no added tokens")?;
    let example = added.first().context("no added token")?.clone();
    for (id, mark) in (FIRST_MARK..).zip(MARKS) {
        let mut token = example.clone();
        token["id"] = json!(id);
        token["content"] = json!(mark);
        added.push(token);
    }
    Ok(tokenizer)
}

struct Tensor {
    format: &'static str,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// By name.
type Tensors = BTreeMap<String, Tensor>;

/// Reads the demo model's tensors, by the names that they have in a model that sees. The marks have embeddings of
/// nothing.
fn language(file: &[u8]) -> Result<Tensors> {
    let (length, rest) = file.split_first_chunk().context("no length")?;
    let (header, data) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length))?).context("no header")?;
    let header: BTreeMap<String, Value> = serde_json::from_slice(header)?;
    let mut tensors = Tensors::new();
    for (name, about) in header.into_iter().filter(|(name, _)| name != "__metadata__") {
        let (from, to): (usize, usize) = serde_json::from_value(about["data_offsets"].clone())?;
        let mut shape: Vec<usize> = serde_json::from_value(about["shape"].clone())?;
        let mut bytes = data.get(from..to).context("no data")?.to_vec();
        if name.ends_with("embed_tokens.weight") {
            bytes.resize(bytes.len() + MARKS.len() * TEXT_HIDDEN * 2, 0);
            shape[0] += MARKS.len();
        }
        let name = name.replacen("model.", "model.language_model.", 1);
        tensors.insert(name, Tensor { format: "BF16", shape, bytes });
    }
    Ok(tensors)
}

struct Tower {
    tensors: Tensors,
    random: u64,
}

impl Tower {
    fn build(&mut self) {
        self.layer("patch_embed.proj", &[HIDDEN, 3, 2, 16, 16]);
        self.random("pos_embed.weight", &[16, HIDDEN]);
        for block in 0..2 {
            let at = |part: &str| format!("blocks.{block}.{part}");
            self.norm(&at("norm1"), HIDDEN);
            self.norm(&at("norm2"), HIDDEN);
            self.layer(&at("attn.qkv"), &[3 * HIDDEN, HIDDEN]);
            self.layer(&at("attn.proj"), &[HIDDEN, HIDDEN]);
            self.layer(&at("mlp.linear_fc1"), &[2 * HIDDEN, HIDDEN]);
            self.layer(&at("mlp.linear_fc2"), &[HIDDEN, 2 * HIDDEN]);
        }
        for (merger, width) in [("merger", HIDDEN), ("deepstack_merger_list.0", 4 * HIDDEN)] {
            self.norm(&format!("{merger}.norm"), width);
            self.layer(&format!("{merger}.linear_fc1"), &[4 * HIDDEN, 4 * HIDDEN]);
            self.layer(&format!("{merger}.linear_fc2"), &[TEXT_HIDDEN, 4 * HIDDEN]);
        }
    }

    fn layer(&mut self, name: &str, shape: &[usize]) {
        self.random(&format!("{name}.weight"), shape);
        self.add(&format!("{name}.bias"), &shape[..1], &mut || 0.0);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.add(&format!("{name}.weight"), &[width], &mut || 1.0);
        self.add(&format!("{name}.bias"), &[width], &mut || 0.0);
    }

    /// Weights whose outputs are about as large as their inputs, the same each time.
    fn random(&mut self, name: &str, shape: &[usize]) {
        let inputs: usize = shape[1..].iter().product();
        let scale = (3.0 / inputs as f32).sqrt();
        let mut random = self.random;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((random >> 40) as f32 / (1_u32 << 23) as f32 - 1.0) * scale
        };
        self.add(name, shape, &mut next);
        self.random = random;
    }

    fn add(&mut self, name: &str, shape: &[usize], value: &mut dyn FnMut() -> f32) {
        let count: usize = shape.iter().product();
        let bytes = (0..count).flat_map(|_| value().to_le_bytes()).collect();
        self.tensors.insert(format!("model.visual.{name}"), Tensor { format: "F32", shape: shape.to_vec(), bytes });
    }
}

/// The format of safetensors: the length of a header, the header, the data.
fn safetensors(tensors: &Tensors) -> Result<Vec<u8>> {
    let (mut header, mut data) = (BTreeMap::new(), Vec::new());
    // The wider numbers first, so that each begins at a multiple of its width.
    let wide_first = ["F32", "BF16"].map(|format| tensors.iter().filter(move |(_, tensor)| tensor.format == format));
    for (name, tensor) in wide_first.into_iter().flatten() {
        let from = data.len();
        data.extend_from_slice(&tensor.bytes);
        let about = json!({ "dtype": tensor.format, "shape": tensor.shape, "data_offsets": [from, data.len()] });
        header.insert(name, about);
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&u64::try_from(header.len())?.to_le_bytes(), header.as_slice(), &data].concat())
}
