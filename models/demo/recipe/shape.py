"""The sizes of a network, and the names of its parts in Qwen3."""

from dataclasses import dataclass

NORM_EPSILON = 1e-6

ATTENTION_MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj")
ATTENTION_NORMS = ("q_norm", "k_norm")
FEED_FORWARD_MATRICES = ("gate_proj", "up_proj", "down_proj")
BLOCK_NORMS = ("input_layernorm", "post_attention_layernorm")


@dataclass(frozen=True)
class Shape:
    """The sizes of a network; those of Pip unless told otherwise."""

    vocabulary: int = 1024
    hidden: int = 256
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2
    head_size: int = 64
    feed_forward: int = 512
    rope_base: float = 10000.0
    # In tokens, question and answer together.
    context: int = 1024

    def __post_init__(self) -> None:
        if self.heads % self.key_value_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.key_value_heads} heads of keys and values evenly")
