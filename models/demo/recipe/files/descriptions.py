"""Everything in a model's folder but the weights and the tokenizer: what loaders want to know."""

import json
from pathlib import Path

from tokenizers import Tokenizer, processors

from recipe.conversations.template import CHAT_TEMPLATE
from recipe.shape import ATTENTION_MATRICES, FEED_FORWARD_MATRICES, NORM_EPSILON, Shape
from recipe.tokenizer import END_OF_TEXT, MESSAGE_BEGINS, MESSAGE_ENDS, number_of

# Weights are written in 16 bits.
TYPE_OF_WEIGHTS = "bfloat16"
# What the files call the model that they belong to.
BASE_NAME = "tiny-mesh"


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1))


def write_model_descriptions(folder: Path, shape: Shape, tokenizer: Tokenizer) -> None:
    """Writes tokenizer and configuration of a chat model, as `transformers` does."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", model_config(shape, tokenizer))
    write_json(folder / "generation_config.json", generation_config(tokenizer))
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", tokenizer_config(shape))


def write_embedding_descriptions(folder: Path, model: Path, tokenizer: Tokenizer, size: int) -> None:
    """Writes what `sentence-transformers` reads, in Qwen3-Embedding's layout, beside a model's own configuration."""
    pooling = folder / "1_Pooling"
    pooling.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer_config.json"):
        (folder / name).write_bytes((model / name).read_bytes())
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "modules.json", embedding_modules())
    write_json(pooling / "config.json", pooling_config(size))


def with_end_of_text(tokenizer: Tokenizer) -> Tokenizer:
    """Returns a tokenizer that ends every text with the token whose state becomes the vector."""
    ending = Tokenizer.from_str(tokenizer.to_str())
    ending.post_processor = processors.TemplateProcessing(
        single=f"$A {END_OF_TEXT}", special_tokens=[(END_OF_TEXT, number_of(tokenizer, END_OF_TEXT))]
    )
    return ending


def model_config(shape: Shape, tokenizer: Tokenizer) -> dict[str, object]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": number_of(tokenizer, END_OF_TEXT),
        "eos_token_id": number_of(tokenizer, MESSAGE_ENDS),
        "pad_token_id": number_of(tokenizer, END_OF_TEXT),
        "head_dim": shape.head_size,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "initializer_range": 0.02,
        "intermediate_size": shape.feed_forward,
        "max_position_embeddings": shape.context,
        "max_window_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.key_value_heads,
        "rms_norm_eps": NORM_EPSILON,
        "rope_scaling": None,
        "rope_theta": shape.rope_base,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": TYPE_OF_WEIGHTS,
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": shape.vocabulary,
    }


def shape_in(config: dict) -> Shape:
    """Reads the sizes from a `config.json`."""
    return Shape(
        vocabulary=config["vocab_size"],
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        key_value_heads=config["num_key_value_heads"],
        head_size=config["head_dim"],
        feed_forward=config["intermediate_size"],
        rope_base=config["rope_theta"],
        context=config["max_position_embeddings"],
    )


def generation_config(tokenizer: Tokenizer) -> dict[str, object]:
    end_of_text = number_of(tokenizer, END_OF_TEXT)
    return {
        "bos_token_id": end_of_text,
        "eos_token_id": [number_of(tokenizer, MESSAGE_ENDS), end_of_text],
        "pad_token_id": end_of_text,
        "do_sample": False,
        "max_new_tokens": 256,
    }


def tokenizer_config(shape: Shape) -> dict[str, object]:
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": None,
        "eos_token": MESSAGE_ENDS,
        "pad_token": END_OF_TEXT,
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "model_max_length": shape.context,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": [MESSAGE_BEGINS, MESSAGE_ENDS],
        "chat_template": CHAT_TEMPLATE,
    }


def embedding_modules() -> list[dict[str, object]]:
    """Returns the steps from text to vector: the network, one state of it, and that at unit length."""
    steps = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    return [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(steps)
    ]


def pooling_config(size: int) -> dict[str, object]:
    """Says that the vector is the state of the last token."""
    return {
        "word_embedding_dimension": size,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": False,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "pooling_mode_weightedmean_tokens": False,
        "pooling_mode_lasttoken": True,
        "include_prompt": True,
    }


def adapter_config(rank: int, alpha: int) -> dict[str, object]:
    """Returns what PEFT wants to know of a LoRA adapter."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": BASE_NAME,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": [*ATTENTION_MATRICES, *FEED_FORWARD_MATRICES],
    }
