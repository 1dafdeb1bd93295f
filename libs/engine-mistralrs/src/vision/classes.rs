//! Which classes of models see.

use std::path::Path;

use crate::LoadError;

/// The classes of the family, as `architectures` of a `config.json` names them.
const FAMILY: [&str; 4] = [
    "Qwen3VLForConditionalGeneration",
    "Qwen3VLMoeForConditionalGeneration",
    "Qwen3_5ForConditionalGeneration",
    "Qwen3_5MoeForConditionalGeneration",
];

/// Classes that mistral.rs loads by its other loaders of models that see or hear.
const OTHERS: [&str; 18] = [
    "Gemma3ForConditionalGeneration",
    "Gemma3nForConditionalGeneration",
    "Gemma4ForConditionalGeneration",
    "Idefics2ForConditionalGeneration",
    "Idefics3ForConditionalGeneration",
    "Llama4ForConditionalGeneration",
    "LlavaForConditionalGeneration",
    "LlavaNextForConditionalGeneration",
    "MiniCPMO",
    "Mistral3ForConditionalGeneration",
    "MllamaForConditionalGeneration",
    "Phi3VForCausalLM",
    "Phi4MMForCausalLM",
    "Qwen2VLForConditionalGeneration",
    "Qwen2_5_VLForConditionalGeneration",
    "SmolVLMForConditionalGeneration",
    "VoxtralForConditionalGeneration",
    "VoxtralRealtimeForConditionalGeneration",
];

/// Whether a model of this class sees. Fails where it does, and nothing here knows how.
pub(super) fn sees(class: &str, folder: &Path) -> Result<bool, LoadError> {
    match OTHERS.into_iter().find(|other| *other == class) {
        Some(class) => Err(LoadError::VisionUnsupported { folder: folder.to_owned(), class }),
        None => Ok(FAMILY.contains(&class)),
    }
}
