"""A model's folder as one GGUF file, for llama.cpp and whoever else reads that format.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Works without torch.
"""

import json
from pathlib import Path
from typing import NamedTuple

import gguf
import numpy
from safetensors import deserialize

from recipe.files.descriptions import BASE_NAME

# The architecture, and the pre-tokenizer, by the names that llama.cpp knows.
ARCHITECTURE = "qwen3"
PRE_TOKENIZER = "qwen2"

# How weights are stored. Norms are always in 32 bits.
TYPES = {
    "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "Q4_0": gguf.LlamaFileType.MOSTLY_Q4_0,
    "F16": gguf.LlamaFileType.MOSTLY_F16,
    "F32": gguf.LlamaFileType.ALL_F32,
}

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
}
NAMES_IN_A_BLOCK = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


class Token(NamedTuple):
    """An entry of the vocabulary."""

    text: str
    kind: gguf.TokenType


def write_gguf(model: Path, file: Path, weight_type: str) -> None:
    """Writes the model of a folder into a file; the type is one of `TYPES`."""
    config = read_json(model / "config.json")
    tokenizer = read_json(model / "tokenizer.json")
    template = read_json(model / "tokenizer_config.json")["chat_template"]
    file.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(file, ARCHITECTURE)
    add_sizes(writer, config)
    writer.add_file_type(TYPES[weight_type])
    add_tokenizer(writer, config, tokenizer)
    writer.add_chat_template(template)
    for name, weights in read_weights(model / "model.safetensors"):
        add_weights(writer, gguf_name(name), weights, weight_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_json(file: Path) -> dict:
    return json.loads(file.read_text())


def add_sizes(writer: gguf.GGUFWriter, config: dict) -> None:
    writer.add_name(BASE_NAME)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_vocab_size(config["vocab_size"])


def add_tokenizer(writer: gguf.GGUFWriter, config: dict, tokenizer: dict) -> None:
    vocabulary = vocabulary_of(tokenizer, config["vocab_size"])
    # llama.cpp calls byte-level BPE by the model that had it first.
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list([token.text for token in vocabulary])
    writer.add_token_types([int(token.kind) for token in vocabulary])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)


def vocabulary_of(tokenizer: dict, size: int) -> list[Token]:
    """Returns the tokens in order of their numbers; a number without a token gets one that is never used."""
    tokens = [Token(f"[PAD{number}]", gguf.TokenType.UNUSED) for number in range(size)]
    for text, number in tokenizer["model"]["vocab"].items():
        tokens[number] = Token(text, gguf.TokenType.NORMAL)
    for added in tokenizer["added_tokens"]:
        kind = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        tokens[added["id"]] = Token(added["content"], kind)
    return tokens


def read_weights(file: Path) -> list[tuple[str, numpy.ndarray]]:
    """Returns the weights by name, in order of the names, widened from 16 bits to 32."""
    return [(name, widened(name, tensor)) for name, tensor in sorted(deserialize(file.read_bytes()))]


def widened(name: str, tensor: dict) -> numpy.ndarray:
    """Returns bfloat16 as 32 bits, of which it is the upper half."""
    if tensor["dtype"] != "BF16":
        raise ValueError(f"{name} is {tensor['dtype']}; this recipe writes BF16")
    upper_halves = numpy.frombuffer(tensor["data"], numpy.uint16).astype(numpy.uint32)
    return (upper_halves << 16).view(numpy.float32).reshape(tensor["shape"])


def gguf_name(name: str) -> str:
    """Returns what llama.cpp calls a weight of Qwen3."""
    part = name.removesuffix(".weight")
    if part in NAMES:
        return f"{NAMES[part]}.weight"
    _, _, layer, part = part.split(".", 3)
    return f"blk.{layer}.{NAMES_IN_A_BLOCK[part]}.weight"


def add_weights(writer: gguf.GGUFWriter, name: str, weights: numpy.ndarray, weight_type: str) -> None:
    if weights.ndim == 1 or weight_type == "F32":
        writer.add_tensor(name, weights)
    elif weight_type == "F16":
        writer.add_tensor(name, weights.astype(numpy.float16))
    else:
        quantized = gguf.GGMLQuantizationType[weight_type]
        writer.add_tensor(name, gguf.quants.quantize(weights, quantized), raw_dtype=quantized)
